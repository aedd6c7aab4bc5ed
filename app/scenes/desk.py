"""What a player keeps of a dream: saves, capsules, recordings, films; newer weights, where a training is followed."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

from app import saving
from app.capsule import write_capsule
from app.captures import Captures
from app.engine import Engine
from app.follow import Follower, go_on
from app.keymap import Does
from app.names import ActionNames
from app.places import Places
from app.subjects import dreamed
from app.tape import Tape


class Desk:
    """Belongs to one game that is played. say: shows a line; follower: where newer weights come from, or None."""

    def __init__(
        self,
        engine: Engine,
        names: ActionNames,
        places: Places,
        title: str,
        say: Callable[[str], None],
        follower: Follower | None = None,
    ) -> None:
        self.engine, self.session, self.places, self.title = engine, engine.session, places, title
        self._say, self._follower = say, follower
        spec = self.session.world.spec
        self.tape = Tape(places.datasets, dreamed(spec), say=say)
        self.film = Captures(places.captures, title, names, spec.fps, say=say)
        self.commands: dict[Does, Callable[[], object]] = {
            Does.QUICK_SAVE: self._save,
            Does.QUICK_LOAD: self._load,
            Does.CAPSULE: self._capsule,
            Does.RECORD: self._record,
            Does.VIDEO: self.film.toggle,
        }

    @property
    def state(self) -> str:
        """What runs: `REC 0:12  VIDEO 0:03`."""
        return "  ".join(words for words in (self.tape.state, self.film.state) if words)

    def turn(self) -> None:
        """Look for newer weights."""
        found = None if self._follower is None else self._follower.poll()
        if found is None:
            return
        self.engine.settle()
        try:
            go_on(self.session, found)
        except ValueError as problem:
            self._say(str(problem))
            return
        self._say("newer weights" if found.step is None else f"weights of step {found.step}")

    def after_step(self, lit: Collection[int]) -> None:
        """A new frame was dreamed. lit: the actions whose keys are down."""
        self.tape.follow(self.session)
        self.film.add(self.session.frame, lit)

    def close(self) -> None:
        """Finish what runs."""
        self.tape.stop()
        self.film.stop()

    def _record(self) -> None:
        self.tape.toggle()
        if self.tape.recording:
            self.tape.follow(self.session)

    def _save(self) -> None:
        self.engine.settle()
        path = saving.slot_path(self.places.sessions, None)
        try:
            saving.save(self.session, path, when=time.strftime("%Y-%m-%d %H:%M"))
        except (OSError, ValueError) as problem:
            self._say(str(problem))
            return
        self._say(f"saved frame {self.session.steps}; F9 comes back to it")

    def _load(self) -> None:
        self.engine.settle()
        try:
            self.session.aside(lambda: saving.load(self.session, saving.slot_path(self.places.sessions, None)))
        except (OSError, ValueError) as problem:
            self._say(str(problem))
            return
        self._say(f"went on from frame {self.session.steps}")

    def _capsule(self) -> None:
        self.engine.settle()
        name = f"{self.title}-{time.strftime('%Y%m%d-%H%M%S')}-{self.session.steps:06d}.capsule"
        try:
            self._say(f"saved {write_capsule(self.session, self.places.captures / name).name}")
        except (OSError, ValueError) as problem:
            self._say(str(problem))
