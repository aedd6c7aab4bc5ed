"""Who works decides nothing: the same bytes from one process, several and a cluster, and nothing is left behind."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from collectors import engines
from collectors.engines import Here, Part, Processes, engine_named
from collectors.episode import Episode
from collectors.games import game_named
from collectors.machines import installed
from collectors.rollout import CollectConfig, Task, _play_tasks, collect
from collectors.writing import Packed, pack_shard

ROOT = Path(__file__).parent.parent
SHORT = {"frames": 1500, "episode_frames": 60, "shard_frames": 400}
needs_procgen = pytest.mark.skipif(not installed("procgen"), reason="procgen is not installed")


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in folder.iterdir() if path.suffix in (".h5", ".json"))
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def spools() -> set[Path]:
    places = (engines.SHARED, Path(tempfile.gettempdir()))
    return {path for place in places if place.is_dir() for path in place.glob("dreamcade-*")}


def counting(*lengths: int) -> Iterator[Episode]:
    """Episodes whose pixels say the step number."""
    for seed, steps in enumerate(lengths):
        numbers = np.arange(steps + 1, dtype=np.uint8)
        yield Episode(
            frames=np.broadcast_to(numbers[:, None, None, None], (steps + 1, 4, 6, 3)),
            actions=numbers[1:].astype(np.int64),
            rewards=np.zeros(steps, np.float32),
            ends=np.zeros(steps, np.bool_),
            seed=seed,
        )


def vanish() -> Iterator[Episode]:
    os._exit(3)


def fail() -> Iterator[Episode]:
    raise ValueError("no such thing")


@needs_procgen
def test_the_bytes_do_not_depend_on_the_number_of_workers(tmp_path: Path) -> None:
    before = spools()
    for workers in (1, 2):
        collect(CollectConfig(game="starpilot", workers=workers, **SHORT), tmp_path / str(workers))
    assert digests(tmp_path / "1") == digests(tmp_path / "2")
    assert len(digests(tmp_path / "1")) == 5
    assert spools() == before


def test_parts_are_packed_as_if_they_had_stayed_here() -> None:
    here, beside = Here(), Processes(1)
    try:
        played = [
            [engine.play(partial(counting, *lengths)) for lengths in ((5, 3, 9), (4,))] for engine in (here, beside)
        ]
        assert [kept.steps() for kept in played[1]] == [(5, 3, 9), (4,)]
        files = list(beside._spool.iterdir())
        assert len(files) == 2
        for first, second, left in ((0, 2, 2), (2, 4, 0)):
            packed: list[Packed] = []
            for engine, (long, short) in zip((here, beside), played, strict=True):
                parts = [Part(long, 0, 5), Part(long, 1, 3), Part(long, 2, 9), Part(short, 0, 4)][first:second]
                packed.append(engine.pack(pack_shard, parts).result())
            assert packed[0] == packed[1]
            assert len(list(beside._spool.iterdir())) == left  # a file goes when its last episode is in a shard
    finally:
        beside.close()
    assert not beside._spool.exists()


def test_what_goes_wrong_elsewhere_is_raised_here() -> None:
    beside = Processes(1)
    try:
        with pytest.raises(ValueError, match="no such thing"):
            beside.play(fail).steps()
        with pytest.raises(OSError, match="a recording process ended unexpectedly; run the same command again"):
            beside.play(vanish).steps()
        with pytest.raises(OSError, match="a recording process ended unexpectedly"):
            beside.play(partial(counting, 3))
    finally:
        beside.close()


def test_frames_go_to_the_disk_where_shared_memory_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=64 << 20))
    beside = Processes(1)
    beside.close()
    assert beside._spool.parent == Path(tempfile.gettempdir())


def test_a_killed_recording_leaves_no_frames_in_memory(tmp_path: Path) -> None:
    before = spools()
    code = "from app.cli import main; main(['collect', 'pong', '--frames=90000', '--workers=2', f'--out={}'])"
    process = subprocess.Popen(
        [sys.executable, "-c", code.replace("{}", str(tmp_path / "out"))], cwd=ROOT, stderr=subprocess.DEVNULL
    )
    limit = time.monotonic() + 60
    while not any(any(folder.iterdir()) for folder in spools() - before):
        assert process.poll() is None
        assert time.monotonic() < limit
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    while spools() - before:
        assert time.monotonic() < limit
        time.sleep(0.05)


@pytest.mark.parametrize(("name", "message"), [("slurm", "unknown engine 'slurm'; known: local, ray")])
def test_unknown_engines(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CollectConfig(engine=name)
    with pytest.raises(ValueError, match=message):
        engine_named(name, 1)


def test_ray_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ValueError, match="--engine ray needs the package ray, which is not here; pip install ray"):
        collect(CollectConfig(engine="ray", frames=10), tmp_path)


@pytest.mark.benchmark
@needs_procgen
def test_a_ray_cluster_records_the_same_bytes(tmp_path: Path) -> None:
    ray = pytest.importorskip("ray")
    for game, config in (("pong", {**SHORT, "episode_frames": 300}), ("coinrun", SHORT)):
        for workers in (1, 2, 4):
            collect(CollectConfig(game=game, workers=workers, **config), tmp_path / f"{game}-{workers}")
        collect(CollectConfig(game=game, engine="ray", workers=2, **config), tmp_path / f"{game}-ray")
        assert not ray.is_initialized()
        expected = digests(tmp_path / f"{game}-1")
        assert len(expected) >= 4
        for other in ("2", "4", "ray"):
            assert digests(tmp_path / f"{game}-{other}") == expected, other
    cluster = engine_named("ray", 2)
    try:
        failed = cluster.play(partial(_play_tasks, game_named("pong"), "lazy", (Task(0, 0),), 10))
        with pytest.raises(ValueError, match=r"^unknown behaviour 'lazy'; known"):
            failed.steps()
    finally:
        cluster.close()
