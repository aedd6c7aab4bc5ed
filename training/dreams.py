"""Long dreams under random codes: dreamed in one batch, looked at as they pass, told beside real play."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.world import ActionTable, InfersActions, World
from training.action_table import Track, device_of
from training.brick_statistics import rises
from training.dream_statistics import (
    BLOCK,
    Eyes,
    Limits,
    Palette,
    Stretch,
    answers,
    chained,
    collapse,
    limits,
    look,
    rates,
)
from training.held_out import Play
from training.metrics import interval
from training.motion_statistics import scrolls
from training.probes import Probe
from training.response import buttons
from training.rollouts import Sheet, choose_spots, generator, read_clips, start_state
from training.score_reader import ScoreReader, score_changes

LONGEST_HOLD = 8
READ_AFTER = 3
"""Frames of the past that a LAM is shown beside the transitions that it is asked for."""

BUFFER = 50
"""Frames of each dream kept in memory before they are looked at."""

FILM = 200
"""Frames of a dream that its film shows."""

SHOWN = (0, 1, 2, 3, 5, 8, 15, 30, 60, 100, 200, 400, 600, 800, 999)
"""Frames of a dream that its strip shows."""


def held_codes(dreams: int, frames: int, actions: int, seed: int) -> NDArray[np.int64]:
    """Uniformly random ids, each held for 1 … LONGEST_HOLD frames, uniformly: int64 [dreams, frames]."""
    rng = np.random.default_rng(seed)
    out = np.empty((dreams, frames), np.int64)
    for row in out:
        holds = rng.integers(1, LONGEST_HOLD + 1, frames)
        row[:] = np.repeat(rng.integers(0, actions, frames), holds)[:frames]
    return out


def eyes_for(dataset: Play, probe: Probe | None, palette: Palette) -> Eyes:
    """What looks at frames of this game; the score is learned from the data set, and whether the picture scrolls."""
    some = dataset.episodes[:: max(1, len(dataset.episodes) // 8)]
    moving = probe is None and any(scrolls(dataset.read(reference).frames) for reference in some)
    reader = ScoreReader(probe.scores, dataset) if probe is not None and probe.scores else None
    return Eyes(probe=probe, palette=palette, reader=reader, scrolls=moving)


def real_stretches(dataset: Play, eyes: Eyes, plays: Sequence[Track] | None, probe: Probe | None) -> list[Stretch]:
    """Every episode of real play, looked at. plays: all of them as the world read them, if it can."""
    out = []
    does = np.array(buttons(plays, probe, len(dataset.manifest.action_names))) if plays else None
    for number, reference in enumerate(dataset.episodes):
        seen = replace(look(dataset.read(reference).frames, eyes), behaviour=reference.behaviour)
        if plays is not None and does is not None:
            track = plays[number]
            seen = replace(seen, codes=track.codes, pressed=does[track.actions])
        out.append(seen)
    return out


def dream(
    world: World,
    dataset: Play,
    eyes: Eyes,
    *,
    dreams: int,
    frames: int,
    seed: int,
    film: list[NDArray[np.uint8]] | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> tuple[list[Stretch], Sheet]:
    """Dream from held-out starts under held random codes; all dreams are rows of one state.

    Returns each dream looked at, and the frames SHOWN of the first four. film: gets the first FILM frames of those,
    side by side, uint8 [H, W, C].
    """
    states = []
    length = max(world.spec.context, 2)
    spots = choose_spots(dataset, length, dreams, seed + 4)
    for batch in read_clips(world, dataset, None, spots, length):
        states.append(start_state(world, batch, generator(seed)))
    state = {name: torch.cat([part[name] for part in states]) for name in states[0]}
    present = world.render(state)
    codes = held_codes(len(present), frames, len(world.spec.actions), seed)
    actions = torch.from_numpy(codes).to(device_of(world))
    rng = generator(seed + 5)
    before = _pixels(present)
    past, read = present[:, None], []
    parts: list[list[Stretch]] = [[] for _ in codes]
    sheet: Sheet = [[] for _ in range(min(4, len(codes)))]
    for first in range(0, frames, BUFFER):
        buffer: list[NDArray[np.uint8]] = []
        clip = [past]
        for step in range(first, min(first + BUFFER, frames)):
            state = dict(world.step(state, actions[:, step], rng))
            shown = world.render(state)
            clip.append(shown[:, None])
            buffer.append(_pixels(shown))
            if step in SHOWN:
                for row, frame in zip(sheet, shown, strict=False):
                    row.append(frame.cpu().clone())
        passed = np.stack(buffer, 1)  # [B, n, H, W, C]
        if film is not None and first < FILM:
            film.extend(np.concatenate(list(beside), axis=1) for beside in passed[:4].swapaxes(0, 1))
        for number, stretch in enumerate(passed):
            parts[number].append(look(stretch, eyes, before[number]))
        before = passed[:, -1]
        if isinstance(world, InfersActions):
            whole = torch.cat(clip, dim=1)
            read.append(world.infer_actions(whole)[:, -len(buffer) :].cpu().numpy())
            past = whole[:, -1 - READ_AFTER :]
        say(f"dreams: {min(first + BUFFER, frames)} of {frames} frames of {len(codes)} dreams")
    told = np.concatenate(read, axis=1)[:, 1:] if read else [None] * len(codes)
    seen = [chained(part, code[1:]) for part, code in zip(parts, codes, strict=True)]
    return [replace(one, read=row) for one, row in zip(seen, told, strict=True)], sheet


def dream_section(
    dreamed: Sequence[Stretch],
    real: Sequence[Stretch],
    probe: Probe | None,
    table: ActionTable | None,
    *,
    seed: int,
) -> dict[str, Any]:
    """The scorecard's `dreams`: rates over all and by block of BLOCK frames, the real game's rates, collapse.

    `real` holds the rates over `all` held-out play and by behaviour; the dreams' keys are pressed
    as in the behaviour `sticky`, with which `response` compares them where there is any.
    """
    limit = limits(real, probe)
    frames = len(dreamed[0].off)

    def told(
        stretches: Sequence[Stretch], block: int = BLOCK, span: tuple[int, int | None] = (0, None)
    ) -> dict[str, Any]:
        return rates(stretches, probe, limit, table, seed=seed, block=block, span=span)

    blocks = [(start, min(start + BLOCK, frames)) for start in range(0, frames, BLOCK)]
    like = [stretch for stretch in real if stretch.behaviour == "sticky"] or list(real)
    behaviours = dict.fromkeys(stretch.behaviour for stretch in real if stretch.behaviour)
    return {
        "dreams": len(dreamed),
        "frames": frames,
        "longest_hold": LONGEST_HOLD,
        "limits": _limit_data(limit),
        "world": {
            "all": told(dreamed, frames),
            "blocks": [{"start": a, "stop": b, "rates": told(dreamed, frames, (a, b))} for a, b in blocks],
        },
        "response": {"world": answers(dreamed, probe, table, seed), "real": answers(like, probe, None, seed)},
        "real": {"all": told(real)}
        | {name: told([stretch for stretch in real if stretch.behaviour == name]) for name in behaviours},
        "collapse": _collapse(dreamed, limit),
        "collapse_of_real_play": _collapse(real, limit),
        "walls": {"world": _walls(dreamed), "real": _walls(real)},
        "score": {name: _score(some, probe, seed) for name, some in (("world", dreamed), ("real", real))},
    }


def _score(stretches: Sequence[Stretch], probe: Probe | None, seed: int) -> dict[str, Any] | None:
    """Share of the changes of the score that are legal, bootstrap over stretches; None for a game without a reader."""
    if probe is None or not probe.scores:
        return None
    changes = [score_changes(one.score, probe.last) for one in stretches if one.score is not None]
    return interval([sum(found) for found in changes], [len(found) for found in changes], seed=seed).data()


def _walls(stretches: Sequence[Stretch]) -> dict[str, int] | None:
    """In how many stretches no brick ever came back, but for a whole new wall; None for a game without bricks."""
    seen = [stretch.seen for stretch in stretches if stretch.seen is not None and stretch.seen.bricks is not None]
    return {"only_lose": sum(not rises(one).any() for one in seen), "of": len(seen)} if seen else None


def _collapse(stretches: Sequence[Stretch], limit: Limits) -> dict[str, Any]:
    """Frame of collapse of each stretch (null: none), how many, and the median with survivors at their end."""
    each = [collapse(stretch, limit) for stretch in stretches]
    ended = [len(stretch.off) if at is None else at for at, stretch in zip(each, stretches, strict=True)]
    return {
        "each": each,
        "collapsed": sum(at is not None for at in each),
        "of": len(each),
        "median_frames": float(np.median(ended)),
    }


def _limit_data(limit: Limits) -> dict[str, Any]:
    return {
        "median_length": limit.lengths,
        "length_range": {name: list(span) for name, span in limit.ranges.items()},
        "longest_ball_absence": limit.absence,
        "churn": limit.churn,
        "off_palette": None if np.isnan(limit.off) else limit.off,
        "detail": list(limit.detail),
    }


def _pixels(frame: Tensor) -> NDArray[np.uint8]:
    """uint8 [B, C, H, W] on any device → [B, H, W, C] on this side, a copy."""
    return np.ascontiguousarray(frame.permute(0, 2, 3, 1).cpu().numpy())
