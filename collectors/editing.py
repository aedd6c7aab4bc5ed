"""Taking episodes out of a data set, whole or not at all.

A shard is never changed where it lies. What stays of it is written under a number that is free, then a manifest that
names the new shards takes the place of the old one in a single step, and only then are the old shards deleted. A crash
before that step leaves the old data set, a crash after it the new one, and at worst some shards beside it
that no manifest names; the next edit removes them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from collectors.drafts import only_writer, publish, remove_drafts
from collectors.manifest import NAME, Dropped, Manifest, read_manifest
from collectors.shards import Dataset, EpisodeRef, verify_shards
from collectors.writing import write_shard

Progress = Callable[[int, int], None]


def drop_episodes(
    folder: Path, refs: Sequence[EpisodeRef], *, expected: Manifest | None = None, progress: Progress | None = None
) -> Manifest:
    """Rewrite exactly the shards that hold these episodes, without them. Returns the new manifest.

    expected: the manifest that the refs were read with; another one in the folder is refused. `progress(done,
    total)` is called after each shard. A recording that goes on afterwards does not play the dropped
    episodes again. Raises ValueError when an episode is not there, none would be left, or a shard is damaged;
    OSError when another process is writing there or the disk refuses, and the data set is then what it was.
    """
    read_manifest(folder)  # a folder that is no data set is not to become one by being locked
    with only_writer(folder, "wait until it is done"):
        remove_drafts(folder)
        with Dataset.open(folder) as dataset:
            gone = _checked(dataset, refs, expected)
            if not gone:
                return dataset.manifest
            _remove_unlisted(folder, dataset.manifest)
            try:
                edited = _without(dataset, gone, progress or _silent)
                publish(folder / NAME, edited.to_json().encode())
            finally:  # whichever manifest is there now, by a whole edit or a broken one, says what else may go
                _remove_unlisted(folder, read_manifest(folder))
    return edited


def _checked(dataset: Dataset, refs: Sequence[EpisodeRef], expected: Manifest | None) -> set[EpisodeRef]:
    """The episodes to drop, if they are what the caller thinks they are."""
    folder, here, gone = dataset.folder, set(dataset.episodes), set(refs)
    if expected is not None and expected != dataset.manifest:
        raise ValueError(f"data set {folder} was changed since it was opened; open it again")
    for ref in refs:
        if ref not in here:
            found = f"episode {ref.index} of shard {ref.shard} with seed {ref.seed}"
            raise ValueError(f"{found} is not in data set {folder} as it is now; open it again")
    if gone == here:
        raise ValueError(f"all {len(gone)} episodes of {folder} would be dropped; delete the folder instead")
    return gone


def _without(dataset: Dataset, gone: Collection[EpisodeRef], tell: Progress) -> Manifest:
    """Write what stays of each shard that loses an episode; the manifest in which the new shards are."""
    folder, manifest = dataset.folder, dataset.manifest
    touched = sorted({ref.shard for ref in gone})
    # Damaged bytes must not get a checksum that says they are right.
    verify_shards(folder, replace(manifest, shards=tuple(manifest.shards[index] for index in touched)))
    tell(0, len(touched))
    written, first = manifest, 0
    shards = []
    for index, shard in enumerate(manifest.shards):
        if index in touched:
            kept = [dataset.read(ref) for ref in dataset.episodes if ref.shard == index and ref not in gone]
            if kept:
                shard = write_shard(folder, written.free_number, kept, first)
                written = replace(written, shards=(*written.shards, shard))
            tell(touched.index(index) + 1, len(touched))
            if not kept:
                continue
        shards.append(replace(shard, first_episode=first))
        first += shard.episodes
    dropped = tuple(Dropped(seed=ref.seed, steps=ref.steps) for ref in dataset.episodes if ref in gone)
    return replace(manifest, shards=tuple(shards), dropped=(*manifest.dropped, *dropped))


def _remove_unlisted(folder: Path, manifest: Manifest) -> None:
    """Delete shards that the manifest does not name. One that will not go is invisible and does no harm."""
    listed = {shard.file for shard in manifest.shards}
    for path in folder.glob("*.h5"):
        if re.fullmatch(r"\d{5}\.h5", path.name) and path.name not in listed:
            with suppress(OSError):
                path.unlink()


def _silent(done: int, total: int) -> None:
    """Say nothing."""
