"""HDF5 shards → episodes, and what a shard is; writing.py makes them.

A shard holds whole episodes one after the other in flat columns:

    frames   uint8   [steps + episodes, H, W, 3]   lossless, in chunks of 16 frames
    actions  int64   [steps]                       or float32 [steps, A] where the manifest says continuous
    rewards  float32 [steps]
    ends     bool    [steps]
    starts   int64   [episodes]                    the index of each episode's first frame
    objects  float32 [steps + episodes, K, 3]      only where the game names objects
    latent   int64   [steps]                       only where the manifest names latent actions; -1: unknown

An episode has one frame more than it has actions, so the actions of episode e start at
`starts[e] - e`. Shards are shared between people: nothing in a file is believed before it is checked.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from collectors.chunks import Chunks, narrow
from collectors.episode import Episode
from collectors.manifest import Manifest, ShardInfo, read_manifest
from collectors.remote import local_folder

MOST_CHUNK_BYTES = 64 << 20
SAFE_FILTERS = {1, 2, 3}  # deflate, shuffle, fletcher32: what HDF5 brings itself
MOST_OPEN = 32  # files: each keeps a handle and a cache
NEWEST_LAYOUT = 3  # of HDF5's superblock, as far as this version knows


@dataclass(frozen=True, kw_only=True, slots=True)
class EpisodeRef:
    """Where an episode is. start: its first frame in the shard; frames = steps + 1."""

    shard: int
    index: int
    seed: int
    behaviour: str
    start: int
    frames: int
    source: str = "real"
    world: str = ""

    @property
    def steps(self) -> int:
        """Transitions in the episode."""
        return self.frames - 1


class Dataset:
    """A folder of shards, opened for reading. Frames stay on disk until they are asked for.

    Every process opens its own handles when it first reads, so a data set may cross a fork or be
    pickled into a worker. Threads may share it.
    """

    def __init__(self, folder: Path, manifest: Manifest, starts: Sequence[NDArray[np.int64]]) -> None:
        self.folder, self.manifest = folder, manifest
        self._starts = starts
        self._handles: dict[tuple[int, int], h5py.File] = {}
        self._tables: dict[int, tuple[Chunks | None, NDArray[Any]]] = {}
        self._lock = threading.RLock()
        self.episodes = tuple(ref for index in range(len(starts)) for ref in self._refs(index))

    @classmethod
    def open(cls, path: str | Path) -> Dataset:
        """Open a data set and check the structure of every shard (not every byte: that is `verify`).

        path: a folder, or a URL such as s3://bucket/pong, which is copied here first, see remote.py. Raises
        FileNotFoundError when the manifest or a shard is missing, ValueError when a shard is truncated, not
        what the manifest says, or reaches outside itself.
        """
        folder = local_folder(path)
        manifest = read_manifest(folder)
        if not manifest.shards:
            raise ValueError(f"data set {folder} has no finished shard yet; run the same collect command again")
        starts = []
        for shard in manifest.shards:
            with _open_shard(folder / shard.file) as file:
                starts.append(_checked_starts(file, folder / shard.file, shard, manifest))
        return cls(folder, manifest, starts)

    @property
    def frames_total(self) -> int:
        """Frames in all episodes."""
        return self.manifest.frames

    def read(self, ref: EpisodeRef, start: int = 0, stop: int | None = None) -> Episode:
        """Read frames [start, stop) of an episode and the actions between them; only these leave the disk.

        Raises ValueError when the stretch has fewer than two frames or reaches beyond the episode,
        and when the shard's bytes are damaged.
        """
        stop = ref.frames if stop is None else stop
        if not 0 <= start < stop - 1 < ref.frames:
            found = f"[{start}, {stop})"
            raise ValueError(f"a stretch needs two frames within [0, {ref.frames}), found {found}")
        seen = slice(ref.start + start, ref.start + stop)
        done = slice(ref.start - ref.index + start, ref.start - ref.index + stop - 1)
        with self._reading(ref.shard) as file:
            return Episode(
                frames=file["frames"][seen],
                actions=file["actions"][done],
                rewards=file["rewards"][done],
                ends=file["ends"][done],
                objects=file["objects"][seen] if self.manifest.object_names else None,
                seed=ref.seed,
                behaviour=ref.behaviour,
                latent=file["latent"][done] if self.manifest.latent_names else None,
                source=ref.source,
                world=ref.world,
            )

    def fill(self, ref: EpisodeRef, start: int, out: NDArray[np.uint8]) -> NDArray[Any]:
        """Write frames start, start + 1, … of an episode into `out` uint8 [T, H, W, 3], of any strides.

        Returns the T-1 actions between them. Made for many threads at once: each unpacks for itself. Raises
        ValueError when the stretch reaches beyond the episode, and when the shard's bytes are damaged.
        """
        if not 0 <= start <= start + len(out) <= ref.frames or not len(out):
            raise ValueError(f"a stretch must lie in [0, {ref.frames}), found [{start}, {start + len(out)})")
        chunks, actions = self._table(ref.shard)
        first, done = ref.start + start, ref.start - ref.index + start
        if chunks is None:
            with self._reading(ref.shard) as file:
                out[:] = file["frames"][first : first + len(out)]
        else:
            try:
                chunks.fill(first, out)
            except FileNotFoundError as error:
                raise _missing(chunks.path) from error
            except (ValueError, OSError) as error:
                raise ValueError(f"shard {chunks.path} is damaged: {error}; {REMEDY}") from error
        taken = actions[done : done + len(out) - 1]
        return taken.astype(np.int64) if taken.dtype.kind in "iu" else taken

    def columns(self, shard: int, names: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Whole columns of one shard but `frames`, by name, as in the head of this file; see `EpisodeRef.start`.

        Raises ValueError when the shard's bytes are damaged.
        """
        with self._reading(shard) as file:
            return {name: np.asarray(file[name]) for name in names}

    def verify(self) -> None:
        """Compare every shard with its sha256. Raises ValueError naming the first that differs."""
        verify_shards(self.folder, self.manifest)

    def close(self) -> None:
        """Close the handles of this process."""
        for key in [key for key in self._handles if key[0] == os.getpid()]:
            self._handles.pop(key).close()

    def __enter__(self) -> Dataset:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_handles", "_tables", "_lock")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _handles={}, _tables={}, _lock=threading.RLock())

    @contextmanager
    def _reading(self, shard: int) -> Iterator[h5py.File]:
        """The open file of a shard, for one thread at a time; of the open ones those used last stay open."""
        key, path = (os.getpid(), shard), self.folder / self.manifest.shards[shard].file
        with self._lock:
            self._handles[key] = self._handles.pop(key, None) or _open_shard(path)
            here = [key for key in self._handles if key[0] == os.getpid()]
            for old in here[:-MOST_OPEN]:
                self._handles.pop(old).close()
            try:
                yield self._handles[key]
            except (OSError, RuntimeError, KeyError) as error:
                raise _damaged(path) from error

    def _table(self, shard: int) -> tuple[Chunks | None, NDArray[Any]]:
        """Where a shard's frames lie, and its actions in few bytes; None where only HDF5 itself can read them."""
        with self._lock:
            if shard not in self._tables:
                path = self.folder / self.manifest.shards[shard].file
                with _open_shard(path) as file:
                    try:
                        self._tables[shard] = (Chunks.of(file, path), narrow(file["actions"][()]))
                    except (OSError, RuntimeError, KeyError) as error:
                        raise _damaged(path) from error
            return self._tables[shard]

    def _refs(self, index: int) -> list[EpisodeRef]:
        shard, starts = self.manifest.shards[index], self._starts[index]
        lengths = np.diff(starts, append=shard.frames)
        return [
            EpisodeRef(
                shard=index,
                index=episode,
                seed=shard.seeds[episode],
                behaviour=shard.behaviours[episode],
                start=int(starts[episode]),
                frames=int(lengths[episode]),
                source=shard.sources[episode] if shard.sources else "real",
                world=shard.worlds[episode] if shard.worlds else "",
            )
            for episode in range(shard.episodes)
        ]


def verify_shards(folder: Path, manifest: Manifest) -> None:
    """Compare the shards of a manifest with their sha256; missing and changed ones raise, by name."""
    for shard in manifest.shards:
        path = folder / shard.file
        if not path.is_file():
            raise _missing(path)
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != shard.sha256:
            raise ValueError(f"shard {path} has sha256 {found[:12]}…, expected {shard.sha256[:12]}…; {REMEDY}")


REMEDY = "copy the data set again, or set the shard aside: dreamcade inspect DATASET --repair"


def _missing(path: Path) -> FileNotFoundError:
    return FileNotFoundError(f"shard {path} is in the manifest and not in the folder; {REMEDY}")


def _damaged(path: Path) -> ValueError:
    return ValueError(f"shard {path} is truncated or damaged; {REMEDY}")


def _open_shard(path: Path) -> h5py.File:
    if not path.is_file():
        raise _missing(path)
    with path.open("rb") as begin:
        head = begin.read(9)
    if head.startswith(b"\x89HDF") and len(head) == 9 and head[8] > NEWEST_LAYOUT:
        raise ValueError(f"shard {path} is of a newer kind of HDF5 ({head[8]}) than this version reads; update h5py")
    try:
        return h5py.File(path, "r", locking=False, rdcc_nbytes=4 << 20)
    except (OSError, RuntimeError, ValueError) as error:
        raise _damaged(path) from error


def _checked_starts(file: h5py.File, path: Path, shard: ShardInfo, manifest: Manifest) -> NDArray[np.int64]:
    """Check the columns of a shard against its manifest entry; returns `starts`."""
    frames, steps = shard.frames, shard.steps
    columns: dict[str, tuple[Any, tuple[int, ...]]] = {
        "frames": (np.uint8, (frames, manifest.height, manifest.width, 3)),
        "actions": (np.float32, (steps, len(manifest.action_names))) if manifest.continuous else (np.int64, (steps,)),
        "rewards": (np.float32, (steps,)),
        "ends": (np.bool_, (steps,)),
        "starts": (np.int64, (shard.episodes,)),
    }
    if manifest.object_names:
        columns["objects"] = (np.float32, (frames, len(manifest.object_names), 3))
    if manifest.latent_names:
        columns["latent"] = (np.int64, (steps,))
    try:
        for name, (dtype, shape) in columns.items():
            _check_column(file, name, np.dtype(dtype), shape, path)
        starts, actions = file["starts"][()], file["actions"][()]
        latent = file["latent"][()] if manifest.latent_names else None
    except (OSError, RuntimeError, KeyError) as error:
        raise _damaged(path) from error
    if starts[0] != 0 or np.any(np.diff(starts, append=frames) < 2):
        raise ValueError(f"shard {path}: starts must rise from 0 by two frames or more; {REMEDY}")
    if not manifest.continuous:
        _check_ids("action", actions, 0, len(manifest.action_names), path)
    elif not np.isfinite(actions).all():
        raise ValueError(f"shard {path}: continuous actions must be finite numbers; {REMEDY}")
    if latent is not None:
        _check_ids("latent action", latent, -1, len(manifest.latent_names), path)
    return np.asarray(starts, np.int64)


def _check_ids(what: str, ids: NDArray[np.int64], least: int, stop: int, path: Path) -> None:
    if ids.min() < least or ids.max() >= stop:
        worst = ids.min() if ids.min() < least else ids.max()
        raise ValueError(f"shard {path}: {what} {worst} is outside [{least}, {stop}); {REMEDY}")


def _check_column(file: h5py.File, name: str, dtype: np.dtype[Any], shape: tuple[int, ...], path: Path) -> None:
    """A column must be a plain array inside the file: a link or an external array could read any file."""
    link = file.get(name, getlink=True)
    if link is None:
        raise ValueError(f"shard {path} has no column '{name}'; {REMEDY}")
    column = file[name] if isinstance(link, h5py.HardLink) else None
    if not isinstance(column, h5py.Dataset) or column.is_virtual or column.external:
        raise ValueError(f"shard {path}: column '{name}' points outside the file; do not use this data set")
    if column.dtype != dtype or column.shape != shape:
        found = f"{column.dtype} {list(column.shape or ())}"
        raise ValueError(f"shard {path}: column '{name}' must be {dtype} {list(shape)}, found {found}; {REMEDY}")
    plan = column.id.get_create_plist()
    filters = {plan.get_filter(index)[0] for index in range(plan.get_nfilters())}
    chunk = int(np.prod(column.chunks or (1,))) * dtype.itemsize
    if not filters <= SAFE_FILTERS or chunk > MOST_CHUNK_BYTES:
        raise ValueError(f"shard {path}: column '{name}' is packed in a way this version refuses; {REMEDY}")


def split_of(seed: int, game: str) -> str:
    """The split of an episode, by hash: train 90 %, validation 5 %, test 5 %. New episodes move no old one."""
    digest = hashlib.sha256(f"{game}:{seed}".encode()).digest()
    place = int.from_bytes(digest[:8], "big") % 100
    return "train" if place < 90 else "validation" if place < 95 else "test"
