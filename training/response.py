"""How soon the player answers a key: the share of steps that go the way that is pressed, by steps since the press.

Games have inertia. Breakout's paddle that goes right at full speed goes on by a pixel in the step in which LEFT is
pressed; whoever counts all steps alike cannot tell such a game from a dream that is hard of hearing. So dreams under
codes stand beside the real game under its own buttons.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.action_table import (
    CLEAR,
    DIRECTIONS,
    MIXED,
    STILL_PIXELS,
    Track,
    button_ways,
    player_axis,
    since_press,
)
from training.metrics import interval
from training.probes import Probe

LATE = 4
"""Steps since the press from which on they are counted together."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What a player did in N steps. ways: pixels it went each way [N], by UP, DOWN, LEFT and RIGHT; way: the pixels
    [N] that STILL is about; told: where it can be seen [N]."""

    ways: Mapping[str, NDArray[np.float32]]
    way: NDArray[np.float32]
    told: NDArray[np.bool_]

    def went(self, name: str) -> NDArray[np.bool_]:
        """Steps in which the player went that way, bool [N]."""
        return np.asarray(self.ways[name] > STILL_PIXELS, np.bool_)


def buttons(plays: Sequence[Track], probe: Probe | None, count: int) -> tuple[str, ...]:
    """What each of so many real actions does to the player once it has been held for two steps: a direction if that is
    clear, else MIXED."""
    axis = player_axis(plays)
    total = button_ways(plays, count, axis, probe)
    clear = total.max(axis=1) >= CLEAR * total.sum(axis=1).clip(min=1)
    return tuple(DIRECTIONS[axis][int(row.argmax())] if sure else MIXED for row, sure in zip(total, clear, strict=True))


def response(
    heard: Sequence[Heard], pressed: Sequence[NDArray[np.str_]], seed: int, block: int = 200
) -> dict[str, Any] | None:
    """Of the steps in which a direction is pressed, how many go there: figures by steps since the press, "1", "2", …,
    and "all"; None where no direction is ever pressed.

    heard, pressed: what the player did and the names [N] of what was pressed, of each stretch; block: steps that the
    bootstrap keeps together.
    """
    hits: dict[str, list[float]] = {str(step): [] for step in range(1, LATE + 1)}
    of: dict[str, list[float]] = {name: [] for name in hits}
    for did, names in zip(heard, pressed, strict=True):
        asked = np.logical_or.reduce([names == way for way in did.ways]) & did.told
        right = np.logical_or.reduce([(names == way) & did.went(way) for way in did.ways])
        since = since_press(names).clip(max=LATE)
        edges = np.arange(0, len(names), block)
        for name in hits:
            counted = asked & (since == int(name))
            of[name].extend(np.add.reduceat(counted.astype(np.float64), edges))
            hits[name].extend(np.add.reduceat((counted & right).astype(np.float64), edges))
    if not sum(map(sum, of.values())):
        return None
    hits["all"], of["all"] = ([sum(row) for row in zip(*one.values(), strict=True)] for one in (hits, of))
    return {name: interval(hits[name], of[name], seed=seed).data() for name in hits}
