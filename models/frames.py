"""The one place where uint8 pixels become floats and back, and frames become patches and back."""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor

SHADES = 16
"""Colours that a game may have for their changes to be counted."""


def to_float(frames: Tensor) -> Tensor:
    """uint8 [..., C, H, W] in 0..255 → float32 of the same shape in [0, 1]."""
    return frames.to(torch.float32) / 255.0


def to_uint8(frames: Tensor) -> Tensor:
    """float [..., C, H, W], clipped to [0, 1] → uint8 of the same shape, rounded to nearest."""
    return (frames.clamp(0.0, 1.0) * 255.0).round().to(torch.uint8)


def check_patch(height: int, width: int, patch: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of patches in a frame. Raises ValueError with the patches that would fit."""
    rows, columns = patch
    if height % rows or width % columns:
        fit_rows = ", ".join(str(k) for k in range(4, 27) if height % k == 0)
        fit_columns = ", ".join(str(k) for k in range(4, 27) if width % k == 0)
        raise ValueError(
            f"patch {rows}x{columns} does not divide a frame of {height}x{width}; "
            f"use rows of {fit_rows or height} and columns of {fit_columns or width}"
        )
    return height // rows, width // columns


def patchify(frames: Tensor, patch: tuple[int, int]) -> Tensor:
    """[B, T, C, H, W] → [B, T, N, D] with D = C · patch rows · patch columns, any dtype."""
    return rearrange(frames, "b t c (r p) (s q) -> b t (r s) (c p q)", p=patch[0], q=patch[1])


def unpatchify(patches: Tensor, patch: tuple[int, int], height: int) -> Tensor:
    """[B, T, N, D] → [B, T, C, H, W], the inverse of `patchify`."""
    rows = height // patch[0]
    return rearrange(patches, "b t (r s) (c p q) -> b t c (r p) (s q)", r=rows, p=patch[0], q=patch[1])


def shades_of(patches: Tensor, channels: int) -> Tensor | None:
    """Patches uint8 [V, D], all of a channel before the next → which colour each pixel has, int64 [V, P], numbered
    in the order of the colours; None if they are more than SHADES."""
    pixels = patches.reshape(len(patches), channels, -1).long()  # [V, C, P]
    colours = sum(pixels[:, index] << (8 * index) for index in range(channels))
    assert isinstance(colours, Tensor)
    distinct, shade = torch.unique(colours, return_inverse=True)
    return shade if len(distinct) <= SHADES else None
