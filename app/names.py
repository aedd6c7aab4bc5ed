"""What a world's actions are called, as found on real play: which id goes UP, which one keeps still."""

from __future__ import annotations

from collections.abc import Sequence

from models.world import WorldSpec

UNUSED = "UNUSED"  # label of a code that real play never needed
STILL = ("STILL", "NOOP", "STAY", "NONE")  # labels of doing nothing
VERTICAL, HORIZONTAL, FIRE = ("UP", "DOWN"), ("LEFT", "RIGHT"), ("FIRE",)


class ActionNames:
    """Labels of the action ids of a world, and the way back from a label to the best id.

    A latent world has labels once its table was measured; a world of real actions brings them along, and what these
    were found to do (`moves`) helps where a label is not among them: in Pong, the button RIGHT goes UP. `known` is
    False where there are only numbers.
    """

    def __init__(self, spec: WorldSpec) -> None:
        count = len(spec.actions)
        table = spec.table
        named = not spec.latent
        self.known = table is not None or named
        self.labels: tuple[str, ...] = spec.actions
        self.agreement: tuple[float | None, ...] = (None,) * count
        self._weight: tuple[float, ...] = (1.0,) * count
        self.moves: tuple[str, ...] = ("",) * count
        if table is not None:
            self.moves = tuple(label.upper() for label in table.labels)
            self.agreement = table.agreement
            self._weight = tuple(a * u for a, u in zip(table.agreement, table.usage, strict=True))
        if named:
            self.labels = tuple(name.upper() for name in spec.actions)
        elif table is not None:
            self.labels = self.moves
        idle = [self._among(names, label) for names in (self.labels, self.moves) for label in STILL]
        self.idle: int = next((action for action in idle if action is not None), 0)

    def find(self, label: str) -> int | None:
        """The id with this label that means it most (agreement x usage), or None."""
        found = [self._among(names, label) for names in (self.labels, self.moves)]
        return next((action for action in found if action is not None), None)

    def _among(self, names: Sequence[str], label: str) -> int | None:
        ids = [action for action, name in enumerate(names) if self.known and name == label]
        return max(ids, key=lambda action: (self._weight[action], -action), default=None)

    def chord(self, directions: Sequence[str]) -> int | None:
        """The id of directions held together, e.g. `UPRIGHT`; else that of the one pressed last."""
        latest = [next((d for d in reversed(directions) if d in group), "") for group in (VERTICAL, HORIZONTAL, FIRE)]
        both = self.find("".join(latest))
        if both is not None:
            return both
        return next((found for d in reversed(directions) if (found := self.find(d)) is not None), None)

    def meant(self, action: int, other: ActionNames) -> int | None:
        """Another world's action that means what one of this world means: by its name, or, where one of them has no
        names, by its number. None where there is none."""
        if self.known and other.known:
            if action == self.idle and other.labels[other.idle] in STILL:
                return other.idle
            names = (self.labels[action], self.moves[action])
            return next((found for name in names if name and (found := other.find(name)) is not None), None)
        return action if action < len(other.labels) else None

    def title(self, action: int) -> str:
        """How to call an id: `UP`, or `latent 3` where nothing is known."""
        label = self.labels[action] if action < len(self.labels) else ""
        return label if self.known and label else f"latent {action}"

    def distinct(self) -> list[str]:
        """The labels that mean something, each once, in order of first use."""
        return list(dict.fromkeys(label for label in self.labels if label not in ("", UNUSED))) if self.known else []
