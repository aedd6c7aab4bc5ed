"""Episodes from elsewhere → a new data set, whole or not there at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from collectors.drafts import DRAFT, LOCK, only_writer, publish
from collectors.episode import Episode
from collectors.manifest import NAME, Manifest
from collectors.writing import write_shard

MOST_WAITING = 256 << 20  # bytes of frames that wait for their shard


class Packer:
    """Packs episodes into shards in the order in which they come.

    manifest: names the shards so far; added: how many episodes came.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder, self.manifest, self.added = folder, manifest, 0
        self._waiting: list[Episode] = []

    def add(self, episode: Episode) -> None:
        """One more episode; a shard is written when it is full, by the rule of `dreamcade collect`."""
        self._waiting.append(episode)
        self.added += 1
        frames = sum(len(one.frames) for one in self._waiting)
        if frames >= self.manifest.shard_frames or sum(one.frames.nbytes for one in self._waiting) >= MOST_WAITING:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        if self._waiting:
            shard = write_shard(self.folder, len(self.manifest.shards), self._waiting, self.manifest.episodes)
            self.manifest = replace(self.manifest, shards=(*self.manifest.shards, shard))
            self._waiting = []


def check_new(out: Path) -> None:
    """Raise ValueError unless a data set could begin its life at this place."""
    if out.is_symlink() or (out.exists() and not out.is_dir()) or (out.is_dir() and any(out.iterdir())):
        raise ValueError(f"{out} is there already; choose another --out")


@contextmanager
def new_dataset(out: Path, manifest: Manifest) -> Iterator[Packer]:
    """A packer for a data set that appears as the folder `out` when the block is left, and only if nothing was raised.

    Until then it is in a folder beside it, which the next attempt clears away. frames_requested becomes what
    there is, unless the manifest asks for more. Raises ValueError when `out` is there already or no episode came,
    OSError when it cannot be written.
    """
    check_new(out)
    draft = out.with_name(f"{DRAFT}{out.name}")
    with only_writer(draft, "wait until it is done"):
        try:
            _clear(draft)
            packer = Packer(draft, manifest)
            yield packer
            packer.flush()
            done = packer.manifest
            if not done.shards:
                raise ValueError(f"there is no episode to write into {out}")
            done = replace(done, frames_requested=max(done.frames_requested, done.recorded_steps))
            publish(draft / NAME, done.to_json().encode())
            packer.manifest = done
            check_new(out)
            os.replace(draft, out)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise


def _clear(draft: Path) -> None:
    """Take away what a killed writer left."""
    for path in draft.iterdir():
        if path.name != LOCK:
            path.unlink()
