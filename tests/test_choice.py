"""Which preset suits which game."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from collectors.rollout import CollectConfig, collect
from training.choice import fitting_patch, fitting_preset, seen_again
from training.overrides import apply_overrides
from training.pipeline import Data, check
from training.presets import PRESETS, best_patch, fitting_patches, further, preset
from training.windows import Windows, open_datasets


@pytest.mark.parametrize(
    ("game", "preset", "says"),
    [
        ("pong", "maskgit", "of the patches of other episodes were seen before"),
        ("coinrun", "warp", "so the picture moves as a whole"),
    ],
)
def test_the_preset_that_suits_a_game(tmp_path: Path, game: str, preset: str, says: str) -> None:
    collect(CollectConfig(game=game, frames=1200, episode_frames=150, behaviour="sticky", workers=1), tmp_path)
    windows = Windows(open_datasets((tmp_path,)), "all")
    name, why = fitting_preset(windows)
    assert name == preset
    assert says in why
    assert seen_again(windows) == seen_again(windows)


class Bricks:
    """Frames in which any of the cells of 13x8 pixels may be lit."""

    datasets = (SimpleNamespace(manifest=SimpleNamespace(height=104, width=80)),)

    def frames_apart(self, count: int) -> Iterator[np.ndarray]:
        cells = np.random.default_rng(0).integers(0, 2, (count, 8, 10, 1), dtype=np.uint8)
        yield from 255 * cells.repeat(13, 1).repeat(8, 2).repeat(3, 3)


def test_the_patch_has_the_edges_of_what_vanishes(tmp_path: Path) -> None:
    assert fitting_patch(Bricks(), 50) == (13, 8)  # type: ignore[arg-type]  # all that is asked for
    collect(CollectConfig(game="pong", frames=1200, episode_frames=300, workers=1), tmp_path)
    windows = Windows(open_datasets((tmp_path,)), "all")
    assert fitting_patch(windows) in fitting_patches(104, 80)
    assert sum(1 for _ in windows.frames_apart(300)) in range(290, 345)
    assert sum(1 for _ in windows.frames_apart(10**6)) == windows.frames


def test_patches_that_fit_a_frame() -> None:
    assert fitting_patches(104, 80) == [(13, 10), (8, 16), (13, 8)]
    assert best_patch(104, 80) == (13, 10)
    assert fitting_patches(24, 24) == [(4, 4)]  # 36 tokens, and no smaller patch
    with pytest.raises(ValueError, match="no patch of 4 to 16 pixels divides a frame of 17x17"):
        fitting_patches(17, 17)


def test_a_single_episode_is_compared_with_itself(tmp_path: Path) -> None:
    collect(CollectConfig(game="pong", frames=200, episode_frames=200, workers=1), tmp_path)
    assert fitting_preset(Windows(open_datasets((tmp_path,)), "all"))[0] == "maskgit"


@pytest.mark.parametrize(("part", "length", "right"), [("lam", 4, 3), ("dynamics", 20, 7), ("dynamics", 5, 7)])
def test_windows_that_do_not_fit_are_refused_before_anything_is_trained(
    tmp_path: Path, part: str, length: int, right: int
) -> None:
    collect(CollectConfig(game="pong", frames=200, episode_frames=200, workers=1), tmp_path)
    windows = Windows(open_datasets((tmp_path,)), "all")
    experiment = apply_overrides(preset("warp", "pong", 104, 80, "tiny"), [f"{part}.length={length}"])
    with pytest.raises(ValueError, match=rf"windows of {length} frames .*use --set {part}\.length={right}"):
        check(experiment, Data(windows, windows))
    check(preset("warp", "pong", 104, 80, "tiny"), Data(windows, windows))


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_every_world_can_be_taught_on(tmp_path: Path, name: str) -> None:
    collect(CollectConfig(game="pong", frames=200, episode_frames=200, workers=1), tmp_path)
    windows = Windows(open_datasets((tmp_path,)), "all")
    check(further("pong", preset(name, "pong", 104, 80, "tiny").family), Data(windows, windows))
