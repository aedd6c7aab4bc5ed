"""Episodes → HDF5 shards, whole or not at all. What is in one stands in shards.py."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import isal
import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from collectors.drafts import publish
from collectors.episode import Episode
from collectors.manifest import ShardInfo, shard_name

CHUNK = 16  # frames: what a training window touches
PACKED_BY = {"h5py": h5py.__version__, "isal": isal.__version__}  # what decides the bytes beside the frames
LEVEL = 1  # of deflate, as ISA-L counts: it packs some times as fast as zlib, and everybody unpacks it


@dataclass(frozen=True, slots=True)
class Packed:
    """A shard that is not on a disk yet. info: all but its file and its first episode, which `publish_shard` knows."""

    content: bytes
    info: ShardInfo


def write_shard(folder: Path, index: int, episodes: Sequence[Episode], first_episode: int) -> ShardInfo:
    """Write episodes as FOLDER/00000.h5 (for index 0), whole or not at all, and describe it.

    The same episodes give the same bytes. Raises OSError with one line when the disk refuses.
    """
    return publish_shard(folder, index, pack_shard(episodes), first_episode)


def publish_shard(folder: Path, index: int, packed: Packed, first_episode: int) -> ShardInfo:
    """Write a packed shard as `write_shard` does. Packing is work, and another process can do that."""
    path = folder / shard_name(index)
    publish(path, packed.content)
    return replace(packed.info, file=path.name, first_episode=first_episode)


def pack_shard(episodes: Sequence[Episode]) -> Packed:
    """Compress episodes into a shard, in memory."""
    content = _pack(episodes)
    real = all(episode.source == "real" and not episode.world for episode in episodes)
    info = ShardInfo(
        file="",
        sha256=hashlib.sha256(content).hexdigest(),
        frames=sum(len(episode.frames) for episode in episodes),
        steps=sum(episode.steps for episode in episodes),
        episodes=len(episodes),
        first_episode=0,
        seeds=tuple(episode.seed for episode in episodes),
        behaviours=tuple(episode.behaviour for episode in episodes),
        sources=() if real else tuple(episode.source for episode in episodes),
        worlds=() if real else tuple(episode.world for episode in episodes),
    )
    return Packed(content, info)


def _pack(episodes: Sequence[Episode]) -> bytes:
    """The bytes of a shard. Built in memory, compressed, so that a full disk meets only a plain write."""
    lengths = [len(episode.frames) for episode in episodes]
    shape = episodes[0].frames.shape[1:]
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", libver=("v110", "v110")) as file:  # to be read from HDF5 1.10 on
        frames = file.create_dataset(
            "frames",
            shape=(sum(lengths), *shape),
            dtype=np.uint8,
            chunks=(min(CHUNK, sum(lengths)), *shape),
            compression="gzip",
            compression_opts=1,
            track_times=False,
        )
        for row, rows in _chunks(episodes, frames.chunks[0]):
            frames.id.write_direct_chunk((row, 0, 0, 0), isal_zlib.compress(rows.data, LEVEL))
        starts = np.cumsum([0, *lengths[:-1]], dtype=np.int64)
        columns: dict[str, NDArray[Any]] = {
            name: np.concatenate([getattr(episode, name) for episode in episodes])
            for name in ("actions", "rewards", "ends")
        }
        columns["starts"] = starts
        objects = [episode.objects for episode in episodes if episode.objects is not None]
        if len(objects) == len(episodes):
            columns["objects"] = np.concatenate(objects)
        latent = [episode.latent for episode in episodes if episode.latent is not None]
        if len(latent) == len(episodes):
            columns["latent"] = np.concatenate(latent)
        for name, column in columns.items():
            file.create_dataset(name, data=column, compression="gzip", compression_opts=1, track_times=False)
    return buffer.getvalue()


def _chunks(episodes: Sequence[Episode], rows: int) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """All frames in chunks of `rows`, each with the number of its first frame; the last is filled up with black."""
    chunk = np.zeros((rows, *episodes[0].frames.shape[1:]), np.uint8)
    first = filled = 0
    for episode in episodes:
        taken = 0
        while taken < len(episode.frames):
            part = episode.frames[taken : taken + rows - filled]
            chunk[filled : filled + len(part)] = part
            taken, filled = taken + len(part), filled + len(part)
            if filled == rows:
                yield first, chunk
                first, filled = first + rows, 0
    if filled:
        chunk[filled:] = 0
        yield first, chunk
