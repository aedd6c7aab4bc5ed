"""A world is played while it trains: what the run writes, when it is noticed, and how a dream goes on."""

from __future__ import annotations

import functools
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_app_doubles import CONTEXT, CountingWorld, PlainWorld, clips, spec
from test_loop import CONFIG, fresh, part_of

from app.cli import main
from app.follow import Follower, Snapshot, go_on, world_folder
from app.session import Session, dream
from collectors.rollout import CollectConfig, collect
from collectors.shards import Dataset
from models.checkpoint import load_starts, load_world, read_card, save_world, world_id
from models.world import Sampling, Window
from training import snapshots as snapshots_module
from training.action_table import measure_action_table
from training.loop import train_part
from training.pipeline import Data, Pipeline
from training.presets import preset
from training.runs import Run
from training.windows import Windows

PONG = Path(__file__).resolve().parents[1] / "assets" / "worlds" / "pong"


@pytest.fixture(scope="module")
def pong_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "pong"
    collect(CollectConfig(frames=240, episode_frames=80, shard_frames=200, workers=1), folder)
    return folder


def pipeline(data: Path, folder: Path, said: list[str], **dials: int) -> Pipeline:
    windows = Windows([Dataset.open(data)], "all")
    base = preset("maskgit", "pong", 104, 80, "tiny")
    experiment = replace(base, dynamics=replace(base.dynamics, **dials))
    return Pipeline(experiment, Data(windows, windows), Run(folder, {}), say=said.append)


def test_a_part_is_handed_out_at_every_checkpoint_with_averaged_weights(tmp_path: Path) -> None:
    """And doing so changes nothing: the weights are those of a run that hands out nothing."""
    plain = train_part(part_of(fresh()), CONFIG, Run(tmp_path / "plain", {}), seed=4)
    found: list[tuple[int, torch.Tensor]] = []
    run = Run(tmp_path / "watched", {})

    def keep(module: torch.nn.Module, step: int, done: bool) -> None:
        assert done == (step == CONFIG.steps)
        found.append((step, module.head.weight.clone()))
        if done:  # the end is no checkpoint
            return
        kept = run.load_resume("net")
        assert kept is not None
        assert kept["step"] == step
        assert torch.equal(kept["average"]["head.weight"], module.head.weight)

    net = fresh()
    watched = train_part(replace(part_of(net), kept=keep), CONFIG, run, seed=4)
    assert [step for step, _ in found] == [7, 14, 21, 28, 30]
    assert torch.equal(found[-1][1], watched.state_dict()["head.weight"])
    assert not torch.equal(found[0][1], found[1][1])
    assert all(torch.equal(value, plain.state_dict()[key]) for key, value in watched.state_dict().items())


def test_a_run_keeps_a_world_that_can_be_played(
    tmp_path: Path, pong_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps, took = list[int](), list[float]()
    write = snapshots_module.save_world

    def noted(world: object, folder: Path, facts: dict[str, dict[str, int]], *rest: object) -> Path:
        began = time.perf_counter()
        path = write(world, folder, facts, *rest)
        took.append(time.perf_counter() - began)
        steps.append(facts["snapshot"]["step"])
        return path

    monkeypatch.setattr(snapshots_module, "save_world", noted)
    monkeypatch.setattr(snapshots_module, "SHARE", float("inf"))
    said: list[str] = []
    run = tmp_path / "run"
    (run / ".latest.draft-1").mkdir(parents=True)  # of a run that was killed
    made = pipeline(pong_data, run, said, steps=16, keep_every=6)
    made.train()
    assert steps == [6, 12, 16]
    assert max(took) < 1.0
    assert not list(run.glob(".latest*"))

    world, starts = load_world(run / "latest"), load_starts(run / "latest")
    assert read_card(run / "latest")["facts"] == {"snapshot": {"step": 16, "steps": 16}}
    assert all(torch.equal(value, world.state_dict()[key]) for key, value in made.world.state_dict().items())
    one, two = (list(dream(Session(world, starts, seed=2), [1, 2, 3])) for _ in range(2))
    np.testing.assert_array_equal(one, two)

    table = measure_action_table(made.world, made.data.train)  # what the finished world will say
    assert world.spec.table.usage == pytest.approx(table.usage, abs=0.05)
    assert world.spec.table.real_actions == table.real_actions
    assert world.spec.actions[0] == f"latent 0 · {world.spec.table.labels[0]}"
    assert sum(map(sum, world.spec.table.counts[0])) == 240


def test_where_steps_are_quick_only_the_first_and_the_last_are_kept(
    tmp_path: Path, pong_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = pipeline(pong_data, tmp_path / "run", [], steps=6, keep_every=1)
    made.train("lam")
    found: list[dict[str, dict[str, int]]] = []
    monkeypatch.setattr(snapshots_module, "save_world", lambda world, folder, facts, *rest: found.append(facts))
    monkeypatch.setattr(snapshots_module, "SHARE", 1e-9)
    made.train()
    assert [facts["snapshot"]["step"] for facts in found] == [1, 6]


def test_the_first_names_come_from_few_frames(tmp_path: Path, pong_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots_module, "MOST_FRAMES", 100)
    made = pipeline(pong_data, tmp_path / "run", [], steps=2, keep_every=1)
    made.train()
    table = load_world(tmp_path / "run" / "latest").spec.table
    assert sum(map(sum, table.counts[0])) == 80 + 18  # one episode of 81 frames, and 19 of the next


def test_a_snapshot_that_cannot_be_written_stops_nothing(tmp_path: Path, pong_data: Path) -> None:
    said: list[str] = []
    (tmp_path / "run" / "latest").mkdir(parents=True)
    (tmp_path / "run" / "latest" / "diary.txt").write_text("not a world")
    made = pipeline(pong_data, tmp_path / "run", said, steps=4, keep_every=1)
    made.train()
    told = [line for line in said if "snapshots" in line]
    assert len(told) == 1
    assert "no more snapshots to play while this trains: " in told[0]
    assert (tmp_path / "run" / "latest" / "diary.txt").read_text() == "not a world"
    assert made.run.part_done("dynamics")


@functools.cache
def shipped() -> Any:
    """The shipped world, loaded once; nobody may change it but `altered`."""
    return load_world(PONG)


def altered(folder: Path, amount: float, step: int) -> str:
    """Write the shipped world with other weights into a folder, as a run does. Returns its id."""
    weight = shipped().dynamics.norm.weight
    with torch.no_grad():
        weight.add_(amount)
        save_world(shipped(), folder, {"snapshot": {"step": step, "steps": 100}}, load_starts(PONG)[:1], "card")
        weight.sub_(amount)
    return world_id(folder)


def wait(poll: Callable[[], Snapshot | None], seconds: float = 20.0) -> Snapshot | None:
    """Poll until something comes; no single poll may take long."""
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        found = poll()
        if found is not None:
            return found
        time.sleep(0.01)
    return None


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run whose dynamics have written a world."""
    (tmp_path / "run" / "parts").mkdir(parents=True)
    shutil.copytree(PONG, tmp_path / "run" / "latest")
    return tmp_path / "run"


def test_newer_weights_are_noticed_and_older_ones_are_not_reported(run: Path) -> None:
    follower = Follower(run, every=0.02)
    assert follower.folder == run / "latest"
    assert wait(follower.poll, 0.2) is None
    name = altered(run / "latest", 0.1, 20)
    found = wait(follower.poll)
    assert found is not None
    assert (found.world_id, found.step) == (name, 20)
    assert found.world_id != world_id(PONG)
    assert wait(follower.poll, 0.2) is None
    assert Follower(PONG).folder == PONG


def test_looking_is_cheap_and_rare(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    follower, looks = Follower(run, every=30.0), []
    monkeypatch.setattr(follower, "_stamp", lambda: looks.append(1))
    began = time.perf_counter()
    assert [follower.poll() for _ in range(1000)] == [None] * 1000
    assert time.perf_counter() - began < 0.1
    assert looks == []


def test_loading_never_holds_up_a_turn(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long it takes: here the disk needs half a second."""
    follower = Follower(run, every=0.01)
    altered(run / "latest", 0.1, 20)
    slow = load_world

    def waits(folder: Path, device: str) -> object:
        time.sleep(0.5)
        return slow(folder, device)

    monkeypatch.setattr("app.follow.load_world", waits)
    took, found, limit = [], None, time.monotonic() + 20
    while found is None and time.monotonic() < limit:
        time.sleep(0.01)
        began = time.perf_counter()
        found = follower.poll()
        took.append(time.perf_counter() - began)
    assert found is not None
    assert len(took) > 20
    assert max(took) < 0.25


def test_what_cannot_be_loaded_is_told_and_waited_out(run: Path) -> None:
    follower = Follower(run, every=0.01)
    weights = run / "latest" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    assert wait(follower.poll, 1.0) is None
    assert "model.safetensors is damaged" in follower.error
    assert "\n" not in follower.error
    shutil.rmtree(run / "latest")  # in the middle of being replaced
    assert wait(follower.poll, 0.1) is None
    name = altered(run / "latest", 0.2, 40)
    found = wait(follower.poll)
    assert found is not None
    assert (found.world_id, follower.error) == (name, "")


def test_what_is_replaced_while_it_is_read_is_read_again(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    follower = Follower(run, every=0.01)
    altered(run / "latest", 0.1, 20)
    real, last = load_world, list[str]()

    def replaced(folder: Path, device: str) -> object:
        world = real(folder, device)
        if not last:
            last.append(altered(run / "latest", 0.3, 30))
        return world

    monkeypatch.setattr("app.follow.load_world", replaced)
    found = wait(follower.poll)
    assert found is not None
    assert (found.world_id, found.step) == (last[0], 30)


def test_nothing_to_follow_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="is neither a run nor a world; give a run, for example"):
        Follower(tmp_path)
    (tmp_path / "parts").mkdir()
    with pytest.raises(FileNotFoundError, match="has nothing to play yet: its dynamics write the first world"):
        world_folder(tmp_path)


def test_the_dream_goes_on_from_the_last_frames(run: Path) -> None:
    session = Session(shipped(), load_starts(PONG), seed=7, start=0, sampling=Sampling(steps=4))
    session.step(1)
    for action in (1, 2, 3, 3, 3, 0) * 3:
        session.step(action)
    past = [session.peek(step).copy() for step in range(session.steps + 1)]
    context, steps = session.world.spec.context, session.steps
    name = altered(run / "latest", 0.1, 20)
    newer = load_world(run / "latest")
    go_on(session, Snapshot(newer, name, 20))
    assert (session.steps, session.seed, session.world_id, session.sampling) == (steps, 7, name, Sampling(steps=4))
    assert (len(session.takes), session.oldest) == (1, steps)  # other weights cannot dream the past again
    clip = torch.from_numpy(np.stack(past[-context:])).permute(0, 3, 1, 2)
    expected = newer.reset(Window(clip[None]))
    assert all(torch.equal(session.state[key], value) for key, value in expected.items())
    shown = session.step(2)
    assert session.steps == steps + 1
    assert shown.shape == past[0].shape
    assert session.world.dynamics.norm.weight[0] == newer.dynamics.norm.weight[0]


def test_a_dream_that_has_just_begun_goes_on_too() -> None:
    session = Session(CountingWorld(), clips(), seed=1, start=1)
    go_on(session, Snapshot(CountingWorld(), "other", None))
    assert session.recent(CONTEXT).shape == (CONTEXT, 3, 48, 40)
    session.step(2)
    go_on(session, Snapshot(PlainWorld(), "plain", 3))  # a world without dials
    assert (session.sampling, session.steps, session.world_id) == (None, 1, "plain")
    assert session.step(1).shape == (48, 40, 3)


@pytest.mark.parametrize(
    "changes", [{"height": 56}, {"game": "cube"}, {"actions": ("a", "b"), "table": None}, {"channels": 1}]
)
def test_another_kind_of_world_is_refused(changes: dict[str, object]) -> None:
    session = Session(CountingWorld(), clips(), seed=1)
    state = session.state
    with pytest.raises(
        ValueError, match=r"cannot go on with another kind of world: block 40 x 48 with 8 actions, then"
    ):
        go_on(session, Snapshot(CountingWorld(replace(spec(), **changes)), "other", 5))
    assert session.state is state
    assert session.world_id == ""


def test_the_command_leaves_a_world_to_follow(
    tmp_path: Path, pong_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("train", "dynamics", "--data", pong_data, "--size", "tiny", "--threads", 1, "--autocast", "off")
    quick = ("--set", "dynamics.steps=4", "--set", "lam.steps=4", "--run", tmp_path / "run")
    assert main([str(word) for word in (*words, *quick)]) == 0, capsys.readouterr().err
    follower = Follower(tmp_path / "run")
    assert load_world(follower.folder).spec.game == "pong"
