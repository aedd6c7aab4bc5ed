"""How fast random windows come from disk, and what the index of a large data set costs.

Not part of the default run: pytest -m benchmark tests/benchmarks/test_reading_speed.py -s
DREAMCADE_INDEX_FRAMES=8000000 pytest tests/test_chunks.py -k memory -s has the index of 100 GB.
"""

from __future__ import annotations

import resource
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from app.places import saves
from collectors.drafts import publish
from collectors.episode import Episode
from collectors.manifest import NAME, read_manifest
from collectors.rollout import CollectConfig, collect
from collectors.shards import Dataset
from collectors.writing import write_shard
from training.windows import Windows, to_channels_first

LENGTH, BATCH, WANTED = 16, 32, 20_000


def pong(folder: Path) -> Path:
    """The Pong that is there, or some that is recorded now."""
    there = saves() / "datasets" / "pong"
    if not (there / NAME).is_file():
        there = folder / "pong"
        collect(CollectConfig(frames=20_000), there)
    return there


def coinrun(folder: Path) -> Path:
    """Real CoinRun where it can be recorded, or else pictures that are harder to pack: tiles of noise that move."""
    try:
        collect(CollectConfig(game="coinrun", frames=20_000, behaviour="random"), folder / "coinrun")
    except (ValueError, OSError):
        textured(folder / "coinrun")
    return folder / "coinrun"


def textured(folder: Path) -> None:
    """64x64 pixels of a view that walks over a wall of eight kinds of bricks, every pixel of which has its colour."""
    rng = np.random.default_rng(0)
    collect(CollectConfig(frames=10, workers=1), folder.parent / "pattern")
    folder.mkdir()
    shards = []
    for number in range(5):
        bricks = rng.integers(0, 256, (8, 16, 16, 3), dtype=np.uint8)
        wall = bricks[rng.integers(0, 8, (64, 64))].transpose(0, 2, 1, 3, 4).reshape(1024, 1024, 3)
        walk = np.clip(np.cumsum(rng.integers(-2, 4, (4001, 2)), axis=0), 0, 960)
        frames = np.stack([wall[y : y + 64, x : x + 64] for y, x in walk.tolist()])
        actions, rewards, ends = np.zeros(4000, np.int64), np.zeros(4000, np.float32), np.zeros(4000, bool)
        episode = Episode(frames=frames, actions=actions, rewards=rewards, ends=ends, seed=number, behaviour="random")
        shards.append(write_shard(folder, number, [episode], number))
    manifest = replace(read_manifest(folder.parent / "pattern"), height=64, width=64, object_names=())
    publish(folder / NAME, replace(manifest, shards=tuple(shards)).to_json().encode())


def by_hdf5(windows: Windows, places: np.ndarray) -> torch.Tensor:
    """The same windows, read one after the other through HDF5."""
    parts = []
    for episode, start in places.tolist():
        dataset, ref = windows.episodes[episode]
        parts.append(dataset.read(ref, start, start + LENGTH).frames)
    return to_channels_first(np.stack(parts))


def rate(read, windows: Windows, seconds: float = 4.0) -> tuple[float, float]:
    """Frames a second of wall and of processor time over batches of random windows."""
    rng = np.random.default_rng(0)
    read(windows.draw(rng, BATCH, LENGTH))
    count, began, spent = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - began < seconds:
        read(windows.draw(rng, BATCH, LENGTH))
        count += BATCH * LENGTH
    return count / (time.perf_counter() - began), count / (time.process_time() - spent)


@pytest.mark.benchmark
@pytest.mark.parametrize("make", [pong, coinrun])
def test_random_windows_a_second(make, tmp_path):
    dataset = Dataset.open(make(tmp_path))
    windows, manifest = Windows([dataset], "all"), dataset.manifest
    raw = windows.frames * manifest.height * manifest.width * 3
    packed = sum((dataset.folder / shard.file).stat().st_size for shard in manifest.shards)
    print(
        f"\n{make.__name__}: {windows.frames} frames of {manifest.height}x{manifest.width}, packed {raw / packed:.1f}x"
    )
    places = windows.draw(np.random.default_rng(1), 8, LENGTH)
    assert torch.equal(windows.read(places, LENGTH).frames, by_hdf5(windows, places))
    found = {}
    for threads in (1, 2):
        torch.set_num_threads(threads)
        found[threads] = rate(lambda places: windows.read(places, LENGTH), windows)
        wall, spent = found[threads]
        print(f"  {threads} threads: {wall:,.0f} frames/s, {spent:,.0f} a second of processor time")
    torch.set_num_threads(1)
    wall, spent = rate(lambda places: by_hdf5(windows, places), windows)
    print(f"  through HDF5, one thread: {wall:,.0f} frames/s, {spent:,.0f} a second of processor time")
    print(f"  memory at most {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MiB")
    assert 2 * found[2][1] >= WANTED, "too slow even if both cores were free"
