"""Play on record: what a person does in a dream or in the real game becomes a data set to train on.

A data set is a folder `GAME-played-STAMP` of shards as `dreamcade collect` makes them, so that `inspect`, `train` and
`evaluate` take it. A shard is written every few hundred steps, in some tens of milliseconds, and the manifest after
it: however the program ends, all but the last of them stay.

In a dream only latent actions are pressed. What stands in a data set for the real ones is said in subjects.py.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from app.subjects import Subject
from collectors.drafts import publish
from collectors.episode import Episode
from collectors.manifest import NAME, Manifest
from collectors.shards import split_of
from collectors.writing import PACKED_BY, write_shard

if TYPE_CHECKING:
    from app.session import Session
    from app.timeline import Take

Frame = NDArray[np.uint8]
Say = Callable[[str], None]

SHARD_STEPS = 512  # half a minute: what a crash may cost
TWENTY = 20  # of so many episodes one is for validation and one for tests, as in collected data sets


@dataclass(slots=True)
class _Stretch:
    """An episode that is still being played. world, seed: see `Episode`; seed None: one will be chosen."""

    world: str
    seed: int | None
    frames: list[Frame]
    objects: list[NDArray[np.float32]]
    actions: list[int | None] = field(default_factory=list)
    latent: list[int] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)
    ends: list[bool] = field(default_factory=list)

    def episode(self, subject: Subject, behaviour: str, seed: int) -> Episode:
        """What was played so far."""
        latent = np.array(self.latent, np.int64)
        return Episode(
            frames=np.stack(self.frames),
            actions=_pressed(self.actions, latent, subject),
            rewards=np.array(self.rewards, np.float32),
            ends=np.array(self.ends, np.bool_),
            objects=np.stack(self.objects) if subject.object_names else None,
            seed=seed,
            behaviour=behaviour,
            latent=latent if subject.latent_names else None,
            source=subject.source,
            world=self.world,
        )


def _pressed(actions: list[int | None], latent: NDArray[np.int64], subject: Subject) -> NDArray[np.int64]:
    """The real actions int64 [T]: as given, else the likely ones, early by the lag; the last one is held."""
    answered = np.minimum(np.arange(len(latent)) + subject.lag, len(latent) - 1)
    likely = np.zeros(len(subject.latent_names) + 1, np.int64)  # the last one is for latent -1
    likely[: len(subject.likely)] = subject.likely
    pairs = zip(actions, likely[latent[answered]], strict=True)
    return np.array([guess if known is None else known for known, guess in pairs], np.int64)


class Tape:
    """Records while it runs; `toggle` starts and stops it. What went well or wrong is told to `say`, in one line.

    root: where data sets are; subject: what is recorded; behaviour: who plays. In a dream call
    `follow` once a turn. In a real game call `begin` with the first frame, `add` for each step, and `cut`
    where what follows does not come of what was, for example at a rewind.
    """

    def __init__(
        self,
        root: Path,
        subject: Subject,
        *,
        say: Say = lambda words: None,
        behaviour: str = "human",
        shard_steps: int = SHARD_STEPS,
    ) -> None:
        self.root, self.subject, self.behaviour, self.shard_steps = root, subject, behaviour, shard_steps
        self.folder: Path | None = None
        self.steps = 0
        self.error = ""
        self._say = say
        self._manifest: Manifest | None = None
        self._stretch: _Stretch | None = None
        self._waiting: list[Episode] = []
        self._unwritten = 0
        self._seed = 0
        self._seen: tuple[Take, int] | None = None

    @property
    def recording(self) -> bool:
        """Whether the tape runs."""
        return self._manifest is not None

    @property
    def state(self) -> str:
        """`REC 0:12` while the tape runs, in the game's own time; else nothing."""
        seconds = int(self.steps / self.subject.fps)
        return f"REC {seconds // 60}:{seconds % 60:02d}" if self.recording else ""

    def toggle(self) -> None:
        """Start, or stop and write the rest."""
        if self.recording:
            self.stop()
        else:
            self.start()

    def start(self, folder: Path | None = None) -> None:
        """Make a folder for a new data set and record from here on. folder: this one, in which nothing is yet."""
        if self.recording:
            return
        try:
            name = f"{self.subject.game}-played-{time.strftime('%Y%m%d-%H%M%S')}"
            self.folder = _new_folder(self.root, name) if folder is None else _empty_folder(folder)
        except OSError as problem:
            self._fail(f"cannot write {self.root}: {(problem.strerror or str(problem)).lower()}")
            return
        self._seed = zlib.crc32(self.folder.name.encode())
        self._manifest = _manifest(self.subject, self.behaviour, self.shard_steps)
        self.steps, self.error, self._unwritten, self._seen = 0, "", 0, None
        self._say(f"recording into {self.folder.name}")

    def stop(self) -> None:
        """Write what is not yet written. A folder in which nothing was recorded is taken away."""
        if not self.recording:
            return
        self._write()
        if not self.recording:
            return
        assert self.folder is not None, "a running tape has a folder"
        done = f"recorded {self.steps} steps into {self.folder.name}" if self.steps else "nothing was recorded"
        self._rest()
        self._say(done)

    def begin(
        self, frame: Frame, *, world: str = "", seed: int | None = None, objects: NDArray[np.float32] | None = None
    ) -> None:
        """A new episode from this frame, uint8 [H, W, 3]. seed: the emulator's; objects: float32 [K, 3]."""
        if not self.recording:
            return
        assert frame.shape == (self.subject.height, self.subject.width, 3), "frames are of the subject's size"
        self.cut()
        self._stretch = _Stretch(world, seed, [frame], [] if objects is None else [objects])

    def add(
        self,
        frame: Frame,
        *,
        action: int | None = None,
        latent: int = -1,
        reward: float = 0.0,
        end: bool = False,
        objects: NDArray[np.float32] | None = None,
    ) -> None:
        """One step: the action that led to `frame`, real or latent or both, and what came of it."""
        stretch = self._stretch
        if not self.recording or stretch is None:
            return
        assert (objects is not None) == bool(self.subject.object_names), "objects of every frame, or of none"
        assert latent < len(self.subject.latent_names), "a latent action has a name"
        stretch.frames.append(frame)
        stretch.actions.append(action)
        stretch.latent.append(latent)
        stretch.rewards.append(reward)
        stretch.ends.append(end)
        if objects is not None:
            stretch.objects.append(objects)
        self.steps += 1
        self._unwritten += 1
        if end:
            self.cut()
        if self._unwritten >= self.shard_steps:
            going_on = self._stretch
            self._write()
            if going_on is not None and self.recording:
                self._stretch = _Stretch(going_on.world, None, going_on.frames[-1:], going_on.objects[-1:])

    def cut(self) -> None:
        """The episode ends here; without a step it is none."""
        stretch, self._stretch, self._seen = self._stretch, None, None
        if stretch is None or not stretch.actions:
            return
        seed = self._next_seed() if stretch.seed is None else stretch.seed
        self._waiting.append(stretch.episode(self.subject, self.behaviour, seed))

    def follow(self, session: Session) -> None:
        """Take up what a session did since the last call: a step is added, any jump begins a new episode."""
        if not self.recording:
            return
        if len(session.world.spec.actions) != len(self.subject.latent_names):
            self._fail(f"recording stopped: another world is played, not {self.subject.game} as it was")
            return
        take, step = self._seen or (None, 0)
        if take is not session.take or session.steps < step:
            self.begin(session.frame, world=session.world_id)
        else:
            for at in range(step + 1, session.steps + 1):
                frame = session.frame if at == session.steps else session.peek(at)
                self.add(frame, latent=session.take.actions[at - 1 - session.take.begin])
        self._seen = (session.take, session.steps)

    def _next_seed(self) -> int:
        """A number of its own for an episode, such that of twenty in a row eighteen are for training."""
        assert self._manifest is not None
        number = (self._manifest.episodes + len(self._waiting)) % TWENTY
        wanted = {TWENTY // 2 - 1: "validation", TWENTY - 1: "test"}.get(number, "train")
        self._seed += 1
        while split_of(self._seed, self.subject.game) != wanted:
            self._seed += 1
        return self._seed

    def _write(self) -> None:
        """A shard of all that is complete or under way, then the manifest that names it."""
        self.cut()
        manifest, folder, episodes = self._manifest, self.folder, self._waiting
        if manifest is None or folder is None or not episodes:
            return
        try:
            shard = write_shard(folder, len(manifest.shards), episodes, manifest.episodes)
            written = replace(manifest, shards=(*manifest.shards, shard))
            written = replace(written, frames_requested=written.steps, seed=written.shards[0].seeds[0])
            publish(folder / NAME, written.to_json().encode())
        except OSError as problem:
            with suppress(OSError):  # a shard that no manifest names
                (folder / f"{len(manifest.shards):05d}.h5").unlink(missing_ok=True)
            self._fail(f"recording stopped: {problem}")
            return
        self._manifest, self._waiting, self._unwritten = written, [], 0

    def _fail(self, words: str) -> None:
        self.error = words
        self._rest()
        self._say(words)

    def _rest(self) -> None:
        """Not recording; nothing is kept in memory."""
        self._manifest = self._stretch = self._seen = None
        self._waiting = []
        if self.folder is not None:
            with suppress(OSError):  # it stays where something is in it
                self.folder.rmdir()


def _new_folder(root: Path, name: str) -> Path:
    """A folder that nobody else has."""
    root.mkdir(parents=True, exist_ok=True)
    for number in range(1, 100):
        folder = root / (name if number == 1 else f"{name}-{number}")
        with suppress(FileExistsError):
            folder.mkdir()
            return folder
    raise OSError(f"there are too many data sets called {name}")


def _empty_folder(folder: Path) -> Path:
    """A folder with nothing in it, made if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise FileExistsError(f"{folder.name} is not empty; choose another folder")
    return folder


def _manifest(subject: Subject, behaviour: str, shard_steps: int) -> Manifest:
    """A data set without a shard. It is complete at any time: nothing was asked for that is not there."""
    return Manifest(
        game=subject.game,
        height=subject.height,
        width=subject.width,
        fps=subject.fps,
        frame_skip=subject.frame_skip,
        pooled=subject.pooled,
        action_names=subject.action_names,
        object_names=subject.object_names,
        behaviour=behaviour,
        seed=0,
        episode_frames=shard_steps,
        shard_frames=shard_steps,
        frames_requested=1,
        versions={"numpy": np.__version__, **PACKED_BY},
        complete=True,
        latent_names=subject.latent_names,
    )
