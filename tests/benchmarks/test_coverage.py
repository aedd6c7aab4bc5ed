"""Does seeking the new show more of a game than holding random keys, at the same number of frames?

Not part of the default run: pytest -m benchmark tests/benchmarks/test_coverage.py -s
More seeds or frames: DREAMCADE_SEEDS=5 DREAMCADE_FRAMES=20000. With DREAMCADE_DATA=FOLDER recordings are kept there,
and what was recorded before is only counted.
"""

from __future__ import annotations

import math
import os
import time
from pathlib import Path

import numpy as np
import pytest

from collectors.coverage import Coverage, coverage_of
from collectors.games import game_named
from collectors.rollout import CollectConfig, collect
from collectors.shards import Dataset

FRAMES = int(os.environ.get("DREAMCADE_FRAMES", "10000"))
SEEDS = int(os.environ.get("DREAMCADE_SEEDS", "3"))
PLAYERS = ("sticky", "novelty")
COUNTS = ("patches", "coarse_states", "states", "distinct_frames")
SHOWN = (*COUNTS, "action_perplexity", "still")


def recorded(folder: Path, game: str, behaviour: str, seed: int) -> tuple[Coverage, float]:
    """Coverage of a recording, and its steps a second; nan if it was there before."""
    began, there = time.perf_counter(), folder.exists()
    collect(CollectConfig(game=game, behaviour=behaviour, frames=FRAMES, seed=seed * 10_000, workers=1), folder)
    took = time.perf_counter() - began
    with Dataset.open(folder) as data:
        assert data.manifest.steps == FRAMES
        return coverage_of(data), math.nan if there else FRAMES / took


@pytest.mark.benchmark
@pytest.mark.parametrize("game", ["pong", "breakout", "montezuma_revenge", "coinrun"])
def test_novelty_shows_more_than_sticky(game: str, tmp_path: Path) -> None:
    try:
        game_named(game)
    except ValueError as problem:
        pytest.skip(str(problem))
    root = Path(os.environ.get("DREAMCADE_DATA", tmp_path))
    found = {
        (player, seed): recorded(root / f"{game}-{player}-{seed}-{FRAMES}", game, player, seed)
        for player in PLAYERS
        for seed in range(SEEDS)
    }
    print(f"\n{game}: {FRAMES} steps, mean (lowest to highest) of {SEEDS} seeds")
    print(f"{'':<18}" + "".join(f"{player:>30}" for player in PLAYERS))
    values = {}
    for name in SHOWN:
        line = f"{name:<18}"
        for player in PLAYERS:
            values[name, player] = [getattr(found[player, seed][0], name) for seed in range(SEEDS)]
            some = values[name, player]
            line += f"{np.mean(some):>13.6g} ({min(some):.6g} to {max(some):.6g})".rjust(30)
        print(line)
    rates = [np.mean([found[player, seed][1] for seed in range(SEEDS)]) for player in PLAYERS]
    print(f"{'steps a second':<18}" + "".join(f"{rate:>30.0f}" for rate in rates))
    for name in ("patches", "states"):
        assert min(values[name, "novelty"]) > max(values[name, "sticky"]), name
