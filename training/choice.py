"""Which experiment suits a game, by its pictures: whether the same patches come again, and of which size."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from einops import rearrange

from training.presets import Experiment, best_patch, fitting_patches
from training.windows import Windows

FRAMES = 600
"""How many frames are looked at, half of them to learn patches from and half to find them again."""

AGAIN = 0.9
"""Share of the patches of other episodes that must have been seen before, for a world of tokens to be chosen.

Pong 0.995, Breakout 0.993, CoinRun 0.34."""

FEWER = 0.85
"""By how much fewer patches another size must need to be taken: some thousand frames do not tell less for sure."""


def seen_again(windows: Windows, seed: int = 0) -> float:
    """Share of the patches of some episodes that are, to the pixel, also in others."""
    rng = np.random.default_rng(seed)
    manifest = windows.datasets[0].manifest
    rows, columns = best_patch(manifest.height, manifest.width)
    order = rng.permutation(len(windows.episodes))
    halves: list[set[bytes]] = []
    found, of = 0, 0
    for number, half in enumerate((order[::2], order[1::2] if len(order) > 1 else order)):
        places = np.stack([rng.choice(half, FRAMES // 2), np.zeros(FRAMES // 2, np.int64)], axis=1)
        places[:, 1] = rng.random(len(places)) * (windows.lengths[places[:, 0]] - 1)
        frames = windows.read(places, 2).frames[:, 0].numpy()
        patches = rearrange(frames, "b c (r p) (s q) -> (b r s) (c p q)", p=rows, q=columns)
        whole = [patch.tobytes() for patch in np.ascontiguousarray(patches)]
        halves.append(set(whole))
        if number:
            found, of = sum(patch in halves[0] for patch in whole), len(whole)
    return found / of


def fitting_patch(windows: Windows, frames: int = 2000) -> tuple[int, int]:
    """The patch of which the fewest different ones are needed, times how many a frame has of it; `best_patch` unless
    another one needs less than FEWER of that.

    One whose edges are those of what moves or vanishes needs few: in Breakout 13x8, two bricks wide, 0.76 of what
    13x10 needs; in Pong none less than 0.88. frames: about how many are looked at, evenly over all episodes.
    """
    manifest = windows.datasets[0].manifest
    height, width = manifest.height, manifest.width
    patches = fitting_patches(height, width)
    if len(patches) == 1:
        return patches[0]
    some = windows.frames_apart(frames)
    found: list[set[bytes]] = [set() for _ in patches]
    for pixels in some:
        for known, (rows, columns) in zip(found, patches, strict=True):
            parts = rearrange(pixels, "(r p) (s q) c -> (r s) (p q c)", p=rows, q=columns)
            known.update(part.tobytes() for part in np.ascontiguousarray(parts))
    costs = [len(known) * height * width // (p * q) for known, (p, q) in zip(found, patches, strict=True)]
    least = int(np.argmin(costs))
    return patches[least if costs[least] < FEWER * costs[0] else 0]


def with_fitting_patch(experiment: Experiment, windows: Windows) -> Experiment:
    """The experiment with the patch that suits these frames, where it is a world of patches."""
    family = experiment.family
    if getattr(family.tokenizer, "kind", None) != "patch":
        return experiment
    known: Any = family.tokenizer
    tokenizer: Any = replace(known, patch=fitting_patch(windows))
    return replace(experiment, family=replace(family, tokenizer=tokenizer))


def fitting_preset(windows: Windows) -> tuple[str, str]:
    """The name of a preset, and why it is that one."""
    share = seen_again(windows)
    if share >= AGAIN:
        return "maskgit", f"{share:.1%} of the patches of other episodes were seen before"
    return (
        "warp",
        f"only {share:.1%} of the patches of other episodes were seen before, so the picture moves as a whole",
    )
