"""Mixtures and balanced windows: how often what is drawn, and nothing of it left to luck but the generator's."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from test_shards import edit, make_dataset

from collectors.drafts import publish
from collectors.episode import Episode
from collectors.manifest import Manifest, read_manifest
from collectors.rollout import CollectConfig, collect
from collectors.shards import Dataset
from collectors.writing import write_shard
from models.dynamics.maskgit import MaskGIT
from training import balance as module
from training.balance import MOST, WeightedDraw, acts, drawing, even_weights, motion
from training.loop import Interrupted, LoopConfig
from training.mixture import Mixture, weighted
from training.overrides import apply_overrides
from training.pipeline import Data, Pipeline, check
from training.presets import preset
from training.runs import Run
from training.windows import Windows

LENGTHS = [6, 41, 2, 18, 31]


@pytest.fixture
def windows(tmp_path: Path) -> Windows:
    return Windows([Dataset.open(make_dataset(tmp_path / "data")[0])], "all")


def write(folder: Path, episodes: list[Episode], names: tuple[str, ...], pattern: Manifest) -> Dataset:
    folder.mkdir()
    height, width = episodes[0].frames.shape[1:3]
    shard = write_shard(folder, 0, episodes, 0)
    manifest = replace(
        pattern, shards=(shard,), action_names=names, object_names=(), height=height, width=width, game="made"
    )
    publish(folder / "manifest.json", manifest.to_json().encode())
    return Dataset.open(folder)


@pytest.fixture
def rare(tmp_path: Path) -> Windows:
    """Two episodes of 200 steps in which action 1 comes in one step of forty, and only then 12 of 24 pixels change."""
    pattern = read_manifest(make_dataset(tmp_path / "pattern")[0])
    episodes = []
    for seed in range(2):
        actions = (np.arange(200) % 40 == 20).astype(np.int64)
        frames = np.zeros((201, 4, 6, 3), np.uint8)
        frames[1:, :2, :, seed] = np.cumsum(actions)[:, None, None]
        rewards, ends = np.zeros(200, np.float32), np.zeros(200, bool)
        episodes.append(Episode(frames=frames, actions=actions, rewards=rewards, ends=ends, seed=seed, behaviour="x"))
    return Windows([write(tmp_path / "rare", episodes, ("stay", "jump"), pattern)], "all")


def share_of_jumps(windows: Windows, draw: module.Draw, length: int = 5) -> float:
    places = draw(np.random.default_rng(0), 4000, length)
    assert (places[:, 1] >= 0).all()
    assert (places[:, 1] + length <= windows.lengths[places[:, 0]]).all()
    rows = (np.concatenate([[0], np.cumsum(windows.lengths)])[places[:, 0]] + places[:, 1])[:, None]
    return float(acts(windows)[rows + np.arange(length - 1)].mean())


def test_without_balance_nothing_changes(windows: Windows, tmp_path: Path) -> None:
    assert drawing(windows, "none", tmp_path) == windows.draw
    assert LoopConfig().balance == "none"
    assert preset("maskgit", "pong", 104, 80).weights == ()


def test_what_moves_is_the_share_of_pixels_that_change(rare: Windows, tmp_path: Path) -> None:
    found = motion(rare, tmp_path / "cache")
    expected = np.tile(np.append((np.arange(200) % 40 == 20) / 2, 0), 2)
    np.testing.assert_array_equal(found, expected.astype(np.float32))
    assert [path.name.split("-")[0] for path in (tmp_path / "cache").iterdir()] == ["motion"]
    assert not list(rare.datasets[0].folder.glob("*.npy"))


def test_motion_across_the_clips_it_is_measured_in(
    rare: Windows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = motion(rare, tmp_path / "whole")
    for clip in (2, 3, 20, 200):
        monkeypatch.setattr(module, "CLIP", clip)
        np.testing.assert_array_equal(motion(rare, tmp_path / str(clip)), whole)


def test_windows_in_which_much_moves_come_half_of_the_time_and_their_share(rare: Windows, tmp_path: Path) -> None:
    assert share_of_jumps(rare, rare.draw) == pytest.approx(1 / 40, abs=0.004)
    # half evenly, where a step in 40 is a jump; half around a jump, where of 4 steps one is it
    found = share_of_jumps(rare, drawing(rare, "motion", tmp_path))
    assert found == pytest.approx((1 / 40 + 1 / 4) / 2, abs=0.01)
    assert share_of_jumps(rare, drawing(rare, "motion", tmp_path), 2) == pytest.approx((1 / 40 + 1) / 2, abs=0.03)


def test_each_action_comes_as_often_as_the_other(rare: Windows, tmp_path: Path) -> None:
    assert share_of_jumps(rare, drawing(rare, "actions", tmp_path), 2) == pytest.approx(0.5, abs=0.03)
    codes = acts(rare)
    assert share_of_jumps(rare, drawing(rare, "codes", tmp_path, codes), 2) == pytest.approx(0.5, abs=0.03)
    one, two = (drawing(rare, kind, tmp_path, codes)(np.random.default_rng(5), 64, 7) for kind in ("actions", "codes"))
    np.testing.assert_array_equal(one, two)


def test_the_rarest_has_a_bound() -> None:
    classes = np.array([0] * 9999 + [1, -1])
    weights = even_weights(classes)
    assert weights[-1] == 0
    assert weights[-2] == MOST
    assert weights[0] == pytest.approx(0.50005, abs=1e-4)
    np.testing.assert_array_equal(even_weights(np.array([0, 2, -1, 2, 0])), np.array([1, 1, 0, 1, 1], np.float32))


def test_the_odds_of_a_window_are_the_sum_of_its_transitions(windows: Windows) -> None:
    """Counted against the sum written out, for every window there is."""
    rng = np.random.default_rng(1)
    weights = rng.random(98)
    weights[np.cumsum(LENGTHS) - 1] = 0
    draw, length = WeightedDraw(windows, weights), 9
    firsts = np.concatenate([[0], np.cumsum(LENGTHS)[:-1]])
    odds = {
        (episode, start): weights[firsts[episode] + start : firsts[episode] + start + length - 1].sum()
        for episode, frames in enumerate(LENGTHS)
        for start in range(frames - length + 1)
    }
    places = draw.draw(rng, 60_000, length)
    found, counts = np.unique(places, axis=0, return_counts=True)
    assert [tuple(place) for place in found.tolist()] == sorted(odds)
    expected = np.array([odds[tuple(place)] for place in found.tolist()])
    expected *= 60_000 / expected.sum()
    assert (np.abs(counts - expected) < 5 * np.sqrt(expected)).all()


def test_same_generator_same_windows_whether_measured_or_read_back(rare: Windows, tmp_path: Path) -> None:
    found = [drawing(rare, "motion", tmp_path)(np.random.default_rng(3), 100, 6) for _ in range(2)]
    np.testing.assert_array_equal(*found)


def test_windows_of_one_frame_and_of_too_many(rare: Windows, tmp_path: Path) -> None:
    draw = drawing(rare, "motion", tmp_path)
    assert draw(np.random.default_rng(0), 50, 1)[:, 1].max() < 201
    assert rare.read(draw(np.random.default_rng(0), 3, 1), 1).frames.shape == (3, 1, 3, 4, 6)
    assert (draw(np.random.default_rng(0), 3, 201)[:, 1] == 0).all()
    with pytest.raises(ValueError, match="longest episode has 201 frames, a window needs 202; collect longer"):
        draw(np.random.default_rng(0), 1, 202)


def test_continuous_actions_are_not_counted(rare: Windows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Windows, "column", lambda self, name: iter([np.zeros((200, 3), np.float32)]))
    with pytest.raises(
        ValueError, match="the actions of made are continuous and cannot be counted; use balance=motion"
    ):
        drawing(rare, "actions", tmp_path)


def parts(tmp_path: Path) -> tuple[Windows, Windows]:
    folders = [make_dataset(tmp_path / name)[0] for name in ("one", "two")]
    edit(folders[1], game="skipping")
    return Windows([Dataset.open(folders[0])], "all"), Windows([Dataset.open(folders[1])], "all")


def test_a_mixture_draws_games_by_weight_and_windows_evenly(tmp_path: Path) -> None:
    one, two = parts(tmp_path)
    mixture = Mixture([one, two], [3, 1])
    places = mixture.draw(np.random.default_rng(0), 20_000, 10)
    assert (places[:, 0] < 5).mean() == pytest.approx(0.75, abs=0.02)
    for first in (0, 5):
        mine = places[(places[:, 0] >= first) & (places[:, 0] < first + 5)]
        _, counts = np.unique(mine, axis=0, return_counts=True)
        assert len(counts) == sum(frames - 9 for frames in LENGTHS if frames > 9)
        assert np.abs(counts - len(mine) / len(counts)).max() < 5 * (len(mine) / len(counts)) ** 0.5
    window = mixture.read(places[:50], 10)
    assert (window.frames[:, :, 0, 0, 0].long().diff(dim=1) == 1).all()
    assert mixture.frames == 196
    assert {dataset.manifest.game for dataset in mixture.datasets} == {"counting", "skipping"}
    assert sum(len(clip) for clip in mixture.clips(7)) >= 196


def test_a_mixture_of_what_is_left_keeps_its_shares(tmp_path: Path) -> None:
    one, two = parts(tmp_path)
    mixture = Mixture([one, two], [1, 1])
    some = mixture._taken(np.array([1, 4, 8]))
    assert isinstance(some, Mixture)
    places = some.draw(np.random.default_rng(0), 4000, 5)
    assert (places[:, 0] == 2).mean() == pytest.approx(0.5, abs=0.03)
    alone = mixture._taken(np.array([6]))
    assert (alone.draw(np.random.default_rng(0), 50, 5)[:, 0] == 0).all()
    assert mixture.played_by(["counting"]).frames == 196


def test_a_mixture_is_balanced_within_its_shares(tmp_path: Path, rare: Windows) -> None:
    one, _ = parts(tmp_path)
    mixture = Mixture([rare, one], [1, 3])
    places = drawing(mixture, "motion", tmp_path / "cache")(np.random.default_rng(0), 4000, 2)
    assert (places[:, 0] < 2).mean() == pytest.approx(0.25, abs=0.03)


def test_frames_of_two_sizes_do_not_mix(tmp_path: Path, rare: Windows, monkeypatch: pytest.MonkeyPatch) -> None:
    import test_shards

    monkeypatch.setattr(test_shards, "HEIGHT", 8)
    other = Windows([Dataset.open(make_dataset(tmp_path / "other")[0])], "all")
    with pytest.raises(ValueError, match="counting has frames of 8x6, made of 4x6; collect both with one --size"):
        Mixture([rare, other], [1, 1])


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ((1.0,), "2 data sets need 2 weights, found 1; give one for each --data"),
        ((1.0, 0.0), "weights must be positive numbers, found 0.0; leave a data set away to ignore it"),
        ((1.0, float("nan")), "weights must be positive numbers, found nan"),
    ],
)
def test_weights_that_do_not_fit(tmp_path: Path, weights: tuple[float, ...], message: str) -> None:
    one, two = parts(tmp_path)
    with pytest.raises(ValueError, match=message):
        Mixture([one, two], weights)


def test_data_sets_of_one_game_can_have_weights(tmp_path: Path) -> None:
    folders = [make_dataset(tmp_path / name)[0] for name in ("one", "two")]
    windows = Windows([Dataset.open(folder) for folder in folders], "all")
    assert weighted(windows, ()) is windows
    places = weighted(windows, (1, 9)).draw(np.random.default_rng(0), 4000, 5)
    assert (places[:, 0] >= 5).mean() == pytest.approx(0.9, abs=0.02)


BASE = preset("maskgit", "pong", 104, 80, "tiny")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("dynamics.balance=moves", "balance must be one of none, motion, actions, codes, found 'moves'"),
        ("dynamics.balance=1", "--set dynamics.balance: expected str, found 1"),
        ("weights=3", "--set weights: expected tuple, found 3"),
    ],
)
def test_balances_that_there_are_not(change: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        apply_overrides(BASE, [change])


@pytest.fixture(scope="module")
def pong(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "pong"
    collect(CollectConfig(frames=200, episode_frames=50, shard_frames=100, workers=1), folder)
    return folder


def test_codes_are_not_known_before_they_are_learned(pong: Path) -> None:
    windows = Windows([Dataset.open(pong)], "all")
    with pytest.raises(ValueError, match=r"lam.balance=codes: there are no codes before they are learned; use motion"):
        check(apply_overrides(BASE, ["lam.balance=codes"]), Data(windows, windows))
    with pytest.raises(ValueError, match="1 data sets need 1 weights, found 2"):
        check(apply_overrides(BASE, ["weights=(1,2)"]), Data(windows, windows))


def test_a_run_that_was_interrupted_draws_what_an_uninterrupted_one_draws(
    pong: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = ["lam.balance=actions", "dynamics.balance=codes", "weights=(1,2)", "dynamics.keep_every=5"]
    changes += ["lam.steps=4", "dynamics.steps=12"]
    experiment = apply_overrides(BASE, changes)
    windows = Windows([Dataset.open(pong), Dataset.open(pong)], "all")
    check(experiment, Data(windows, windows))
    whole = Pipeline(experiment, Data(windows, windows), Run(tmp_path / "whole", {}))
    whole.train()
    calls, loss = [0], MaskGIT.loss

    def stops(self, *given):  # type: ignore[no-untyped-def]
        calls[0] += 1
        if calls[0] == 8:
            raise KeyboardInterrupt
        return loss(self, *given)

    with monkeypatch.context() as person:
        person.setattr(MaskGIT, "loss", stops)
        with pytest.raises(Interrupted):
            Pipeline(experiment, Data(windows, windows), Run(tmp_path / "cut", {})).train()
    resumed = Pipeline(experiment, Data(windows, windows), Run(tmp_path / "cut", {}, resume=True))
    resumed.train()
    found, expected = (one.world.dynamics.state_dict() for one in (resumed, whole))
    assert all(torch.equal(found[key], expected[key]) for key in expected)
