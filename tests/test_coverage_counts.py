"""What a data set shows is counted right: against plain sets, in stretches, and beyond what memory holds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from test_shards import make_dataset

from collectors import coverage as coverage_module
from collectors.cells import GREY, Grid, cells, fitting_grid, grids
from collectors.coverage import COARSE, FINE, Counter, coverage_of
from collectors.episode import Episode
from collectors.fingerprints import PATCH, Distinct, fingerprints, patch_fingerprints
from collectors.games import game_named
from collectors.rollout import play_episode
from collectors.shards import Dataset


def episode(frames: np.ndarray, actions: list[int] | None = None) -> Episode:
    steps = len(frames) - 1
    return Episode(
        frames=frames,
        actions=np.array([0] * steps if actions is None else actions, np.int64),
        rewards=np.zeros(steps, np.float32),
        ends=np.zeros(steps, np.bool_),
    )


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(256, size=shape, dtype=np.uint8)


def test_fingerprints_tell_rows_apart() -> None:
    rows = [np.zeros((1, 40), np.uint8)]
    for place in range(40):  # one byte, any value, anywhere; then the same value at two places
        some = np.zeros((255, 40), np.uint8)
        some[:, place] = np.arange(1, 256)
        rows.append(some)
        both = some.copy()
        both[:, (place + 8) % 40] = both[:, place]
        rows.append(both)
    every = np.concatenate(rows)
    assert len(np.unique(fingerprints(every))) == len(np.unique(every, axis=0)) == len(every)
    np.testing.assert_array_equal(fingerprints(every[::-1]), fingerprints(every)[::-1])


def test_bits_of_fingerprints_are_even() -> None:
    """Otherwise a sample of those with low zero bits would not be a fair one."""
    rows = np.arange(4096, dtype=np.uint32).view(np.uint8).reshape(-1, 4)
    found = fingerprints(rows)
    shares = [(found >> np.uint64(bit) & np.uint64(1)).mean() for bit in range(64)]
    assert min(shares) > 0.45
    assert max(shares) < 0.55


def test_counting_is_exact_and_then_nearly_so() -> None:
    some = fingerprints(np.arange(40_000, dtype=np.uint32).view(np.uint8).reshape(-1, 4))
    exact, rough, shuffled = Distinct(50_000), Distinct(4096), Distinct(4096)
    for part in np.array_split(some, 7):
        exact.add(np.concatenate([part, part]))
        rough.add(part)
    for part in np.array_split(np.random.default_rng(0).permutation(np.tile(some, 2)), 11):
        shuffled.add(part)
    assert (exact.count, exact.exact) == (40_000, True)
    assert rough.count == pytest.approx(40_000, rel=0.08)
    assert not rough.exact
    assert shuffled.count == rough.count


@pytest.mark.parametrize(("height", "width"), [(104, 80), (64, 64), (13, 9)])
def test_cells_are_means_of_areas(height: int, width: int) -> None:
    frames, grid = noise(3, height, width, 3), Grid(rows=5, columns=4, levels=8)
    found = cells(frames, grid).reshape(3, 5, 4)
    for row in range(5):
        for column in range(4):
            tops = row * height // 5, (row + 1) * height // 5
            lefts = column * width // 4, (column + 1) * width // 4
            area = frames[:, tops[0] : tops[1], lefts[0] : lefts[1]].astype(np.float64)
            grey = (area @ (GREY / 256)).mean((1, 2))
            np.testing.assert_array_equal(found[:, row, column], (grey * 8 / 256).astype(int))


def test_black_and_white_are_the_ends_of_the_levels() -> None:
    for levels in (2, 8, 256):
        both = np.stack([np.zeros((8, 8, 3), np.uint8), np.full((8, 8, 3), 255, np.uint8)])
        assert cells(both, Grid(rows=2, columns=2, levels=levels)).tolist() == [[0] * 4, [levels - 1] * 4]
    assert cells(both, Grid(rows=20, columns=30, levels=8)).shape == (2, 64)


def test_the_grid_fits_the_game() -> None:
    """Neither every frame a cell of its own nor all of them the same, in games that look very different."""
    for name in ("pong", "breakout", "montezuma_revenge"):
        frames = play_episode(game_named(name), "sticky", 1, 200).frames
        count = len(np.unique(cells(frames, fitting_grid(frames)), axis=0))
        assert 0.1 < count / len(frames) < 0.6, name


def test_of_grids_that_fit_the_coarser_one_is_taken() -> None:
    frames = np.repeat(noise(50, 1, 1, 3), 4, axis=0).repeat(32, axis=1).repeat(32, axis=2)  # plain, four of each
    among = grids(32, 32)
    fitting = fitting_grid(frames, among)
    assert (fitting.rows, fitting.columns) == (4, 4)
    assert [str(grid) for grid in among[:2]] == ["4x4x4", "4x4x8"]


def test_counts_are_those_of_plain_sets() -> None:
    frames = noise(12, 20, 27, 3)  # no multiple of a patch
    frames[4:8] = frames[3]
    frames[8:, :8] = frames[0, :8]
    counter = Counter(6)
    counter.add(episode(frames))
    found = counter.coverage()
    padded = np.pad(frames, ((0, 0), (0, 4), (0, 5), (0, 0)))
    patches = {
        frame[y : y + PATCH, x : x + PATCH].tobytes()
        for frame in padded
        for y in range(0, 24, PATCH)
        for x in range(0, 32, PATCH)
    }
    assert found.patches == len(patches)
    assert found.distinct_frames == 8
    assert found.coarse_states == len({cell.tobytes() for cell in cells(frames, COARSE)})
    assert found.states == len({cell.tobytes() for cell in cells(frames, FINE)})
    assert (found.frames, found.steps, found.exact) == (12, 11, True)
    assert found.still == pytest.approx(4 / 11, abs=1e-6)


def test_patches_that_stay_are_looked_at_once() -> None:
    frames = np.repeat(noise(1, 16, 16, 3), 5, axis=0)
    frames[3, 0, 0] ^= 255  # one patch changes, and back
    assert len(patch_fingerprints(frames)) == 4 + 1 + 1
    assert len(np.unique(patch_fingerprints(frames))) == 5


def test_balance_of_actions() -> None:
    counter = Counter(6)
    counter.add(episode(noise(9, 8, 8, 3), [0, 1, 2, 3, 0, 1, 2, 3]))
    found = counter.coverage()
    assert (found.action_entropy, found.action_perplexity, found.actions) == (2.0, 4.0, 6)
    counter = Counter(6)
    counter.add(episode(noise(4, 8, 8, 3), [5, 5, 5]))
    assert (counter.coverage().action_entropy, counter.coverage().action_perplexity) == (0.0, 1.0)
    with pytest.raises(ValueError, match="at least one step, found none"):
        Counter(6).coverage()


def test_balance_of_numbers() -> None:
    even = np.linspace(-1, 1, 801, dtype=np.float32)[:-1]
    actions = np.stack([even, np.full(800, 1.0, np.float32)], axis=1)
    found = coverage_module._pressed(actions, 2)
    assert found.tolist() == [[100] * 8, [0] * 7 + [800]]


def test_a_data_set_is_counted_in_stretches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, episodes = make_dataset(tmp_path)
    counter, told = Counter(256), []
    for one in episodes:
        counter.add(one)
    for size in (1, 7 * 72, coverage_module.STRETCH_BYTES):
        monkeypatch.setattr(coverage_module, "STRETCH_BYTES", size)
        with Dataset.open(folder) as dataset:
            assert coverage_of(dataset, lambda done, total: told.append((done, total))) == counter.coverage()
        assert told[-1] == (98, 98)
    found = counter.coverage().to_json()
    assert json.loads(json.dumps(found)) == found
    assert (found["frames"], found["steps"], found["distinct_frames"]) == (98, 93, 98)
