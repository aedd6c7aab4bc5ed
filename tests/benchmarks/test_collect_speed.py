"""How fast games are recorded, as a share of how fast their emulators step with nothing around them.

    pytest -m benchmark -s tests/benchmarks/test_collect_speed.py

Bare: as many processes as cores, each stepping the machine of the game with actions drawn beforehand, frames in the
stored size, nothing kept. Recorded: transitions that `dreamcade collect` has in finished shards, with everything but
the start of its processes. Both in one run, in turns; only the ratio means something. Atari must reach 70 %. Procgen
steps as fast as deflate packs, whatever is done around it: its bars only keep what is there.
"""

from __future__ import annotations

import multiprocessing
import time
from pathlib import Path

import numpy as np
import pytest

from collectors.engines import available_cores
from collectors.games import game_named
from collectors.machines import installed, make_machine
from collectors.rollout import CollectConfig, collect

pytestmark = pytest.mark.benchmark
SECONDS, TURNS = 6.0, 2
LEAST = {"pong": 0.7, "breakout": 0.7, "coinrun": 0.4, "starpilot": 0.15}


def bare(name: str, seconds: float) -> float:
    """Steps a second of one process."""
    game = game_named(name)
    machine, rng, steps = make_machine(game), np.random.default_rng(0), 0
    actions = [game.actions.draw(rng) for _ in range(4096)]
    machine.reset(0)
    begin = time.perf_counter()
    while time.perf_counter() - begin < seconds:
        for action in actions[:256]:
            if machine.step(action)[2]:
                machine.reset(steps)
            steps += 1
    return steps / (time.perf_counter() - begin)


def recorded(name: str, frames: int, folder: Path) -> float:
    """Transitions a second in shards, from the first episodes that are there to the last shard.

    Episodes are cut early, so that what is under way at the beginning and at the end is little of the whole.
    """
    seen: list[tuple[float, int]] = []
    config = CollectConfig(game=name, frames=frames, episode_frames=500, shard_frames=2048)
    collect(config, folder, lambda done, _: seen.append((time.perf_counter(), done)))
    end = time.perf_counter()
    return (frames - seen[1][1]) / (end - seen[1][0])


@pytest.mark.parametrize("name", LEAST)
def test_recording_keeps_up_with_the_emulator(name: str, tmp_path: Path) -> None:
    if not installed(game_named(name).maker):
        pytest.skip("not installed")
    cores, rates = available_cores(), {"bare": list[float](), "recorded": list[float]()}
    with multiprocessing.get_context("spawn").Pool(cores) as pool:
        pool.starmap(bare, [(name, 0.1)] * cores)
        for turn in range(TURNS):
            rates["bare"].append(sum(pool.starmap(bare, [(name, SECONDS)] * cores, chunksize=1)))
            frames = int(rates["bare"][0] * SECONDS)
            rates["recorded"].append(recorded(name, frames, tmp_path / str(turn)))
    means = {what: sum(found) / len(found) for what, found in rates.items()}
    share = means["recorded"] / means["bare"]
    print(f"\n{name}: bare {means['bare']:.0f} steps/s, recorded {means['recorded']:.0f} steps/s, {100 * share:.0f} %")
    assert share >= LEAST[name]
