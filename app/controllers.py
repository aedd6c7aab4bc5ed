"""Who chooses the action: held keys, chance, or a list written beforehand. No pygame in here."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from app.names import ActionNames

FORMS = "random, ids such as 0,1,2, or a file of ids (.txt, .npy, .npz)"


class Controller(Protocol):
    """Anything that can be asked for the next action id."""

    def act(self) -> int:
        """The id of the next action."""
        ...


class RandomHeld:
    """Random actions, each held for 1 to `longest` frames: long enough for things to move."""

    def __init__(self, actions: int, seed: int, longest: int = 8) -> None:
        self._actions, self._longest = actions, longest
        self._rng = np.random.default_rng([seed, 2])
        self._action, self._left = 0, 0

    def act(self) -> int:
        """The held action; a new one is drawn when its time is over."""
        if self._left == 0:
            self._action = int(self._rng.integers(self._actions))
            self._left = int(self._rng.integers(1, self._longest + 1))
        self._left -= 1
        return self._action


class Script:
    """A fixed list of actions; asked for more than it holds, it raises IndexError."""

    def __init__(self, actions: Sequence[int]) -> None:
        self._actions, self._next = list(actions), 0

    def act(self) -> int:
        """The next action of the list."""
        action = self._actions[self._next]
        self._next += 1
        return action


class Human:
    """Held keys → an action id. The key pressed last wins; a short tap counts for one frame.

    A source is an action id (number keys) or a direction such as `UP`, looked up by name.
    """

    def __init__(self, names: ActionNames) -> None:
        self.names = names
        self.acting: int | None = None  # what the last act() took from the keys, None if it idled
        self._held: list[int | str] = []
        self._tap: int | str | None = None

    def press(self, source: int | str) -> bool:
        """Hold a key down. False, and nothing happens, if this world has no such action."""
        if self._resolve([source]) is None:
            return False
        self.release(source)
        self._held.append(source)
        self._tap = source
        return True

    def release(self, source: int | str) -> None:
        """Let a key go."""
        if source in self._held:
            self._held.remove(source)

    def release_all(self) -> None:
        """Let every key go: the window lost the keyboard."""
        self._held.clear()
        self._tap = None

    def pressed(self) -> int | None:
        """The action of the keys that are down now, or None."""
        return self._resolve(self._held)

    @property
    def wants(self) -> bool:
        """A key is down, or was tapped since the last frame."""
        return self._tap is not None or self.pressed() is not None

    def act(self) -> int:
        """The action for the next frame: held keys, else the last tap, else the idle action."""
        action = self.pressed()
        if action is None and self._tap is not None:
            action = self._resolve([self._tap])
        self._tap = None
        self.acting = action
        return self.names.idle if action is None else action

    def _resolve(self, sources: Sequence[int | str]) -> int | None:
        if not sources:
            return None
        last = sources[-1]
        if isinstance(last, int):
            return last if last < len(self.names.labels) else None
        return self.names.chord([source for source in sources if isinstance(source, str)])


def choose(text: str, actions: int, seed: int, frames: int | None, default: int = 300) -> list[int]:
    """The actions of a dream: `random`, ids such as `0,1,2`, or a file of ids. All are checked.

    frames: how many; None means the whole list, or `default` random ones.
    """
    if text.strip() == "random":
        controller = RandomHeld(actions, seed)
        return [controller.act() for _ in range(default if frames is None else frames)]
    ids = check(parse(text), actions)
    if frames is not None and frames > len(ids):
        raise ValueError(f"--frames {frames} needs {frames} actions, found {len(ids)}; leave out --frames or add more")
    return ids[:frames]


def parse(text: str) -> list[int]:
    """Ids from the text itself, or from the file that it names."""
    if re.fullmatch(r"[-\d,\s]*", text):
        return _ids(text, "--actions")
    path = Path(text)
    if not path.is_file():
        raise FileNotFoundError(f"actions file not found: {text}; expected {FORMS}")
    if path.suffix not in (".npy", ".npz"):
        try:
            return _ids(path.read_text(encoding="utf-8"), text)
        except UnicodeDecodeError:
            raise ValueError(f"cannot read actions from {text}: not a text file; expected {FORMS}") from None
    try:
        loaded = np.load(path, allow_pickle=False)
        values = loaded["actions"] if path.suffix == ".npz" else loaded
    except (ValueError, OSError, KeyError, EOFError) as problem:
        raise ValueError(f"cannot read actions from {text}: {problem}") from None
    if values.ndim != 1 or not np.issubdtype(values.dtype, np.integer):
        raise ValueError(f"actions in {text} must be integers [N], found {values.dtype} {list(values.shape)}")
    return [int(value) for value in values]


def check(ids: list[int], actions: int) -> list[int]:
    """The same list, or a ValueError naming the first id outside [0, actions) and its position from 0."""
    if not ids:
        raise ValueError(f"the list of actions is empty; expected {FORMS}")
    for position, action in enumerate(ids):
        if not 0 <= action < actions:
            raise ValueError(f"action {action} at position {position} is outside [0, {actions})")
    return ids


def _ids(text: str, source: str) -> list[int]:
    """Whole numbers separated by commas or white space."""
    parts = [part for part in re.split(r"[,\s]+", text) if part]
    for position, part in enumerate(parts):
        if not re.fullmatch(r"-?\d{1,9}", part):
            raise ValueError(f"'{part[:20]}' at position {position} of {source} is not an action id")
    return [int(part) for part in parts]
