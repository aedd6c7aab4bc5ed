"""How long dreams stay with the game: many stretches of recorded play at once, each beside two dreams without a guide.

The world reads a code off every real transition and dreams along, as in mode `codes` of `compare`. *shuffled* is the
same dream, with the same luck, whose codes come in another order: what is left when they tell nothing of the
moment. *copy* is the last frame of the context, kept for ever.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from app.closeness import PATIENCE, THRESHOLD, held, moving_psnr
from app.session import picture
from app.timeline import generator
from collectors.episode import Episode
from models.world import InfersActions, State, Window, World

KINDS = ("dream", "copy", "shuffled")


@dataclass(frozen=True, kw_only=True, slots=True)
class Drift:
    """One stretch: the moving-pixel PSNR of every frame after the context, dB, NaN where nothing moved."""

    dream: tuple[float, ...]
    copy: tuple[float, ...]
    shuffled: tuple[float, ...]

    def held(self, kind: str, threshold: float = THRESHOLD, patience: int = PATIENCE) -> int | None:
        """How many frames one of KINDS held; None if it was never lost."""
        return held(getattr(self, kind), threshold, patience)


def drifts(
    world: World,
    stretches: Sequence[Episode],
    *,
    seed: int = 0,
    device: str = "cpu",
    say: Callable[[], object] = lambda: None,
) -> list[Drift]:
    """Dream along stretches of one length, context included. Stretch i has the luck of a session with `seed` + i.

    Where the world cannot read actions off frames, the recorded ones must be its own. say: called after every frame.
    Raises ValueError for stretches that are too short or differ in length.
    """
    context, lengths = world.spec.context, {stretch.steps + 1 for stretch in stretches}
    if len(lengths) != 1 or min(lengths) <= context:
        raise ValueError(f"stretches must have one length of {context + 1} frames or more, found {sorted(lengths)}")
    length = lengths.pop()
    frames = torch.stack([torch.from_numpy(one.frames.transpose(0, 3, 1, 2).copy()) for one in stretches]).to(device)
    actions = torch.stack([torch.from_numpy(one.actions) for one in stretches]).to(device)  # [B, T-1]
    codes = _codes(world, frames, actions)
    mixed = torch.stack([_permuted(row, seed + number) for number, row in enumerate(codes)])
    both = torch.cat([codes, mixed])
    known = None if isinstance(world, InfersActions) else actions[:, : context - 1]
    with torch.inference_mode():
        start = world.reset(Window(frames[:, :context], known))
        state: State = {name: torch.cat([value, value]) for name, value in start.items()}
        earlier = world.render(state)
    scores: dict[str, list[list[float]]] = {kind: [[] for _ in stretches] for kind in KINDS}
    for step in range(length - context):
        luck = [generator(seed + number, step) for _ in range(2) for number in range(len(stretches))]
        with torch.inference_mode():
            state = world.step(state, both[:, step], luck)
            shown = world.render(state)
        for number, stretch in enumerate(stretches):
            at, other = context + step, len(stretches) + number
            first = stretch.frames[context - 1]
            guesses = {
                "dream": (picture(earlier[number : number + 1]), picture(shown[number : number + 1])),
                "copy": (first, first),
                "shuffled": (picture(earlier[other : other + 1]), picture(shown[other : other + 1])),
            }
            for kind, (old, new) in guesses.items():
                scores[kind][number].append(moving_psnr(stretch.frames[at - 1], stretch.frames[at], old, new))
        earlier = shown
        say()
    return [Drift(**{kind: tuple(scores[kind][number]) for kind in KINDS}) for number in range(len(stretches))]


def summary(found: Sequence[Drift], threshold: float = THRESHOLD, patience: int = PATIENCE) -> dict[str, Any]:
    """Medians over stretches as plain JSON. A dream that was never lost counts with all its frames.

    For each of KINDS: `median` and `each`, frames held; `never_lost`, how many; `mean_db`, of the moving pixels over
    all scored frames. `times_shuffled`: the dream's median over that of shuffled codes; None where that is 0.
    """
    frames = len(found[0].dream)
    out: dict[str, Any] = {"stretches": len(found), "frames": frames, "threshold": threshold, "patience": patience}
    for kind in KINDS:
        each = [drift.held(kind, threshold, patience) for drift in found]
        scored = [score for drift in found for score in getattr(drift, kind) if not math.isnan(score)]
        out[kind] = {
            "median": statistics.median(frames if count is None else count for count in each),
            "never_lost": each.count(None),
            "mean_db": round(statistics.fmean(scored), 3) if scored else None,
            "each": each,
        }
    chance = out["shuffled"]["median"]
    out["times_shuffled"] = round(out["dream"]["median"] / chance, 2) if chance else None
    return out


def _codes(world: World, frames: Tensor, actions: Tensor) -> Tensor:
    """The action of every transition after the context, as a comparison reads it: int64 [B, K]."""
    context = world.spec.context
    if not isinstance(world, InfersActions):
        return actions[:, context - 1 :]
    steps = range(context, frames.shape[1])
    with torch.inference_mode():
        return torch.stack([world.infer_actions(frames[:, at - context : at + 1])[:, -1] for at in steps], dim=1)


def _permuted(codes: Tensor, seed: int) -> Tensor:
    order = np.random.default_rng([seed, 3]).permutation(len(codes))
    return codes[torch.from_numpy(order).to(codes.device)]
