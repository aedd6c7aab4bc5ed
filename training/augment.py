"""Other views of the same frames, for parts that are trained on pixels. All frames of a window change alike.

A shift is a random crop of the window after its edges were drawn out. A mirror image is another game where actions
have names: LEFT would move things to the right. So it is refused there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from collectors.shards import Dataset


@dataclass(frozen=True, kw_only=True, slots=True)
class AugmentConfig:
    """shift: pixels that a window may be moved by, at most, up, down, left and right; flip: mirror every second one."""

    shift: int = 0
    flip: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.shift <= 64:
            raise ValueError(f"shift must be in [0, 64] pixels, found {self.shift}")

    @property
    def on(self) -> bool:
        """Whether anything changes at all."""
        return self.shift > 0 or self.flip


def check_augment(config: AugmentConfig, datasets: Sequence[Dataset], trained: bool) -> None:
    """Raise ValueError, with the reason, where frames may not or cannot be changed.

    trained: whether the tokenizer sees pixels step by step; a patch codebook is collected from them once.
    """
    if not config.on:
        return
    if not trained:
        advice = "use --preset maskgit-vq or maskgit-fsq, or leave --set augment away"
        raise ValueError(f"the patch codebook is collected from the frames as they are, not trained on them; {advice}")
    if not config.flip:
        return
    for dataset in datasets:
        if dataset.manifest.knows_actions:
            names = ", ".join(dataset.manifest.action_names[:4])
            reason = f"{dataset.folder} knows what was pressed ({names}, …), which means another thing in a mirror"
            raise ValueError(f"--set augment.flip=true: {reason}; use augment.shift")


def augmented(frames: Tensor, config: AugmentConfig, rng: np.random.Generator) -> Tensor:
    """Frames [B, T, C, H, W] with each window moved, and maybe mirrored, by its own luck; same type and shape.

    Nothing is drawn from `rng` where nothing is on, so that other luck stays what it was.
    """
    if not config.on:
        return frames
    batch, (height, width) = len(frames), frames.shape[-2:]
    moves = rng.integers(-config.shift, config.shift + 1, (batch, 2)) if config.shift else np.zeros((batch, 2), int)
    mirrored = rng.random(batch) < 0.5 if config.flip else np.zeros(batch, bool)
    out = torch.empty_like(frames)
    for row, ((down, right), mirror) in enumerate(zip(moves.tolist(), mirrored.tolist(), strict=True)):
        rows = (torch.arange(height) - down).clamp(0, height - 1)
        columns = (torch.arange(width) - right).clamp(0, width - 1)
        picture = frames[row][..., rows[:, None], columns]  # [T, C, H, W]
        out[row] = picture.flip(-1) if mirror else picture
    return out
