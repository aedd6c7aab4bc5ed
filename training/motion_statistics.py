"""How the player moves in a game that scrolls, read off the picture: the camera goes along, so the picture goes back.

This is the probe of such games. It needs no training; how far it is from the recorded places of the player stands
beside every use, see `error`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models.displacement import displacements
from training.action_table import STILL_PIXELS, Track
from training.action_table import displacement as recorded
from training.metrics import Figure, interval
from training.response import Heard

SCROLLS = 0.05
"""Share of steps in which the picture moves from which a game is said to scroll."""

CUT = 12.0
"""Pixels; the recorded player moves further in a step only where a level is left for another one."""

Tallies = dict[str, tuple[NDArray[Any], NDArray[Any]]]


def player_moves(frames: NDArray[np.uint8], before: NDArray[np.uint8] | None = None) -> NDArray[np.float32]:
    """uint8 [N, H, W, 3] → how far the player went in each step, pixels down and right, float32 [N, 2].

    before: the frame ahead of them; without it the first step is NaN.
    """
    whole = frames if before is None else np.concatenate([before[None], frames])
    clip = torch.from_numpy(np.ascontiguousarray(whole.transpose(0, 3, 1, 2)))[None]
    out = np.full((len(frames), 2), np.nan, np.float32)
    if clip.shape[1] > 1:
        found = -displacements(clip)[0].numpy()[:, ::-1]
        out[len(out) - len(found) :] = found
    return out


def scrolls(frames: NDArray[np.uint8]) -> bool:
    """Whether the picture as a whole moves in some of the steps between frames uint8 [N, H, W, 3] of one episode."""
    if len(frames) < 2 or frames.shape[1] % 2 or frames.shape[2] % 2:
        return False
    return bool((np.abs(player_moves(frames)[1:]).max(1) > STILL_PIXELS).mean() > SCROLLS)


def motion_tallies(moved: NDArray[np.float32]) -> Tallies:
    """For each rate: (what counts [N], of which frames [N]); moved: float32 [N, 2], pixels down and right.

    `pace`: pixels a step, left or right, where the player goes; the others are shares of all steps. `turns`: steps in
    which a player who went one way goes the other way at once.
    """
    known = np.isfinite(moved).all(1)
    down, right = np.nan_to_num(moved).T
    goes = known & (np.abs(right) > STILL_PIXELS)
    before = np.concatenate([[0.0], right[:-1]])
    return {
        "player_stands": (known & (np.abs(moved) <= STILL_PIXELS).all(1), known),
        "player_goes": (goes, known),
        "player_rises": (known & (down < -STILL_PIXELS), known),
        "player_falls": (known & (down > STILL_PIXELS), known),
        "player_turns": (goes & (before * right < 0) & (np.abs(before) > STILL_PIXELS), known),
        "pace": (np.where(goes, np.abs(right), 0), goes),
    }


def motion_heard(moved: NDArray[np.float32], rows: bool) -> Heard:
    """What the player of a game that scrolls did; moved: float32 [N, 2]; rows: whether STILL is about the rows, else
    about the columns."""
    known: NDArray[np.bool_] = np.asarray(np.isfinite(moved[1:]).all(1), np.bool_)
    down, right = np.nan_to_num(moved[1:]).T
    ways = {"UP": -down, "DOWN": down, "LEFT": -right, "RIGHT": right}
    return Heard(ways, down if rows else right, known)


def obedience(labels: NDArray[np.str_], did: Heard) -> Tallies:
    """Whether the player does what a code is called, counted at the frame it led to: what counts [N], of which frames
    [N]; `obeys_move` for directions, `obeys_still` for STILL. `obeys_by_chance` is `obeys_move` under names from half
    the stretch away: a player that never stops going down obeys every DOWN. labels: the names [N-1]."""

    def kept(names: NDArray[np.str_]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        asked = {name: (names == name) & did.told for name in did.ways}
        went = [mask & did.went(name) for name, mask in asked.items()]
        return np.logical_or.reduce(went), np.logical_or.reduce(list(asked.values()))

    still = (labels == "STILL") & did.told
    pairs = {
        "obeys_move": kept(labels),
        "obeys_by_chance": kept(np.roll(labels, len(labels) // 2)),
        "obeys_still": (still & (np.abs(did.way) <= STILL_PIXELS), still),
    }
    return {name: (np.append(False, hits), np.append(False, of)) for name, (hits, of) in pairs.items()}


def error(plays: Sequence[Track], moved: Sequence[NDArray[np.float32]], seed: int) -> dict[str, Any] | None:
    """How far what is read off real frames is from where the player was recorded, over all steps but cuts.

    moved: float32 [T+1, 2] of each episode. Returns `within_half_pixel` as a figure over episodes and `median_pixels`,
    or None where nothing was recorded.
    """
    hits, of, away = [], [], []
    for track, found in zip(plays, moved, strict=True):
        truth, told = recorded(track, "player")
        told = told & (np.abs(truth).max(1) < CUT) & np.isfinite(found[1:]).all(1)
        if told.any():
            apart = np.abs(truth - found[1:])[told].max(1)
            away.append(apart)
            hits.append(float((apart <= 0.5).sum()))
            of.append(float(len(apart)))
    if not away:
        return None
    share: Figure = interval(hits, of, seed=seed)
    return {"within_half_pixel": share.data(), "median_pixels": float(np.median(np.concatenate(away)))}
