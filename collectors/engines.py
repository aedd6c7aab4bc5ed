"""Who does the work of a recording: this process, processes beside it, or a Ray cluster.

All of them make the same calls, so the bytes are the same. Playing and packing are the work; the parent only says
what is next and writes finished shards. Frames are heavy and never pass through it: they stay where they were
played, in files that processes map into memory or in Ray's store, until a shard is made of them.
"""

from __future__ import annotations

import errno
import multiprocessing
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, fields
from itertools import count
from multiprocessing import connection
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np

from collectors.episode import Episode
from collectors.writing import Packed

ENGINES = ("local", "ray")
AHEAD = 2  # calls that wait for each worker to be free, so that none waits for the parent
SHARED = Path("/dev/shm")
ROOM = 2 << 30  # bytes that must be free in shared memory for frames to be kept there
ADVICE = "run the same command again to go on, with fewer --workers if memory was short"
Plays = Callable[[], Iterable[Episode]]
Packs = Callable[[Sequence[Episode]], Packed]
Result = TypeVar("Result")


class Kept(Protocol):
    """Episodes that somebody plays, or has played."""

    def steps(self) -> tuple[int, ...]:
        """Transitions of each of them, once they are played."""
        ...


class Part(NamedTuple):
    """One of the kept episodes."""

    kept: Any
    place: int
    steps: int


class Packing(Protocol):
    """A shard that somebody packs."""

    def done(self) -> bool:
        """Whether `result` has no need to wait."""
        ...

    def result(self) -> Packed:
        """The shard."""
        ...


class Engine(Protocol):
    """Makes calls elsewhere. Every part is packed once and in order."""

    @property
    def workers(self) -> int:
        """How many calls are made at a time."""
        ...

    @property
    def ahead(self) -> int:
        """How many calls to play should be waiting."""
        ...

    def play(self, call: Plays) -> Kept:
        """Begin to play some episodes."""
        ...

    def pack(self, call: Packs, parts: Sequence[Part]) -> Packing:
        """Begin to pack them."""
        ...

    def close(self) -> None:
        """Stop and clean up; nothing that was kept is left."""
        ...


def engine_named(name: str, workers: int) -> Engine:
    """The engine of a recording; workers: 0 for one a core. Raises ValueError on an unknown or missing one."""
    if name == "ray":
        from collectors.cluster import Cluster

        return Cluster(workers)
    if name != "local":
        raise ValueError(f"unknown engine '{name}'; known: {', '.join(ENGINES)}")
    workers = workers or available_cores()
    return Here() if workers == 1 else Processes(workers)


def available_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gathered(parts: Sequence[Part]) -> tuple[list[Any], list[tuple[int, int]]]:
    """What was kept, each once, and for every part which of these it is in and at which place."""
    kept = list({id(part.kept): part.kept for part in parts}.values())
    number = {id(one): index for index, one in enumerate(kept)}
    return kept, [(number[id(part.kept)], part.place) for part in parts]


@dataclass(frozen=True, slots=True)
class _Played:
    episodes: tuple[Episode, ...]

    def steps(self) -> tuple[int, ...]:
        return tuple(episode.steps for episode in self.episodes)


@dataclass(frozen=True, slots=True)
class _Ready:
    packed: Packed

    def done(self) -> bool:
        return True

    def result(self) -> Packed:
        return self.packed


class Here:
    """Everything at once, in this process."""

    workers = 1
    ahead = 1

    def play(self, call: Plays) -> Kept:
        """Play."""
        return _Played(tuple(call()))

    def pack(self, call: Packs, parts: Sequence[Part]) -> Packing:
        """Pack."""
        return _Ready(call([part.kept.episodes[part.place] for part in parts]))

    def close(self) -> None:
        """Nothing is open."""


@dataclass(frozen=True, slots=True)
class _Spooled:
    """Episodes in a file: their frames one after the other, uint8 [frames, H, W, 3], and the rest of each."""

    path: Path
    shape: tuple[int, ...]
    rests: tuple[dict[str, Any], ...]


@dataclass(frozen=True, slots=True)
class _Playing:
    future: Future[_Spooled]

    def steps(self) -> tuple[int, ...]:
        return tuple(len(rest["actions"]) for rest in _waited(self.future).rests)


@dataclass(frozen=True, slots=True)
class _Shard:
    """parts: what it is made of; the file of one whose last episode is packed can go."""

    future: Future[Packed]
    parts: tuple[Part, ...]

    def done(self) -> bool:
        return self.future.done()

    def result(self) -> Packed:
        packed = _waited(self.future)
        for part in self.parts:
            spooled = part.kept.future.result()
            if part.place == len(spooled.rests) - 1:
                spooled.path.unlink(missing_ok=True)
        return packed


class Processes:
    """Processes of this machine. What they play lies in a folder of files, in memory where there is room."""

    def __init__(self, workers: int) -> None:
        self.workers, self.ahead = workers, AHEAD * workers
        roomy = SHARED.is_dir() and os.access(SHARED, os.W_OK) and shutil.disk_usage(SHARED).free > ROOM
        self._spool = Path(tempfile.mkdtemp(prefix="dreamcade-", dir=SHARED if roomy else None))
        spawn = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(workers, spawn, _enter_worker, (self._spool,))
        self._numbers = count()

    def play(self, call: Plays) -> Kept:
        """Let a process play."""
        return _Playing(_unbroken(self._pool.submit, _spool, call, self._spool / str(next(self._numbers))))

    def pack(self, call: Packs, parts: Sequence[Part]) -> Packing:
        """Let a process pack."""
        kept, places = gathered(parts)
        spooled = [_waited(one.future) for one in kept]
        return _Shard(_unbroken(self._pool.submit, _pack_spooled, call, spooled, places), tuple(parts))

    def close(self) -> None:
        """End the processes and delete their files."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        shutil.rmtree(self._spool, ignore_errors=True)


def _waited(future: Future[Result]) -> Result:
    return _unbroken(future.result)


def _unbroken(call: Callable[..., Result], *arguments: Any) -> Result:
    try:
        return call(*arguments)
    except BrokenProcessPool as error:
        raise OSError(f"a recording process ended unexpectedly; {ADVICE}") from error


def _spool(call: Plays, path: Path) -> _Spooled:
    """Play, and keep the frames in a file. Runs in a worker."""
    rests, shape = list[dict[str, Any]](), tuple[int, ...]()
    try:
        with path.open("wb") as file:
            for episode in call():
                file.write(np.ascontiguousarray(episode.frames).data)
                shape = episode.frames.shape[1:]
                names = (field.name for field in fields(Episode) if field.name != "frames")
                rests.append({name: getattr(episode, name) for name in names})
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        advice = "use fewer --workers or a smaller --episode-frames, or let TMPDIR name a folder with room"
        raise OSError(f"no room for frames in {path.parent}; {advice}") from error
    return _Spooled(path, shape, tuple(rests))


def _pack_spooled(call: Packs, spooled: Sequence[_Spooled], places: Sequence[tuple[int, int]]) -> Packed:
    """Pack episodes that were kept in files. Runs in a worker."""
    found = [_unspooled(one) for one in spooled]
    return call([found[number][place] for number, place in places])


def _unspooled(spooled: _Spooled) -> list[Episode]:
    lengths = [len(rest["actions"]) + 1 for rest in spooled.rests]
    frames = np.memmap(spooled.path, np.uint8, mode="r", shape=(sum(lengths), *spooled.shape))
    stops = np.cumsum(lengths).tolist()
    return [
        Episode(frames=frames[stop - length : stop], **rest)
        for stop, length, rest in zip(stops, lengths, spooled.rests, strict=True)
    ]


def _enter_worker(spool: Path) -> None:
    """Leave Ctrl-C to the parent, and leave when the parent is gone: nobody would collect the work."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None, "a worker has a parent"
    threading.Thread(target=_leave_with, args=(parent.sentinel, spool), daemon=True).start()


def _leave_with(sentinel: int, spool: Path) -> None:
    connection.wait([sentinel])
    shutil.rmtree(spool, ignore_errors=True)
    os._exit(1)
