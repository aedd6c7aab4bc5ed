"""Which preset suits which game."""

from pathlib import Path

import pytest

from collectors.rollout import CollectConfig, collect
from training.choice import fitting_preset, seen_again
from training.overrides import apply_overrides
from training.pipeline import Data, check
from training.presets import PRESETS, further, preset
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
