"""Worlds of the same game and frame size on this machine: they may take over in mid-play, or play side by side."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from app import library
from app.names import ActionNames
from app.session import Session, checked_clip
from models import checkpoint
from models.world import InfersActions, World, WorldSpec


@dataclass(frozen=True, slots=True)
class Relative:
    """A world that was opened. family: its registered name."""

    folder: Path
    family: str
    world: World
    world_id: str
    starts: list[Tensor]


def relatives(spec: WorldSpec) -> list[Path]:
    """The folders of all worlds whose game and frame size are these, by name."""
    return [folder for _, folder in sorted(library.worlds().items()) if _alike(folder, spec)]


def _alike(folder: Path, spec: WorldSpec) -> bool:
    try:
        found = checkpoint.read_card(folder).get("spec", {})
    except (OSError, ValueError):
        return False  # a world that is broken is nobody's relative
    if not (folder / "model.safetensors").is_file():
        return False  # nor is one that was copied in half
    want = {"game": spec.game, "height": spec.height, "width": spec.width, "channels": spec.channels}
    return isinstance(found, dict) and all(found.get(name, 3) == value for name, value in want.items())


def others(session: Session) -> Iterator[Path]:
    """The relatives of the world that is played, beginning after it, without itself and its copies.

    Raises ValueError where there are none.
    """
    folders = relatives(session.world.spec)
    same = [checkpoint.world_id(folder) == session.world_id for folder in folders]
    at = same.index(True) if True in same else -1
    turned = [*zip(folders, same, strict=True)]
    after = [folder for folder, played in turned[at + 1 :] + turned[: at + 1] if not played]
    if not after:
        game = session.world.spec.game
        raise ValueError(f"no other world of {game} here; make one: dreamcade train {game} --family latent_flow")
    yield from after


def opened(folder: Path, session: Session) -> Relative:
    """Load a relative to where a session's world is. Raises ValueError or OSError where something is wrong with it."""
    world = library.open_world(folder, str(session.device))
    return Relative(
        folder=folder,
        family=str(checkpoint.read_card(folder).get("family")),
        world=world,
        world_id=checkpoint.world_id(folder),
        starts=[checked_clip(clip, world) for clip in checkpoint.load_starts(folder)],
    )


def beside(session: Session, relative: Relative) -> Session:
    """A session of another world at the same state of the game: begun from the last frames that are shown."""
    other = Session(
        relative.world, relative.starts, seed=session.seed, device=session.device, world_id=relative.world_id
    )
    other.join(session, heard(session, relative.world))
    return other


def heard(session: Session, world: World) -> Tensor | None:
    """What was pressed between the last frames of a session, in the words of another world that cannot read it off the
    frames: int64 [T-1]. None where it can, and where not all of it is known there."""
    found = None if isinstance(world, InfersActions) else session.heard(world.spec.context)
    if found is None:
        return None
    own, others = ActionNames(session.world.spec), ActionNames(world.spec)
    told = [own.meant(action, others) for action in found]
    return None if None in told else torch.tensor(told, dtype=torch.int64)
