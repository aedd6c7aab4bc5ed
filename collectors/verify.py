"""Damaged shards: found, named, set aside, and recorded again by the command that made them.

A damaged shard is moved into `damaged/` beside the others and never deleted. The manifest then remembers it as lost:
what it held, from which seeds, and where it was. As an episode follows from its seed, and from how many of that seed
came before, the command that recorded the set plays the same episodes once more into a shard of the same name; it
takes its place again where its bytes are those that were lost.
"""

from __future__ import annotations

import errno
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from collectors.drafts import only_writer, publish, remove_drafts
from collectors.episode import Episode
from collectors.manifest import NAME, Manifest, ShardInfo, read_manifest
from collectors.shards import Dataset, verify_shards
from collectors.writing import pack_shard, publish_shard

ASIDE = "damaged"
MOST_NAMED = 5

Progress = Callable[[int, int], None]
Play = Callable[[int, int, int], Episode]
"""The seed of an episode, how many episodes of that seed came before it, and its most transitions → the episode."""


@dataclass(frozen=True, slots=True)
class Damage:
    """A shard that is not what was recorded, and in a few words why."""

    shard: ShardInfo
    problem: str

    def __str__(self) -> str:
        held = f"{self.shard.episodes} episodes, {self.shard.steps} transitions"
        return f"{self.shard.file} ({held}) {self.problem}"


def find_damage(folder: Path, manifest: Manifest, progress: Progress | None = None) -> list[Damage]:
    """Every shard that is missing, cannot be read or has other bytes than were recorded.

    `progress(done, total)` is called after each shard. Raises OSError where the folder may not be read, which is
    no damage.
    """
    found = []
    for done, shard in enumerate(manifest.shards, start=1):
        try:
            verify_shards(folder, replace(manifest, shards=(shard,)))
        except FileNotFoundError:
            found.append(Damage(shard, "is missing"))
        except ValueError:
            size = (folder / shard.file).stat().st_size
            found.append(Damage(shard, f"has other bytes than were recorded, {size} of them" if size else "is empty"))
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            found.append(Damage(shard, "cannot be read from the disk"))
        if progress is not None:
            progress(done, len(manifest.shards))
    return found


def check_dataset(folder: Path, progress: Progress | None = None) -> None:
    """Raise ValueError naming every damaged shard, or saying that manifest.json is not the one of these shards."""
    manifest = read_manifest(folder)
    damaged = find_damage(folder, manifest, progress)
    if damaged:
        named = "; ".join(map(str, damaged[:MOST_NAMED]))
        more = f"; and {len(damaged) - MOST_NAMED} more" if len(damaged) > MOST_NAMED else ""
        count = f"{len(damaged)} of {len(manifest.shards)} shards of {folder} are damaged"
        raise ValueError(f"{count}: {named}{more}; set them aside with: dreamcade inspect {folder} --repair")
    if not manifest.shards:
        return
    try:
        Dataset.open(folder).close()
    except ValueError as error:
        problem = str(error).partition("; ")[0]
        changed = f"{folder / NAME} was changed by hand, as every shard is what was recorded"
        raise ValueError(f"{changed}, but {problem}; put the old manifest back") from error


def repair(folder: Path, progress: Progress | None = None) -> list[Damage]:
    """Set exactly the damaged shards aside and rewrite the manifest; what stays is not touched. Returns the damage.

    Raises OSError when another process is writing there or the disk refuses; run it again then.
    """
    read_manifest(folder)  # a folder that is no data set is not to become one by being locked
    with only_writer(folder, "wait until it is done"):
        remove_drafts(folder)
        manifest = read_manifest(folder)
        damaged = find_damage(folder, manifest, progress)
        if not damaged:
            return []
        for damage in damaged:
            _set_aside(folder, damage.shard.file)
        gone = {shard.file for shard in (*manifest.lost, *(damage.shard for damage in damaged))}
        order = _as_recorded(manifest)
        lost = tuple(shard for shard in order if shard.file in gone)
        kept = _numbered(shard for shard in order if shard.file not in gone)
        planned = manifest.complete and manifest.recorded_steps == manifest.frames_requested
        repaired = replace(manifest, shards=kept, lost=lost, complete=manifest.complete and not planned)
        publish(folder / NAME, repaired.to_json().encode())
    return damaged


def record_again(manifest: Manifest, folder: Path, play: Play) -> Manifest:
    """Play the episodes of lost shards once more, each shard whole before the next. Returns the new manifest.

    For the process that holds the folder's lock. Raises ValueError when other play comes out than there was.
    """
    while manifest.lost:
        order = _as_recorded(manifest)
        missing = {shard.file for shard in manifest.lost}
        place = next(place for place, shard in enumerate(order) if shard.file in missing)
        shard, before = order[place], Counter(seed for earlier in order[:place] for seed in earlier.seeds)
        packed = pack_shard(_played_again(shard, before, play))
        if packed.info.sha256 != shard.sha256:
            advice = "it stays set aside; record into another --out"
            raise ValueError(f"{shard.file} played again has other bytes than were recorded; {advice}")
        publish_shard(folder, int(Path(shard.file).stem), packed, 0)
        missing.remove(shard.file)
        manifest = replace(
            manifest,
            shards=_numbered(one for one in order if one.file not in missing),
            lost=tuple(one for one in order if one.file in missing),
        )
        complete = not missing and manifest.recorded_steps == manifest.frames_requested
        manifest = replace(manifest, complete=complete)
        publish(folder / NAME, manifest.to_json().encode())
    return manifest


def _played_again(shard: ShardInfo, before: Counter[int], play: Play) -> Sequence[Episode]:
    """The episodes of a lost shard; its last one may have been cut, so that the transitions came out as asked."""
    episodes, left = list[Episode](), shard.steps
    for seed in shard.seeds:
        if left:
            episodes.append(play(seed, before[seed], left))
            before[seed] += 1
            left -= episodes[-1].steps
    if left or len(episodes) != shard.episodes:
        found = f"{shard.steps - left} transitions in {len(episodes)} episodes"
        expected = f"{shard.steps} in {shard.episodes}"
        raise ValueError(f"{shard.file} played again has {found}, it held {expected}; record into another --out")
    return episodes


def _as_recorded(manifest: Manifest) -> tuple[ShardInfo, ...]:
    """All shards in their order, lost ones where they were: a lost one knows the number of its first episode."""
    waiting, order = sorted(manifest.lost, key=lambda shard: shard.first_episode), list[ShardInfo]()
    reached = 0
    for shard in manifest.shards:
        while waiting and waiting[0].first_episode <= reached:
            order.append(waiting.pop(0))
            reached += order[-1].episodes
        order.append(shard)
        reached += shard.episodes
    return _numbered([*order, *waiting])


def _numbered(shards: Iterable[ShardInfo]) -> tuple[ShardInfo, ...]:
    """Shards in their order, each with the number of its first episode."""
    numbered, first = list[ShardInfo](), 0
    for shard in shards:
        numbered.append(replace(shard, first_episode=first))
        first += shard.episodes
    return tuple(numbered)


def _set_aside(folder: Path, name: str) -> None:
    """Move a file into `damaged/`, beside what lies there already. Raises OSError with one line."""
    source, aside = folder / name, folder / ASIDE
    if not source.exists():
        return
    target, number = aside / name, 1
    while target.exists():
        number += 1
        target = aside / f"{source.stem}-{number}{source.suffix}"
    try:
        aside.mkdir(exist_ok=True)
        os.replace(source, target)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise OSError(f"cannot move {source} to {target}: {reason}; nothing was changed by this") from error
