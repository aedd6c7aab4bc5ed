"""Playing a world while it trains: newer weights are noticed, loaded in the background, and dreamed on with."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from app.session import Session
from models.checkpoint import load_world, read_card, world_id
from models.world import World

LATEST = "latest"  # where a run keeps a world of its dynamics in training
EVERY_S = 1.0

Stamp = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A world as it was after so many steps of training; step: None where its card does not say."""

    world: World
    world_id: str
    step: int | None


class Follower:
    """Watches the folder of a run, or of a world that is written again and again.

    Only what is newer than the moment at which the follower was made is reported. error: why the newest could
    not be loaded, one line, or an empty string. Raises FileNotFoundError where there is nothing to follow.
    """

    def __init__(self, folder: Path, device: str = "cpu", every: float = EVERY_S) -> None:
        self.folder = world_folder(folder)
        self.device, self.every, self.error = device, every, ""
        self._seen = self._stamp()
        self._found: Snapshot | None = None
        self._thread: threading.Thread | None = None
        self._next = time.monotonic() + every

    def poll(self) -> Snapshot | None:
        """A newer world, once, when it is ready. Never waits: call it every turn."""
        if self._thread is not None:
            if self._thread.is_alive():
                return None
            self._thread.join()
            self._thread = None
            found, self._found = self._found, None
            return found
        now = time.monotonic()
        if now < self._next:
            return None
        self._next = now + self.every
        stamp = self._stamp()
        if stamp is not None and stamp != self._seen:
            self._thread = threading.Thread(target=self._load, args=(stamp,), daemon=True)
            self._thread.start()
        return None

    def _stamp(self) -> Stamp | None:
        """What changes when the weights do; None while there are none."""
        try:
            found = os.stat(self.folder / "model.safetensors")
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size

    def _load(self, stamp: Stamp) -> None:
        """Load what has this stamp. If it is replaced meanwhile, it is forgotten, and the next poll finds the new."""
        try:
            world: World = load_world(self.folder, self.device)
            name, card = world_id(self.folder), read_card(self.folder)
        except (OSError, ValueError) as problem:
            if self._stamp() == stamp:  # and not in the middle of being replaced
                self._seen, self.error = stamp, str(problem)
            return
        if self._stamp() == stamp:
            self._seen, self.error = stamp, ""
            self._found = Snapshot(world, name, _step(card))


def world_folder(folder: Path) -> Path:
    """The world to watch: the folder itself, or what a run keeps in it."""
    if (folder / "model.safetensors").is_file():
        return folder
    latest = folder / LATEST
    if (latest / "model.safetensors").is_file():
        return latest
    if (folder / "parts").is_dir():
        raise FileNotFoundError(
            f"run {folder} has nothing to play yet: its dynamics write the first world after --set"
            " dynamics.keep_every steps; try again later"
        )
    raise FileNotFoundError(f"{folder} is neither a run nor a world; give a run, for example saves/runs/pong")


def go_on(session: Session, snapshot: Snapshot) -> None:
    """Dream on with other weights from the last frames shown. Dials and seed are kept, the takes of before are not.

    Raises ValueError where the other world is not of the same game, size and number of actions.
    """
    old, new = session.world.spec, snapshot.world.spec
    one, other = ((spec.game, spec.height, spec.width, spec.channels, len(spec.actions)) for spec in (old, new))
    if one != other:
        raise ValueError(
            f"cannot go on with another kind of world: {_kind(old.game, one)}, then {_kind(new.game, other)}"
        )
    session.change_world(snapshot.world, snapshot.world_id)


def _kind(game: str, facts: tuple[object, ...]) -> str:
    return f"{game} {facts[2]} x {facts[1]} with {facts[4]} actions"


def _step(card: dict[str, object]) -> int | None:
    """The step of training that a card tells of."""
    facts = card.get("facts")
    snapshot = facts.get("snapshot") if isinstance(facts, dict) else None
    step = snapshot.get("step") if isinstance(snapshot, dict) else None
    return step if isinstance(step, int) else None
