"""Frames seen otherwise: moved alike within a window, never where it would lie, and resumed as if never stopped."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from test_importing import pictures

from app.cli import main
from collectors.games import PONG
from collectors.importing import ImportConfig, import_clips
from collectors.rollout import CollectConfig, collect, play_episode
from collectors.shards import Dataset
from models.tokenizer import TokenizerConfig
from training import token_recipe
from training.augment import AugmentConfig, augmented, check_augment
from training.overrides import apply_overrides
from training.pipeline import Data, check
from training.presets import preset
from training.windows import Windows

FRAMES = torch.arange(4 * 3 * 3 * 10 * 12, dtype=torch.int64).remainder(251).to(torch.uint8).reshape(4, 3, 3, 10, 12)


def test_a_shift_is_a_crop_of_the_window_with_drawn_out_edges() -> None:
    moved = augmented(FRAMES, AugmentConfig(shift=3), np.random.default_rng(0))
    moves = np.random.default_rng(0).integers(-3, 4, (4, 2))
    assert len({tuple(move) for move in moves.tolist()}) > 2
    for row, (down, right) in enumerate(moves.tolist()):
        wide = np.pad(FRAMES[row].numpy(), ((0, 0), (0, 0), (3, 3), (3, 3)), mode="edge")
        crop = wide[..., 3 - down : 13 - down, 3 - right : 15 - right]
        np.testing.assert_array_equal(moved[row].numpy(), crop)  # all frames of a window alike


def test_every_second_window_is_mirrored() -> None:
    many = FRAMES[:1].expand(200, -1, -1, -1, -1)
    changed = augmented(many, AugmentConfig(flip=True), np.random.default_rng(0))
    mirrored = [torch.equal(one, FRAMES[0].flip(-1)) for one in changed]
    plain = [torch.equal(one, FRAMES[0]) for one in changed]
    assert all(one != other for one, other in zip(mirrored, plain, strict=True))
    assert 70 < sum(mirrored) < 130


def test_off_means_off() -> None:
    rng = np.random.default_rng(0)
    assert augmented(FRAMES, AugmentConfig(), rng) is FRAMES
    assert rng.bit_generator.state == np.random.default_rng(0).bit_generator.state  # nor was anything drawn


def test_same_luck_same_frames() -> None:
    config = AugmentConfig(shift=4, flip=True)
    one, same, other = (augmented(FRAMES, config, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert one.dtype == torch.uint8
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


@pytest.mark.parametrize("shift", [-1, 65])
def test_shifts_have_a_range(shift: int) -> None:
    with pytest.raises(ValueError, match=re.escape(f"shift must be in [0, 64] pixels, found {shift}")):
        AugmentConfig(shift=shift)


def test_it_can_be_set() -> None:
    base = preset("maskgit-vq", "pong", 104, 80, "tiny")
    assert not base.augment.on
    assert apply_overrides(base, ["augment.shift=4"]).augment == AugmentConfig(shift=4)
    assert apply_overrides(base, ["augment.flip=true"]).augment == AugmentConfig(flip=True)


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 transitions of real Pong."""
    folder = tmp_path_factory.mktemp("data") / "pong"
    collect(CollectConfig(frames=300, episode_frames=100, shard_frames=320, workers=1), folder)
    return folder


@pytest.fixture(scope="module")
def unknown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same game as pictures, of which nobody knows what was pressed."""
    folder = tmp_path_factory.mktemp("data")
    source = pictures(folder / "in", play_episode(PONG, "sticky", 1, 40).frames)
    import_clips(source, folder / "out", ImportConfig(game="pong"))
    return folder / "out"


def test_mirrors_are_refused_where_actions_have_names(known: Path, unknown: Path) -> None:
    with Dataset.open(known) as buttons, Dataset.open(unknown) as pixels:
        reason = r"knows what was pressed \(NOOP, FIRE, RIGHT, LEFT, …\), which means another thing in a mirror"
        with pytest.raises(ValueError, match=reason) as caught:
            check_augment(AugmentConfig(flip=True), [pixels, buttons], trained=True)
        assert str(known) in str(caught.value)
        check_augment(AugmentConfig(flip=True, shift=2), [pixels], trained=True)
        check_augment(AugmentConfig(shift=2), [buttons], trained=True)


def test_a_codebook_that_is_not_trained_refuses_it(known: Path) -> None:
    with Dataset.open(known) as data:
        windows = Windows([data], "all")
        experiment = replace(preset("maskgit", "pong", 104, 80, "tiny"), augment=AugmentConfig(shift=4))
        with pytest.raises(ValueError, match="the patch codebook is collected from the frames as they are"):
            check(experiment, Data(windows, windows))
        learned = replace(TokenizerConfig.sized("tiny"), kind="vq", patch=experiment.family.tokenizer.patch)
        check(replace(experiment, family=replace(experiment.family, tokenizer=learned)), Data(windows, windows))


def test_a_run_with_it_resumes_exactly(known: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["train", "tokenizer", "--data", str(known), "--preset", "maskgit-vq", "--size", "tiny", "--threads", "1"]
    words += ["--autocast", "off", "--device", "cpu", "--set", "tokenizer.steps=8", "--set", "tokenizer.keep_every=3"]
    with_it = ["--set", "augment.shift=4"]

    def weights(name: str) -> dict[str, torch.Tensor]:
        return load_file(tmp_path / name / "parts" / "tokenizer.safetensors")

    assert main([*words, *with_it, "--run", str(tmp_path / "whole")]) == 0
    calls = []

    def stopped(frames: torch.Tensor, config: AugmentConfig, rng: np.random.Generator) -> torch.Tensor:
        calls.append(config)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return augmented(frames, config, rng)

    with monkeypatch.context() as interrupted:
        interrupted.setattr(token_recipe, "augmented", stopped)
        with pytest.raises(SystemExit):
            main([*words, *with_it, "--run", str(tmp_path / "stopped")])
    assert main([*words, *with_it, "--run", str(tmp_path / "stopped"), "--resume"]) == 0
    whole, resumed = weights("whole"), weights("stopped")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert calls == [AugmentConfig(shift=4)] * 6
