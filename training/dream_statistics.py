"""Does a long dream keep to the game's own habits? Objects, noise, freezing and obedience, beside real play.

The same `look` reads real and dreamed frames, and every rate stands beside the real game's rate:
presence alone fools, since three balls in a row also read as "a ball is visible".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.world import ActionTable
from training.action_table import STILL_PIXELS
from training.brick_statistics import brick_tallies
from training.metrics import interval, run_lengths
from training.motion_statistics import motion_heard, motion_tallies, obedience, player_moves
from training.probes import Objects, Probe, joined
from training.response import Heard, response
from training.score_reader import ScoreReader

BLOCK = 200
"""Frames pooled into one block of a dream, and the cluster size of the bootstrap on real play."""

FREEZE_FRAMES = 60
"""A ball that shows and has not moved for so many frames is frozen."""

WALL_MARGIN = 6
"""Free rows on both sides of a paddle whose length is judged."""

OFF_PALETTE = 32
"""A pixel is noise if one channel is further than this from each colour of real play."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stretch:
    """N frames of one episode or dream, looked at. Floats are shares of a frame's pixels.

    seen: objects, or None without a probe; off: float32 [N], far from every real colour (NaN
    without a palette); changed: float32 [N], other than in the frame before (NaN for the first);
    detail: float32 [N], how much neighbouring pixels differ, mean over the frame, in levels of 255, or None;
    score: int64 [N, sides], -1 where it cannot be read, or None for a game whose score nobody reads;
    codes: int64 [N-1], the ids that led from frame to frame, or None; read: int64 [N-1], the ids that the world's LAM
    reads off the frames of a dream, or None; moved: float32 [N, 2], see `player_moves`, or None; pressed: [N-1], what
    the buttons that were pressed do, see `buttons`, or None; behaviour: who played.
    """

    seen: Objects | None
    off: NDArray[np.float32]
    changed: NDArray[np.float32]
    detail: NDArray[np.float32] | None = None
    score: NDArray[np.int64] | None = None
    codes: NDArray[np.int64] | None = None
    read: NDArray[np.int64] | None = None
    moved: NDArray[np.float32] | None = None
    pressed: NDArray[np.str_] | None = None
    behaviour: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What real play never or hardly ever exceeds; dreams are judged by it.

    lengths: median paddle length, rows; ranges: its percentiles 0.5 and 99.5; absence: longest run
    of frames without a ball; churn: 99.9th percentile of the share of pixels changed in a step;
    off: highest share off the palette; detail: percentiles 0.5 and 99.5 of it.
    """

    lengths: dict[str, float]
    ranges: dict[str, tuple[float, float]]
    absence: int
    churn: float
    off: float
    detail: tuple[float, float] = (0.0, float("inf"))


class Palette:
    """The colours of real play, as a table over 5 bits a channel."""

    def __init__(self, frames: NDArray[np.uint8], most: int = 64) -> None:
        """frames: uint8 [N, H, W, 3]. `known` is False if more than `most` colours are needed for 99.9 % of pixels."""
        packed = frames.reshape(-1, 3).astype(np.uint32) @ np.array([65536, 256, 1], np.uint32)
        values, counts = np.unique(packed, return_counts=True)
        order = np.argsort(-counts, kind="stable")
        needed = int(np.searchsorted(np.cumsum(counts[order]), 0.999 * counts.sum())) + 1
        self.known = needed <= most
        kept = values[order][:most]
        colours = np.stack([kept >> 16 & 255, kept >> 8 & 255, kept & 255], 1).astype(np.int64)
        axis = np.arange(32) * 8 + 4
        cells = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
        far = np.ones(len(cells), bool)
        for colour in colours:
            far &= np.abs(cells - colour).max(1) > OFF_PALETTE
        self._far = far

    def off(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Share of pixels far from every colour: uint8 [N, H, W, 3] → float32 [N], to within 4 levels."""
        if not self.known:
            return np.full(len(frames), np.nan, np.float32)
        coarse = (frames >> 3).astype(np.int32)
        index = (coarse[..., 0] << 10) | (coarse[..., 1] << 5) | coarse[..., 2]
        return np.asarray(self._far[index].mean((1, 2)), np.float32)


@dataclass(frozen=True, kw_only=True, slots=True)
class Eyes:
    """What looks at frames: a game's own colours, where the game has them its probe and a reader of its score, and
    whether the picture scrolls."""

    probe: Probe | None
    palette: Palette
    reader: ScoreReader | None = None
    scrolls: bool = False


def look(frames: NDArray[np.uint8], eyes: Eyes, before: NDArray[np.uint8] | None = None) -> Stretch:
    """Look at frames uint8 [N, H, W, 3]; before: the frame [H, W, 3] that came just ahead of them, if any."""
    changed = np.full(len(frames), np.nan, np.float32)
    changed[1:] = (frames[1:] != frames[:-1]).any(-1).mean((1, 2))
    if before is not None:
        changed[0] = (frames[0] != before).any(-1).mean()
    return Stretch(
        seen=None if eyes.probe is None else eyes.probe.detect(frames),
        off=eyes.palette.off(frames),
        changed=changed,
        detail=detail(frames),
        score=None if eyes.reader is None else eyes.reader.read(frames),
        moved=player_moves(frames, before) if eyes.scrolls else None,
    )


def detail(frames: NDArray[np.uint8]) -> NDArray[np.float32]:
    """How much pixels differ from those below and to the right: uint8 [N, H, W, 3] → float32 [N]."""
    levels = frames.astype(np.int16)
    steps = [np.abs(np.diff(levels, axis=axis)).mean((1, 2, 3)) for axis in (1, 2)]
    return np.asarray((steps[0] + steps[1]) / 2, np.float32)


def chained(parts: Sequence[Stretch], codes: NDArray[np.int64]) -> Stretch:
    """Stretches of one dream as one, with the codes [N-1] that made it."""
    seen = [part.seen for part in parts if part.seen is not None]
    scores = [part.score for part in parts if part.score is not None]
    details = [part.detail for part in parts if part.detail is not None]
    moves = [part.moved for part in parts if part.moved is not None]
    return Stretch(
        seen=joined(seen) if seen else None,
        score=np.concatenate(scores) if scores else None,
        off=np.concatenate([part.off for part in parts]),
        changed=np.concatenate([part.changed for part in parts]),
        detail=np.concatenate(details) if details else None,
        moved=np.concatenate(moves) if moves else None,
        codes=codes,
    )


def limits(real: Sequence[Stretch], probe: Probe | None) -> Limits:
    """What real play keeps to."""
    lengths: dict[str, float] = {}
    ranges: dict[str, tuple[float, float]] = {}
    absence = 0
    seen = [stretch.seen for stretch in real if stretch.seen is not None]
    if probe is not None and seen:
        for name, paddle in joined(seen).paddles.items():
            free = probe.clear(paddle, WALL_MARGIN)
            if free.any():
                lengths[name] = float(np.median(paddle.length[free]))
                low, high = np.percentile(paddle.length[free], [0.5, 99.5])
                ranges[name] = (float(low), float(high))
        absence = max(int(run_lengths(one.balls == 0).max()) for one in seen)
    changed = np.concatenate([stretch.changed[1:] for stretch in real])
    off = np.concatenate([stretch.off for stretch in real])
    details = [stretch.detail for stretch in real if stretch.detail is not None]
    low, high = np.percentile(np.concatenate(details), [0.5, 99.5]) if details else (0.0, np.inf)
    return Limits(
        lengths=lengths,
        ranges=ranges,
        absence=absence,
        churn=float(np.percentile(changed, 99.9)),
        off=float(off.max()),
        detail=(float(low), float(high)),
    )


def frozen(seen: Objects) -> NDArray[np.bool_]:
    """Frames in a run of at least FREEZE_FRAMES in which one ball shows and stays where it is: bool [N]."""
    at = seen.centres[:, 0]
    with np.errstate(invalid="ignore"):
        same = np.abs(at[1:] - at[:-1]).max(1) < STILL_PIXELS
    still = np.concatenate([[False], same]) & (seen.balls == 1)
    runs = run_lengths(still)
    out = np.zeros(len(still), bool)
    for end in np.flatnonzero(runs >= FREEZE_FRAMES - 1):
        out[end - runs[end] : end + 1] = True
    return out


def tallies(stretch: Stretch, probe: Probe | None, limit: Limits) -> dict[str, tuple[NDArray[Any], NDArray[Any]]]:
    """For each rate: (what counts [N], of which frames [N]); both as numbers, so that sums give the rate.

    `_length`: within a quarter of the real median, of paddles WALL_MARGIN rows from both walls;
    `_length_in_range`: as long as all but one per cent of the real ones.
    """
    n = len(stretch.off)
    every = np.ones(n, bool)
    stepped = np.isfinite(stretch.changed)
    out: dict[str, tuple[NDArray[Any], NDArray[Any]]] = {
        "churn": ((stretch.changed > limit.churn) & stepped, stepped),
    }
    known = np.isfinite(stretch.off)
    out["off_palette"] = (np.where(known, stretch.off, 0), known)
    if stretch.detail is not None:
        out["detail"] = (stretch.detail, every)
        out["detail_in_range"] = ((stretch.detail >= limit.detail[0]) & (stretch.detail <= limit.detail[1]), every)
    if stretch.moved is not None:
        out |= motion_tallies(stretch.moved)
    seen = stretch.seen
    if seen is None or probe is None:
        return out
    out["ball_none"] = (seen.balls == 0, every)
    out["ball_exactly_one"] = (seen.balls == 1, every)
    out["ball_two_or_more"] = (seen.balls >= 2, every)
    out["ball_frozen"] = (frozen(seen), every)
    out["white_blobs"] = (seen.blobs > 0, every)
    if seen.bricks is not None and probe.wall is not None:
        out |= brick_tallies(seen, *probe.wall)
    for name, paddle in seen.paddles.items():
        out[f"{name}_visible"] = (paddle.visible, every)
        out[f"{name}_one_piece"] = (paddle.pieces == 1, paddle.visible)
        if name in limit.lengths:
            free = probe.clear(paddle, WALL_MARGIN)
            fits = np.abs(paddle.length / limit.lengths[name] - 1) <= 0.25
            out[f"{name}_length"] = (fits & free, free)
            low, high = limit.ranges[name]
            out[f"{name}_length_in_range"] = ((paddle.length >= low) & (paddle.length <= high) & free, free)
    return out


def obedience_tallies(
    stretch: Stretch, probe: Probe | None, table: ActionTable | None
) -> dict[str, tuple[NDArray[Any], NDArray[Any]]]:
    """Whether the player's paddle does what its code is called, counted at the frame it led to [N].

    `obeys_move` for UP and DOWN, or LEFT and RIGHT, `obeys_still` for STILL; of the frames before and after which the
    paddle is visible and touches neither wall. `obeys_by_chance` is `obeys_move` under keys from
    half the stretch away: a paddle that never stops going down obeys every DOWN.
    """
    if table is None or stretch.codes is None:
        return {}
    labels = np.array(table.labels)[stretch.codes]
    did = heard(stretch, probe, rows=bool({"UP", "DOWN"} & set(table.labels)))
    return {} if did is None else obedience(labels, did)


def heard(stretch: Stretch, probe: Probe | None, rows: bool = False) -> Heard | None:
    """What the player of a stretch did, where something tells it; rows: see `motion_heard`."""
    if stretch.moved is not None:
        return motion_heard(stretch.moved, rows)
    if stretch.seen is None or probe is None:
        return None
    free = probe.clear(stretch.seen.player, 1)
    way = np.nan_to_num(np.diff(stretch.seen.player.at))
    return Heard({"UP": -way, "LEFT": -way, "DOWN": way, "RIGHT": way}, way, free[1:] & free[:-1])


def answers(
    stretches: Sequence[Stretch], probe: Probe | None, table: ActionTable | None, seed: int
) -> dict[str, Any] | None:
    """`response` of dreams, to what their codes are called, or of real play, to the buttons that were pressed."""
    found = []
    for stretch in stretches:
        did, names = heard(stretch, probe), stretch.pressed
        if names is None and table is not None and stretch.codes is not None:
            names = np.array(table.labels)[stretch.codes]
        if did is not None and names is not None:
            found.append((did, names))
    return response([did for did, _ in found], [names for _, names in found], seed, BLOCK) if found else None


def read_back_tallies(stretch: Stretch) -> dict[str, tuple[NDArray[Any], NDArray[Any]]]:
    """Whether the LAM reads off a dream the code that made it, counted at the frame it led to [N]: the agreement of
    inverse dynamics with what was pressed. `read_back_by_chance`: with codes from half the stretch away."""
    if stretch.codes is None or stretch.read is None:
        return {}
    told = np.concatenate([[False], np.ones(len(stretch.codes), bool)])
    pairs = {"read_back": stretch.codes, "read_back_by_chance": np.roll(stretch.codes, len(stretch.codes) // 2)}
    return {name: (np.concatenate([[False], stretch.read == codes]), told) for name, codes in pairs.items()}


def rates(
    stretches: Sequence[Stretch],
    probe: Probe | None,
    limit: Limits,
    table: ActionTable | None,
    *,
    seed: int,
    block: int = BLOCK,
    span: tuple[int, int | None] = (0, None),
) -> dict[str, Any]:
    """Every rate with its interval, over frames span[0] … span[1] - 1 of each stretch.

    Clusters of the bootstrap are blocks of so many frames of one stretch.
    """
    above: dict[str, list[float]] = {}
    below: dict[str, list[float]] = {}
    for stretch in stretches:
        found = tallies(stretch, probe, limit) | obedience_tallies(stretch, probe, table) | read_back_tallies(stretch)
        for name, (hits, of) in found.items():
            for sums, values in ((above, hits[slice(*span)]), (below, of[slice(*span)])):
                edges = np.arange(0, len(values), block)
                sums.setdefault(name, []).extend(np.add.reduceat(values.astype(np.float64), edges))
    return {name: interval(above[name], below[name], seed=seed).data() for name in above}


def collapse(stretch: Stretch, limit: Limits) -> int | None:
    """The frame at which a dream stops being the game, or None if it never does.

    The first of: the ball has been frozen for FREEZE_FRAMES; no ball for twice the longest real
    absence; more than half of the last FREEZE_FRAMES frames bad, that is two balls or more, a
    player's paddle in pieces, one per cent more of the pixels off the palette than ever in real play, or a fifth less
    detail than in all but a few real frames: a blur.
    """
    bad = np.nan_to_num(stretch.off) > limit.off + 0.01
    if stretch.detail is not None:
        bad |= stretch.detail < 0.8 * limit.detail[0]
    over = np.zeros(len(bad), bool)
    if stretch.seen is not None:
        bad = bad | (stretch.seen.balls >= 2) | (stretch.seen.player.pieces >= 2)
        over |= run_lengths(stretch.seen.balls == 0) > 2 * max(limit.absence, FREEZE_FRAMES)
        over |= frozen(stretch.seen)
    total = np.concatenate([[0], np.cumsum(bad)])
    over[FREEZE_FRAMES - 1 :] |= (total[FREEZE_FRAMES:] - total[:-FREEZE_FRAMES]) * 2 > FREEZE_FRAMES
    return int(over.argmax()) if over.any() else None
