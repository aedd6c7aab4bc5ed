"""Saved games: one safetensors file holds a dream and what led to it, and the dream goes on as if nothing had been.

The file has the tensors of the state, the picture, the frames it all began from and every key pressed since; its
header has a JSON text with the rest. A save may come from a stranger: nothing in it is believed, and the session
changes only when one frame could be dreamed from it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, deserialize
from safetensors.torch import save as as_safetensors
from torch import Tensor

from app import records
from app.places import saves
from app.session import Session, checked_clip, picture
from app.timeline import Dials, Frame, Origin, Take, generator
from models.checkpoint import from_json
from models.world import Samples, State, Window, World

KIND, FORMAT = "dreamcade save", 1
KEY = "dreamcade"  # of the JSON text among the metadata of the header
MOST_BYTES = 64 << 20
LONGEST_NAME = 40
NUMBERED = 10
DTYPES = {
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "I8": torch.int8,
    "I16": torch.int16,
    "I32": torch.int32,
    "I64": torch.int64,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F32": torch.float32,
    "F64": torch.float64,
}
CODES = {dtype: code for code, dtype in DTYPES.items()}
STUMBLES = (ValueError, LookupError, TypeError, RuntimeError, ArithmeticError, AssertionError)  # of a misled world

Views = Mapping[str, Mapping[str, Any]]
"""Name of a tensor → its `dtype` as safetensors calls it, its `shape`, and its bytes as `data`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Card:
    """What a save says of itself. when: a time as its writer put it; why: how the dream began (see
    `timeline.Origin`), None where that is forgotten; begin: the step at which; step: the present one."""

    world_id: str
    game: str
    name: str
    when: str
    why: str | None
    begin: int
    step: int
    dials: tuple[Any, ...]

    def __post_init__(self) -> None:
        if not 0 <= self.begin <= self.step <= records.LATEST:
            raise ValueError(f"steps must rise within [0, 2**40], found {self.begin} to {self.step}")
        if self.why is not None:
            records.check_origin(self.why)


@dataclass(frozen=True, kw_only=True, slots=True)
class Slot:
    """A place for one save. key: `quick` or a digit; frame: uint8 [H, W, 3], None where nothing is saved or where
    `problem` says why it cannot be read."""

    key: str
    path: Path
    world_id: str = ""
    name: str = ""
    when: str = ""
    step: int = 0
    frame: Frame | None = None
    problem: str = ""

    @property
    def empty(self) -> bool:
        """Nothing is saved here."""
        return self.frame is None and not self.problem


def save(session: Session, path: Path, name: str = "", when: str = "") -> Path:
    """Write the present of a session and what led to it, whole or not at all.

    name: what the player calls it; when: the time, as it is to be shown. Raises OSError, or ValueError for a dream too
    large to be read again.
    """
    story = session.take.story()
    origin = story.origin
    records.check_actions(story.actions, session.world)
    card = Card(
        world_id=session.world_id,
        game=session.world.spec.game,
        name=records.clean(name, LONGEST_NAME),
        when=records.clean(when, LONGEST_NAME),
        why=None if origin is None else origin.why,
        begin=story.begin,
        step=session.steps,
        dials=tuple(records.turns_as_json(story.dials)),
    )
    tensors = {f"state.{key}": value for key, value in session.state.items()}
    tensors["frame"] = torch.from_numpy(session.frame.copy())
    tensors["actions"] = torch.tensor(list(story.actions), dtype=torch.uint8)
    if origin is not None:
        tensors["origin.clip"] = origin.clip
        if origin.actions is not None:
            tensors["origin.actions"] = origin.actions
    apart = {key: value.detach().cpu().clone().contiguous() for key, value in tensors.items()}  # no shared memory
    content = as_safetensors(apart, {KEY: records.as_json(KIND, FORMAT, asdict(card)).decode("ascii")})
    if len(content) > MOST_BYTES:
        raise ValueError(f"this dream needs {len(content)} bytes; saves of at most {MOST_BYTES} are read")
    return records.write_whole(path, content)


def load(session: Session, path: Path) -> None:
    """Go on where a save was made, with the same world; what was played before stays as a take.

    Raises FileNotFoundError, OSError or ValueError in one line, and then the session is as it was.
    """
    with records.refusing("save", path):
        card, views = _opened(path)
        _check_world(card, session)
        take = _read_take(session, card, views)
    session.restore(take)


def folder_for(world: Path) -> Path:
    """Where the saves of a world are kept. world: its folder."""
    return saves() / "sessions" / world.resolve().name


def slot_path(folder: Path, number: int | None) -> Path:
    """The file of a numbered slot, or (None) of the quick save."""
    if number is None:
        return folder / "quick.save"
    if not 0 <= number < NUMBERED:
        raise ValueError(f"slot {number} is outside [0, {NUMBERED})")
    return folder / f"slot-{number}.save"


def slots(folder: Path) -> list[Slot]:
    """The quick save and the numbered ones, empty ones too. No world is needed, and what is broken says why."""
    numbers = [None, *range(NUMBERED)]
    return [_glimpse("quick" if number is None else str(number), slot_path(folder, number)) for number in numbers]


def _glimpse(key: str, path: Path) -> Slot:
    try:
        card, views = _opened(path)
        shape = tuple(views["frame"]["shape"]) if "frame" in views else ()
        if len(shape) != 3 or shape[2] != 3 or 0 in shape:
            raise ValueError("it has no picture")
        frame = _tensor(views, "frame", torch.uint8, shape).numpy()
    except FileNotFoundError:
        return Slot(key=key, path=path)
    except (ValueError, OSError, RecursionError) as problem:
        return Slot(key=key, path=path, problem=records.reason(problem))
    name, when = (records.clean(text, LONGEST_NAME) for text in (card.name, card.when))
    made_with = records.clean(card.world_id, LONGEST_NAME)
    return Slot(key=key, path=path, world_id=made_with, name=name, when=when, step=card.step, frame=frame)


def _opened(path: Path) -> tuple[Card, Views]:
    """The two halves of a save, each sound by itself: the header's JSON and the tensors as bytes."""
    content = records.read_bytes(path, MOST_BYTES)
    try:
        views = dict(deserialize(content))  # type: ignore[no-untyped-call]  # compiled, without types
    except SafetensorError as problem:
        raise ValueError(f"it is damaged or no save: {problem}") from None
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    text = (header.get("__metadata__") or {}).get(KEY)
    if not isinstance(text, str):
        raise ValueError(f"it is not a {KIND}")
    card: Card = from_json(Card, records.parse(text.encode("utf-8", "replace"), KIND, FORMAT), "header")
    return card, views


def _check_world(card: Card, session: Session) -> None:
    if card.world_id != session.world_id:
        theirs, ours = (f"'{records.clean(game, 20)}'" for game in (card.game, session.world.spec.game))
        found = f"world {records.clean(card.world_id, 16)} of {theirs}"
        raise ValueError(f"it is of {found}, this one is {session.world_id} of {ours}; play that world to load it")


def _read_take(session: Session, card: Card, views: Views) -> Take:
    """The take that a save describes, after a frame was dreamed from it on trial."""
    world, spec = session.world, session.world.spec
    with torch.inference_mode():
        blank = torch.zeros((1, spec.context, spec.channels, spec.height, spec.width), dtype=torch.uint8)
        usual = world.reset(Window(blank.to(session.device)))
    _check_names(card, views, usual)
    state = {name: _tensor(views, f"state.{name}", value.dtype, tuple(value.shape)) for name, value in usual.items()}
    for name, value in state.items():
        if value.is_floating_point() and bool(value.isnan().any()):
            raise ValueError(f"'state.{name}' holds values that are not numbers")
    frame: Frame = _tensor(views, "frame", torch.uint8, (spec.height, spec.width, 3)).numpy()
    actions = _tensor(views, "actions", torch.uint8, (card.step - card.begin,)).numpy().tobytes()
    records.check_actions(actions, world)
    dials = records.read_turns(card.dials, card.begin, card.step, world)
    origin = _read_origin(card, views, world)
    here = {name: value.to(session.device) for name, value in state.items()}
    _try(world, here, dials[-1][1], card.step, session.device)
    return _take_of(card, here, frame, actions, list(dials), origin)


def _check_names(card: Card, views: Views, usual: State) -> None:
    wanted = {"frame", "actions", *(f"state.{name}" for name in usual)}
    if card.why is not None:
        wanted |= {"origin.clip"} | ({"origin.actions"} & set(views))
    for name in sorted(wanted ^ set(views)):
        what = "lacks" if name in wanted else "has an unknown tensor"
        raise ValueError(f"it {what} {name[:40]!r}")


def _read_origin(card: Card, views: Views, world: World) -> Origin | None:
    if card.why is None:
        return None
    shape = tuple(views["origin.clip"]["shape"])
    if len(shape) != 4 or 0 in shape:
        raise ValueError(f"'origin.clip' must be uint8 [T, C, H, W], found {list(shape)}")
    clip = checked_clip(_tensor(views, "origin.clip", torch.uint8, shape), world)
    if "origin.actions" not in views:
        return Origin(clip, card.why)
    actions = _tensor(views, "origin.actions", torch.int64, (len(clip) - 1,))
    if any(not 0 <= action < len(world.spec.actions) for action in actions.tolist()):
        raise ValueError(f"'origin.actions' are outside [0, {len(world.spec.actions)})")
    return Origin(clip, card.why, actions)


def _tensor(views: Views, name: str, dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
    """A tensor of a save, or ValueError where it is another than expected. It lies in memory as torch's own do, because
    some kernels add up in another order elsewhere."""
    found = views[name]
    if found["dtype"] != CODES[dtype] or tuple(found["shape"]) != shape:
        told = f"{found['dtype']} {list(found['shape'])}"
        raise ValueError(f"'{name}' must be {CODES[dtype]} {list(shape)}, found {told}")
    data = bytearray(found["data"])
    if len(data) != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"'{name}' has {len(data)} bytes; that is not {CODES[dtype]} {list(shape)}")
    if not data:
        return torch.zeros(shape, dtype=dtype)
    return torch.frombuffer(data, dtype=dtype).reshape(shape).clone()


def _try(world: World, state: State, dials: Dials, step: int, device: torch.device) -> None:
    """Show the state and dream one frame from it. Raises ValueError if the world cannot."""
    if dials.sampling is not None and isinstance(world, Samples):
        world = world.with_sampling(dials.sampling)
    try:
        with torch.inference_mode():
            picture(world.render(state))
            after = world.step(state, torch.tensor([0], device=device), generator(dials.seed, step))
            picture(world.render(after))
    except STUMBLES as problem:
        raise ValueError(f"its state cannot be played: {records.reason(problem)}") from None


def _take_of(
    card: Card, state: State, frame: Frame, actions: bytes, dials: list[tuple[int, Dials]], origin: Origin | None
) -> Take:
    """A take that begins at the saved step. What led there is its parent, of which only the keys are known: its
    pictures count as forgotten, so nobody goes back there, but the story is whole."""
    before = None
    if actions:
        length = len(actions)
        before = Take(0, card.begin, frame.shape, dials, None, origin, bytearray(actions), {}, [], length)
    take = Take(0, card.step, frame.shape, [(card.step, dials[-1][1])], before, None if before is not None else origin)
    take.begin_with(state, frame)
    return take
