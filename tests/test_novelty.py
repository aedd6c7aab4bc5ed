"""Expeditions: what they are made of, that nothing but the seed decides them, and how they mix with others."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from collectors import novelty, rollout
from collectors.atari import AtariGame
from collectors.behaviours import choose, weights_of
from collectors.cells import Grid, cells
from collectors.editing import drop_episodes
from collectors.episode import Episode
from collectors.games import PONG, Game, game_named
from collectors.novelty import Map, Moment, News, expedition, steps_of
from collectors.rollout import CollectConfig, Task, collect, play_episode, play_task
from collectors.shards import Dataset

MONTEZUMA = game_named("montezuma_revenge")
SMALL = {"game": "breakout", "behaviour": "novelty", "frames": 380, "episode_frames": 40, "shard_frames": 70}


class Watched(AtariGame):
    """The real game, with a diary: where play began."""

    def __init__(self, game: Game) -> None:
        super().__init__(game)
        self.began: list[tuple[str, Any]] = []

    def reset(self, seed: int) -> np.ndarray:
        self.began.append(("reset", seed))
        return super().reset(seed)

    def restore(self, snapshot: Any) -> np.ndarray:
        self.began.append(("restore", snapshot))
        return super().restore(snapshot)


def expeditions(game: Game, seed: int, most_steps: int) -> tuple[list[Episode], Watched]:
    machine = Watched(game)
    rng = np.random.default_rng([seed, 1])
    return list(expedition(machine, game, seed, rng, most_steps)), machine


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in folder.iterdir() if path.suffix in (".h5", ".json"))
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("novelty") / "breakout"
    collect(CollectConfig(**SMALL, workers=1), folder)
    return folder


def test_every_episode_is_one_stretch_of_the_real_game() -> None:
    """Played again from where it began, each shows the same frames: nothing was left out or joined."""
    episodes, machine = expeditions(MONTEZUMA, 3, 150)
    assert len(episodes) >= 4
    assert machine.began[0] == ("reset", 3)
    again, begun = AtariGame(MONTEZUMA), dict.fromkeys(machine.began)
    for episode in episodes:
        starts = [at for at in begun if np.array_equal(begin(again, *at), episode.frames[0])]
        assert any(shows(again, at, episode) for at in starts)
        assert not episode.ends[:-1].any()


def begin(machine: AtariGame, kind: str, where: Any) -> np.ndarray:
    return machine.reset(where) if kind == "reset" else machine.restore(where)


def shows(machine: AtariGame, at: tuple[str, Any], episode: Episode) -> bool:
    """Whether the actions of an episode lead from there through its frames."""
    begin(machine, *at)
    for action, frame in zip(episode.actions, episode.frames[1:], strict=True):
        if not np.array_equal(machine.step(int(action))[0], frame):
            return False
    return True


def test_an_expedition_has_its_length_and_one_seed() -> None:
    episodes, _ = expeditions(PONG, 7, 50)
    assert sum(episode.steps for episode in episodes) == steps_of(50) == 4 * 50
    assert max(episode.steps for episode in episodes) <= 50
    assert {(episode.seed, episode.behaviour) for episode in episodes} == {(7, "novelty")}
    assert all(episode.objects is not None for episode in episodes)
    assert steps_of(2000) == 8000
    assert steps_of(10_000) == novelty.MOST_STEPS
    assert steps_of(30_000) == 30_000


def test_the_seed_decides() -> None:
    one, same, other = (list(play_task(PONG, "novelty", Task(seed, 0), 60)) for seed in (4, 4, 5))
    assert [episode.steps for episode in one] == [episode.steps for episode in same]
    for left, right in zip(one, same, strict=True):
        np.testing.assert_array_equal(left.frames, right.frames)
        np.testing.assert_array_equal(left.actions, right.actions)
    assert [episode.actions.tolist() for episode in one] != [episode.actions.tolist() for episode in other]


def test_workers_do_not_change_a_byte(recorded: Path, tmp_path: Path) -> None:
    collect(CollectConfig(**SMALL, workers=2), tmp_path / "two")
    assert digests(tmp_path / "two") == digests(recorded)
    with Dataset.open(recorded) as data:
        assert data.manifest.steps == 380
        assert Counter(ref.seed for ref in data.episodes).keys() == {0, 1, 2}
        data.verify()


@pytest.mark.parametrize("shards", [1, 3])
def test_interrupted_in_the_middle_of_an_expedition(
    recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shards: int
) -> None:
    write, written = rollout.publish_shard, []

    def full_disk(*arguments: Any) -> Any:
        if len(written) == shards:
            raise OSError("no space left")
        written.append(write(*arguments))
        return written[-1]

    monkeypatch.setattr(rollout, "publish_shard", full_disk)
    with pytest.raises(OSError, match="no space left"):
        collect(CollectConfig(**SMALL, workers=1), tmp_path / "cut")
    monkeypatch.undo()
    collect(CollectConfig(**SMALL, workers=2 if shards == 3 else 1), tmp_path / "cut")
    assert digests(tmp_path / "cut") == digests(recorded)


def test_dropped_episodes_are_not_played_again(tmp_path: Path, recorded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write, written = rollout.publish_shard, []

    def full_disk(*arguments: Any) -> Any:
        if len(written) == 2:
            raise OSError("no space left")
        written.append(write(*arguments))
        return written[-1]

    monkeypatch.setattr(rollout, "publish_shard", full_disk)
    with pytest.raises(OSError, match="no space left"):
        collect(CollectConfig(**SMALL, workers=1), tmp_path / "cut")
    monkeypatch.undo()
    with Dataset.open(tmp_path / "cut") as data:
        last = data.episodes[-1]
    drop_episodes(tmp_path / "cut", [last])
    collect(CollectConfig(**SMALL, workers=1), tmp_path / "cut")
    with Dataset.open(tmp_path / "cut") as cut, Dataset.open(recorded) as whole:
        assert cut.manifest.recorded_steps == 380
        kept = [whole.read(ref).actions.tolist() for ref in whole.episodes]
        del kept[sum(shard.episodes for shard in written) - 1]
        assert [cut.read(ref).actions.tolist() for ref in cut.episodes] == kept


def test_news_are_told_once() -> None:
    frames = play_episode(MONTEZUMA, "sticky", 0, 20).frames
    atlas = Map(Grid(rows=4, columns=4, levels=8))
    news = atlas.news(frames)
    assert len(news.patches) > 100
    assert len(news.cells) > 1
    assert atlas.news(frames) == news
    before = atlas.worth(news)
    cell = atlas.note(news, frames)
    assert cell == cells(frames[-1:], atlas.grid).tobytes()
    assert sum(atlas.seen.values()) == 21
    assert atlas.news(frames) == News(frozenset(), frozenset())
    assert atlas.worth(atlas.news(frames)) == 0.0
    assert 0 < atlas.worth(news) < before  # what is usual has risen


def test_of_several_tries_the_one_with_most_news_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[Map] = []
    worth = Map.worth
    monkeypatch.setattr(Map, "worth", lambda atlas, news: tried.append(worth(atlas, news)) or tried[-1])
    kept: list[float] = []
    note = Map.note

    def noted(atlas: Map, news: News, frames: np.ndarray) -> bytes:
        kept.append(worth(atlas, news))
        return note(atlas, news, frames)

    monkeypatch.setattr(Map, "note", noted)
    expeditions(MONTEZUMA, 1, 80)
    rounds = [tried[at : at + novelty.TRIES] for at in range(0, len(tried), novelty.TRIES)]
    assert kept[1:] == [max(some) for some in rounds]
    assert any(max(some) > min(some) for some in rounds)


def test_seldom_seen_moments_are_gone_back_to() -> None:
    atlas = Map(Grid(rows=2, columns=2, levels=2))
    for name, visits, tried, news in ((b"seldom", 1, 0, 0.0), (b"often", 400, 0, 0.0), (b"barren", 1, 9, 0.0)):
        atlas.seen[name] = visits
        atlas.keep(Moment(name, b"", tried, news))
    atlas.fresh.tried, atlas.fresh.news = 100_000, 0.0
    rng = np.random.default_rng(0)
    drawn = Counter(atlas.choose(rng).cell for _ in range(2000))
    assert drawn[b"seldom"] / 2000 == pytest.approx(1 / 1.15, abs=0.04)
    assert drawn[b"often"] / 2000 == pytest.approx(0.05 / 1.15, abs=0.02)
    assert drawn[b"barren"] / 2000 == pytest.approx(0.1 / 1.15, abs=0.02)
    atlas.fresh.tried, atlas.fresh.news = 1, 1e9
    assert all(atlas.choose(rng) is atlas.fresh for _ in range(20))


def test_the_least_promising_moment_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(novelty, "MOST_MOMENTS", 3)
    atlas = Map(Grid(rows=2, columns=2, levels=2))
    for number in range(5):
        cell = bytes([number])
        atlas.seen[cell] = 10 - number
        atlas.keep(Moment(cell, b""))
    assert list(atlas.moments) == [bytes([number]) for number in (2, 3, 4)]


def test_games_without_moments_and_rings_of_levels_are_refused(tmp_path: Path) -> None:
    for options, message in (
        ({"game": "cart_pole"}, "'cart_pole' cannot go back to a moment, which novelty needs"),
        ({"levels": 5}, "novelty begins games with seeds of its own; leave out --levels"),
    ):
        with pytest.raises(ValueError, match=message):
            collect(CollectConfig(**{**SMALL, **options}), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_mixes() -> None:
    shares = weights_of("random:1,sticky:3,novelty:2", PONG)
    assert shares == pytest.approx({"random": 1 / 4.5, "sticky": 3 / 4.5, "novelty": 0.5 / 4.5})
    assert weights_of("novelty", PONG) == {"novelty": 1.0}
    rng = np.random.default_rng(0)
    assert {choose(shares, rng) for _ in range(100)} == {"random", "sticky", "novelty"}
    with pytest.raises(ValueError, match="'human' plays alone, in a window"):
        weights_of("random:1,human:2", PONG)
    with pytest.raises(ValueError, match="unknown behaviour 'novel'; known: random, sticky, scripted, novelty, agent"):
        weights_of("novel", PONG)


def test_a_mix_is_recorded_the_same_by_any_number_of_workers(tmp_path: Path) -> None:
    mix = {**SMALL, "behaviour": "random:1,sticky:1,novelty:6", "frames": 400}
    for workers in (1, 2):
        collect(CollectConfig(**mix, workers=workers), tmp_path / str(workers))
    assert digests(tmp_path / "1") == digests(tmp_path / "2")
    with Dataset.open(tmp_path / "1") as data:
        assert len({ref.behaviour for ref in data.episodes}) > 1
