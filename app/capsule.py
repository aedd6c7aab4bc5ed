"""Replay capsules: a small JSON file with which a dream can be dreamed again, and checksums that tell whether it was.

It holds the frames that the dream began from, luck and dials, and every key pressed; the frames in between are
dreamed anew. The same world on the same kind of machine gives the same frames to the last bit.
"""

from __future__ import annotations

import base64
import hashlib
import io
import struct
import warnings
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from app import records
from app.session import Session, checked_clip
from app.timeline import Dials, Origin, Story
from models.checkpoint import from_json
from models.world import World

KIND, FORMAT = "dreamcade capsule", 1
MOST_BYTES = 8 << 20
BLOCK = 100  # frames under one checksum
PNG_START = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"
MODES = {1: "L", 3: "RGB"}
MOST_CLIP, MOST_THREADS = 64, 256
DAMAGES = (OSError, ValueError, SyntaxError, EOFError, LookupError, OverflowError, struct.error, zlib.error, Warning)


@dataclass(frozen=True, kw_only=True, slots=True)
class Label:
    """A capsule as it stands in the file, its parts checked for what they are and not for what is in them.

    why: how the dream began, see `timeline.Origin`; clip: PNGs of the frames it began from; clip_actions: what
    was pressed between these, None where nobody knows; begin: the step of the last of them; checksums: one
    SHA-256 for every 100 frames shown, None where they were forgotten before the capsule was written. torch,
    threads, device: with what it was dreamed, because other ones may compute other last digits.
    """

    world_id: str
    game: str
    fps: float
    why: str
    clip: tuple[str, ...]
    clip_actions: tuple[int, ...] | None
    begin: int
    dials: tuple[Any, ...]
    actions: str
    checksums: tuple[str | None, ...]
    torch: str
    threads: int
    device: str

    def __post_init__(self) -> None:
        records.check_origin(self.why)
        if not 0 <= self.begin <= records.LATEST:
            raise ValueError(f"it must begin at a step in [0, 2**40], found {self.begin}")
        if not 0 < self.fps <= 1000:
            raise ValueError(f"its fps must be in (0, 1000], found {self.fps}")
        if not 1 <= self.threads <= MOST_THREADS:
            raise ValueError(f"its threads must be in [1, {MOST_THREADS}], found {self.threads}")
        if self.device not in ("cpu", "cuda", "mps"):
            raise ValueError(f"its device must be cpu, cuda or mps, found {self.device[:20]!r}")
        if any(digits is not None and len(digits) != 64 for digits in self.checksums):
            raise ValueError("its checksums must be SHA-256, 64 digits each")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Capsule:
    """A recording that fits a world. dials: (step, dials) in rising order, the first at `label.begin`."""

    label: Label
    origin: Origin
    actions: bytes
    dials: tuple[tuple[int, Dials], ...]

    @property
    def frames(self) -> int:
        """How many frames are shown, the first one included."""
        return len(self.actions) + 1


def write_capsule(session: Session, path: Path) -> Path:
    """Write what led to the present since the dream last began from frames, whole or not at all.

    Raises ValueError where the beginning is forgotten or the dream is too long, OSError where nothing can be written.
    """
    story = session.take.story()
    if story.origin is None:
        raise ValueError("the frames that this dream began from are forgotten; begin anew to record a capsule")
    records.check_actions(story.actions, session.world)
    between = story.origin.actions
    label = Label(
        world_id=session.world_id,
        game=session.world.spec.game,
        fps=session.world.spec.fps,
        why=story.origin.why,
        clip=tuple(_png(frame) for frame in story.origin.clip),
        clip_actions=None if between is None else tuple(between.tolist()),
        begin=story.begin,
        dials=tuple(records.turns_as_json(story.dials)),
        actions=base64.b64encode(story.actions).decode("ascii"),
        checksums=_checksums(session, story),
        torch=str(torch.__version__),
        threads=min(session.aside(torch.get_num_threads), MOST_THREADS),
        device=session.device.type,
    )
    content = records.as_json(KIND, FORMAT, asdict(label))
    if len(content) > MOST_BYTES:
        raise ValueError(f"this dream needs {len(content)} bytes; capsules of at most {MOST_BYTES} are read")
    return records.write_whole(path, content)


def read_label(path: Path) -> Label:
    """What a capsule says of itself, before its world is at hand. Raises ValueError or OSError in one line."""
    with records.refusing("capsule", path):
        content = records.read_bytes(path, MOST_BYTES)
        label: Label = from_json(Label, records.parse(content, KIND, FORMAT), "capsule")
    return label


def read_capsule(path: Path, world: World) -> Capsule:
    """A capsule whose every part fits the world. Raises FileNotFoundError, OSError or ValueError in one line."""
    label = read_label(path)
    with records.refusing("capsule", path):
        actions = base64.b64decode(label.actions, validate=True)
        records.check_actions(actions, world)
        end = label.begin + len(actions)
        dials = records.read_turns(label.dials, label.begin, end, world)
        if len(label.checksums) != len(actions) // BLOCK + 1:
            expected = f"{len(actions) // BLOCK + 1} for {len(actions) + 1} frames"
            raise ValueError(f"it has {len(label.checksums)} checksums, expected {expected}")
        origin = Origin(_read_clip(label.clip, world), label.why, _between(label, world))
    return Capsule(label=label, origin=origin, actions=actions, dials=dials)


def _checksums(session: Session, story: Story) -> tuple[str | None, ...]:
    """SHA-256 over each block of shown frames, None for a block of which one is forgotten."""
    frames, oldest = len(story.actions) + 1, session.oldest - story.begin
    sums: list[str | None] = []
    for first in range(0, frames, BLOCK):
        block = range(first, min(first + BLOCK, frames))
        whole = hashlib.sha256()
        for index in block if first >= oldest else ():
            whole.update(session.peek(story.begin + index).tobytes())
        sums.append(whole.hexdigest() if first >= oldest else None)
    return tuple(sums)


def _png(frame: Tensor) -> str:
    """uint8 [C, H, W] → PNG in base64."""
    from PIL import Image

    if len(frame) not in MODES:
        raise ValueError(f"frames of {len(frame)} channels cannot be kept as PNG; 1 and 3 can")
    pixels = frame.permute(1, 2, 0).cpu().numpy()
    file = io.BytesIO()
    Image.fromarray(pixels[..., 0] if len(frame) == 1 else pixels).save(file, format="PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode("ascii")


def _read_clip(clip: Sequence[str], world: World) -> Tensor:
    """PNGs in base64 → uint8 [T, C, H, W] that the world can begin from."""
    if not 0 < len(clip) <= MOST_CLIP:
        raise ValueError(f"it begins from {len(clip)} frames; 1 to {MOST_CLIP} are read")
    return checked_clip(torch.stack([_read_png(text, index, world) for index, text in enumerate(clip)]), world)


def _read_png(text: str, index: int, world: World) -> Tensor:
    """One picture of a clip, uint8 [C, H, W]. What size it says it has is known before a pixel is unpacked."""
    from PIL import Image

    spec = world.spec
    content = base64.b64decode(text, validate=True)
    wanted = PNG_START + struct.pack(">II", spec.width, spec.height)
    if not content.startswith(wanted):
        raise ValueError(f"clip[{index}] is not a PNG of {spec.width} x {spec.height} pixels")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # what is odd about a picture is no matter for the player
            with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
                mode, pixels = image.mode, image.tobytes()
    except (*DAMAGES, Image.DecompressionBombError) as problem:  # a second header may name another size
        raise ValueError(f"clip[{index}] is damaged: {problem}") from None
    if mode != MODES.get(spec.channels):
        raise ValueError(f"clip[{index}] has pixels of kind {mode}; '{spec.game}' has {spec.channels} channels")
    frame = torch.frombuffer(bytearray(pixels), dtype=torch.uint8)
    return frame.reshape(spec.height, spec.width, spec.channels).permute(2, 0, 1).contiguous()


def _between(label: Label, world: World) -> Tensor | None:
    """The actions between the frames of the clip, int64 [T-1], or None."""
    actions = label.clip_actions
    if actions is None:
        return None
    if len(actions) != len(label.clip) - 1:
        raise ValueError(
            f"{len(label.clip)} frames have {len(label.clip) - 1} actions between them, found {len(actions)}"
        )
    if any(not 0 <= action < len(world.spec.actions) for action in actions):
        raise ValueError(f"an action between its first frames is outside [0, {len(world.spec.actions)})")
    return torch.tensor(actions, dtype=torch.int64)
