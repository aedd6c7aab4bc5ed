"""Latent codes and real actions: which goes with which, by the table that was measured after training.

A real action is called a *button* here, to tell it from the action ids of a world, which may be latent codes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from app.names import HORIZONTAL, STILL, VERTICAL, ActionNames
from models.world import ActionTable, WorldSpec


def has_table(spec: WorldSpec, buttons: Sequence[str]) -> bool:
    """Whether codes and buttons can be matched at all: by a table, or because they are the same."""
    return spec.table is not None or spec.actions == tuple(buttons)


def button_for(spec: WorldSpec, code: int, buttons: Sequence[str]) -> int:
    """The button that does what a code does.

    That which has the code's name; for a code that keeps still the one that does nothing; else the one pressed
    most often, `best_lag` steps before the code was read. Raises ValueError where the world has no table.
    """
    if spec.actions == tuple(buttons):
        return code
    table = _table(spec)
    label = table.labels[code].upper()
    for name in (label, *(STILL if label in STILL else ())):
        if name in buttons:
            return buttons.index(name)
    return _most(table, [code], buttons)


def code_for(spec: WorldSpec, button: int, buttons: Sequence[str]) -> int:
    """The code that was read most often `best_lag` steps after a button; the idle one if the table does not know it."""
    if spec.actions == tuple(buttons):
        return button
    table, idle = _table(spec), ActionNames(spec).idle
    if buttons[button] not in table.real_actions:
        return idle
    column = table.real_actions.index(buttons[button])
    counts = [row[column] for row in table.counts[table.best_lag]]
    return counts.index(max(counts)) if any(counts) else idle


def ways(spec: WorldSpec, buttons: Sequence[str]) -> dict[str, str]:
    """Direction → name of the button that goes there, for the directions that the world's codes are named by."""
    if spec.table is None:
        return {}
    labels = [label.upper() for label in spec.table.labels]
    found = {way: [code for code, label in enumerate(labels) if label == way] for way in (*VERTICAL, *HORIZONTAL)}
    return {way: buttons[_most(spec.table, codes, buttons)] for way, codes in found.items() if codes}


class Buttons(ActionNames):
    """The names of the buttons, which also understand the directions that the world knows: UP is RIGHT in Pong."""

    def __init__(self, spec: WorldSpec, buttons: Sequence[str]) -> None:
        self._ways = ways(spec, buttons)
        super().__init__(replace(spec, actions=tuple(buttons), table=None))

    def find(self, label: str) -> int | None:
        """The button of this name, or the one that goes this way; UPFIRE is sought as RIGHTFIRE, too."""
        own = super().find(label)
        for way, name in self._ways.items():
            if own is None and label.startswith(way):
                own = super().find(name + label.removeprefix(way))
        return own


def _table(spec: WorldSpec) -> ActionTable:
    if spec.table is None:
        raise ValueError(f"world '{spec.game}' has no table of what its codes do, so no button goes with them")
    return spec.table


def _most(table: ActionTable, codes: Sequence[int], buttons: Sequence[str]) -> int:
    """The button that was pressed most often before these codes; the idle one if none ever was."""
    counts = table.counts[table.best_lag]
    total = {
        buttons.index(name): sum(counts[code][column] for code in codes)
        for column, name in enumerate(table.real_actions)
        if name in buttons
    }
    if any(total.values()):
        return max(total, key=lambda button: (total[button], -button))
    return next((buttons.index(name) for name in STILL if name in buttons), 0)
