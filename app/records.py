"""What saves and capsules share: files of strangers are read strictly, what is wrong with one is one line.

Both hold the story of a dream, so both write the turns of its dials in the same way.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn

from app.timeline import Dials
from collectors.drafts import publish
from models.checkpoint import from_json
from models.world import Samples, Sampling, World

LATEST = 1 << 40  # no dream has more steps
MOST_ACTIONS = 1 << 22  # three days at 15 frames a second
MOST_TURNS = 1 << 16
MOST_LETTERS = 300  # of a complaint, which may quote what a stranger wrote


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """The dials from a step on, as they stand in a file. sampling: None for a world without dials."""

    step: int
    seed: int
    sampling: Sampling | None

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 1 << 63:
            raise ValueError(f"a seed must be in [0, 2**63), found {self.seed}")


def turns_as_json(dials: Sequence[tuple[int, Dials]]) -> list[dict[str, Any]]:
    """What `read_turns` reads."""
    return [asdict(Turn(step=step, seed=turned.seed, sampling=turned.sampling)) for step, turned in dials]


def read_turns(data: Sequence[Any], begin: int, end: int, world: World) -> tuple[tuple[int, Dials], ...]:
    """Turns of the dials between two steps, the first at `begin`. Raises ValueError for what no session writes."""
    if not 0 < len(data) <= MOST_TURNS:
        raise ValueError(f"its dials must be turned between 1 and {MOST_TURNS} times, found {len(data)}")
    turns: list[Turn] = [from_json(Turn, item, f"dials[{index}]") for index, item in enumerate(data)]
    steps = [turn.step for turn in turns]
    if steps[0] != begin or steps[-1] > end or steps != sorted(set(steps)):
        raise ValueError(f"its dials must be turned at rising steps from {begin} to at most {end}")
    for turn in turns:
        if (turn.sampling is not None) != isinstance(world, Samples):
            found = "has none" if turn.sampling is None else "has them"
            raise ValueError(f"a world either has sampling dials or not; the file {found} at step {turn.step}")
    return tuple((turn.step, Dials(turn.seed, turn.sampling)) for turn in turns)


def check_actions(actions: bytes, world: World) -> None:
    """Raise ValueError unless every byte is an action of the world."""
    count = len(world.spec.actions)
    if len(actions) > MOST_ACTIONS:
        raise ValueError(f"it has {len(actions)} actions; at most {MOST_ACTIONS} are read")
    if actions and max(actions) >= count:
        wrong = next(index for index, action in enumerate(actions) if action >= count)
        raise ValueError(f"action {actions[wrong]} at position {wrong + 1} is outside [0, {count})")


def check_origin(why: str) -> None:
    """Raise ValueError unless a beginning is named by one plain word."""
    if not re.fullmatch(r"[a-z]{1,20}", why):
        raise ValueError(f"what it begins from must be one word, found {why[:40]!r}")


def clean(text: str, most: int) -> str:
    """A name as it may be shown: printable, without line breaks and runs of blanks, cut to `most` letters."""
    printable = "".join(letter if letter.isprintable() else " " for letter in text)
    return " ".join(printable.split())[:most].rstrip()


def parse(content: bytes, kind: str, number: int) -> dict[str, Any]:
    """A JSON table that says it is of this kind and format, without these two. Raises ValueError."""
    try:
        found = json.loads(content.decode("utf-8"), parse_constant=_no_number)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except ValueError as problem:
        raise ValueError(f"it is not JSON: {problem}") from None
    if not isinstance(found, dict) or found.get("kind") != kind:
        raise ValueError(f"it is not a {kind}")
    if type(found.get("format")) is not int or found["format"] != number:
        raise ValueError(f"it has format {str(found.get('format'))[:20]!r}, this version reads {number}")
    return {key: value for key, value in found.items() if key not in ("kind", "format")}


def as_json(kind: str, number: int, content: Mapping[str, Any]) -> bytes:
    """What `parse` reads."""
    return json.dumps({"kind": kind, "format": number, **content}, allow_nan=False).encode("ascii")


def read_bytes(path: Path, most: int) -> bytes:
    """A file that has no more than `most` bytes; a larger one is not read at all."""
    if path.exists() and not path.is_file():
        raise ValueError("it is not a file")
    with path.open("rb") as file:
        size = path.stat().st_size
        if size > most:
            raise ValueError(f"it has {size} bytes; at most {most} are read")
        return file.read(size)


def write_whole(path: Path, content: bytes) -> Path:
    """Write a file whole or not at all, and its folder if need be. Raises OSError in one line."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        reason = (problem.strerror or str(problem)).lower()
        raise OSError(f"cannot write {path}: {reason}; choose another place") from None
    publish(path, content)
    return path


@contextmanager
def refusing(kind: str, path: Path) -> Iterator[None]:
    """Whatever is wrong with a file that is read becomes one line that names it: ValueError or OSError."""
    try:
        yield
    except FileNotFoundError:
        raise FileNotFoundError(f"{kind} not found: {path}") from None
    except OSError as problem:
        raise OSError(f"cannot read {path}: {reason(problem)}") from None
    except (ValueError, RecursionError) as problem:
        raise ValueError(f"{kind} {path} cannot be used: {reason(problem)}") from None


def reason(problem: Exception) -> str:
    """A complaint in one line of bearable length."""
    if isinstance(problem, RecursionError):
        return "it is nested too deeply"
    text = (problem.strerror or str(problem)).lower() if isinstance(problem, OSError) else str(problem)
    return clean(text, MOST_LETTERS)


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a number")
