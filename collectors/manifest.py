"""manifest.json: what a data set is and which shards it has. Data from outside: every field is checked."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, fields
from itertools import count
from pathlib import Path
from typing import Any

from collectors.episode import SOURCES

FORMAT = 1
KIND = "dreamcade-dataset"
NAME = "manifest.json"
MOST_BYTES = 64 << 20
# What is written only where it says something.
OPTIONAL = ("latent_names", "dropped", "lost", "sources", "worlds", "continuous", "levels", "notes", "lossy")
UNKNOWN = ("unknown",)  # the action names of play in which nobody noted what was pressed; the one id is 0 everywhere
PROGRESS = ("complete", "shards", "dropped", "lost")  # fields in which two recordings of one command may differ


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardInfo:
    """One shard. frames = steps + episodes; seeds and behaviours have one entry an episode.

    sources, worlds: one entry an episode too, see `Episode`, or none where all is real play.
    """

    file: str
    sha256: str
    frames: int
    steps: int
    episodes: int
    first_episode: int
    seeds: tuple[int, ...]
    behaviours: tuple[str, ...]
    sources: tuple[str, ...] = ()
    worlds: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Dropped:
    """An episode that was recorded and taken out again by a person."""

    seed: int
    steps: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """A data set: how it was recorded and its shards in order. Same command, same manifest, byte for byte.

    frames_requested counts transitions. versions: of ale_py, numpy and h5py. latent_names: names of the latent
    actions whose ids are in the column `latent`; where there are none, there is no such column. dropped: what
    was taken out since; a recording that goes on counts it as done. lost: damaged shards that were set aside, see
    verify.py; a recording that goes on plays them again first. A set from which nothing was dropped or lost
    does not mention it.
    continuous: the column `actions` is float32 [steps, A], a number for each of `action_names`.
    levels: episodes have seeds from `seed` on, so many different ones, then the first again; 0: all differ.
    notes: where imported frames come from and what is not known of them, a sentence each; lossy: the frames went
    through a codec that does not keep every pixel.
    """

    game: str
    height: int
    width: int
    fps: float
    frame_skip: int
    pooled: int
    action_names: tuple[str, ...]
    object_names: tuple[str, ...]
    behaviour: str
    seed: int
    episode_frames: int
    shard_frames: int
    frames_requested: int
    versions: dict[str, str]
    complete: bool = False
    shards: tuple[ShardInfo, ...] = ()
    latent_names: tuple[str, ...] = ()
    dropped: tuple[Dropped, ...] = ()
    lost: tuple[ShardInfo, ...] = ()
    continuous: bool = False
    levels: int = 0
    notes: tuple[str, ...] = ()
    lossy: bool = False

    @property
    def knows_actions(self) -> bool:
        """Whether it was noted what was pressed. Where it was not, rewards and ends are not known either."""
        return self.action_names != UNKNOWN

    @property
    def steps(self) -> int:
        """Transitions in all shards."""
        return sum(shard.steps for shard in self.shards)

    @property
    def frames(self) -> int:
        """Frames in all shards."""
        return sum(shard.frames for shard in self.shards)

    @property
    def episodes(self) -> int:
        """Episodes in all shards."""
        return sum(shard.episodes for shard in self.shards)

    @property
    def dreamed(self) -> int:
        """Episodes that a world dreamed."""
        return sum(shard.sources.count("dream") for shard in self.shards)

    @property
    def recorded_steps(self) -> int:
        """Transitions in all shards and those dropped or lost since: how far the recording has come."""
        return self.steps + sum(one.steps for one in self.dropped) + sum(shard.steps for shard in self.lost)

    @property
    def recorded_episodes(self) -> int:
        """Episodes in all shards and those dropped or lost since; the next one to record has this number."""
        return self.episodes + len(self.dropped) + sum(shard.episodes for shard in self.lost)

    @property
    def free_number(self) -> int:
        """The lowest number that no shard's file has; how many shards there are, if none was ever rewritten.

        A lost shard keeps its number for when it is recorded again.
        """
        taken = {shard.file for shard in (*self.shards, *self.lost)}
        return next(number for number in count() if shard_name(number) not in taken)

    def to_json(self) -> str:
        """The text of manifest.json."""
        body = asdict(self)
        for table in (*body["shards"], *body["lost"], body):
            for name in OPTIONAL:
                if not table.get(name):
                    table.pop(name, None)
        return json.dumps({"format": FORMAT, "kind": KIND, **body}, indent=1) + "\n"

    def differences(self, other: Manifest) -> list[str]:
        """The names of the fields in which two recordings differ, progress aside."""
        names = (field.name for field in fields(self) if field.name not in PROGRESS)
        return [name for name in names if getattr(self, name) != getattr(other, name)]


def shard_name(number: int) -> str:
    """The file of a shard: 0 → 00000.h5."""
    return f"{number:05d}.h5"


def read_manifest(folder: Path) -> Manifest:
    """Read and check FOLDER/manifest.json.

    Raises FileNotFoundError when there is none and ValueError when it is not one of ours.
    """
    path = folder / NAME
    if not path.is_file():
        raise FileNotFoundError(f"no {NAME} in {folder}; record with: dreamcade collect pong --out {folder}")
    if path.stat().st_size > MOST_BYTES:
        raise ValueError(f"{path} is larger than {MOST_BYTES >> 20} MiB; not a manifest")
    return parse_manifest_text(path.read_bytes(), str(path))


def parse_manifest_text(content: bytes, path: str = NAME) -> Manifest:
    """Read and check the text of a manifest. Raises ValueError naming `path`."""
    try:
        found = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not readable as json; record the data set again") from error
    return parse_manifest(found, path)


def parse_manifest(found: Any, path: str = NAME) -> Manifest:
    """Check the content of a manifest, field by field. Raises ValueError naming `path` and the field."""
    if not isinstance(found, dict) or found.get("kind") != KIND:
        kind = found.get("kind") if isinstance(found, dict) else type(found).__name__
        raise ValueError(f"{path} should be of kind '{KIND}', found {kind!r}; is this a data set?")
    if found.get("format") != FORMAT:
        number = found.get("format")
        newer = "; a newer dreamcade wrote it and reads it" if isinstance(number, int) and number > FORMAT else ""
        raise ValueError(f"dataset format {number!r} found in {path}, this version reads {FORMAT}{newer}")
    shards = tuple(_parse_shard(shard, index, path) for index, shard in enumerate(_get(found, "shards", list, path)))
    first = 0
    for shard in shards:
        if shard.first_episode != first:
            raise ValueError(f"{path}: {shard.file} should start at episode {first}, found {shard.first_episode}")
        first += shard.episodes
    versions = _get(found, "versions", dict, path)
    if not all(isinstance(value, str) for value in versions.values()):
        raise ValueError(f"{path}: versions should be text")
    manifest = Manifest(
        game=_get(found, "game", str, path),
        **{
            name: _number(found, name, path, least=1)
            for name in ("height", "width", "frame_skip", "pooled", "episode_frames")
        },
        **{name: _number(found, name, path, least=1) for name in ("shard_frames", "frames_requested")},
        seed=_number(found, "seed", path, least=0),
        fps=float(_get(found, "fps", (int, float), path)),
        action_names=_names(found, "action_names", path),
        object_names=_names(found, "object_names", path),
        behaviour=_get(found, "behaviour", str, path),
        versions=versions,
        complete=_get(found, "complete", bool, path),
        shards=shards,
        latent_names=_optional(found, "latent_names", path),
        dropped=tuple(
            _parse_dropped(episode, path) for episode in _get({"dropped": [], **found}, "dropped", list, path)
        ),
        lost=tuple(
            _parse_shard(shard, index, path)
            for index, shard in enumerate(_get({"lost": [], **found}, "lost", list, path))
        ),
        continuous=_get({"continuous": False, **found}, "continuous", bool, path),
        levels=_number({"levels": 0, **found}, "levels", path, least=0),
        notes=_optional(found, "notes", path),
        lossy=_get({"lossy": False, **found}, "lossy", bool, path),
    )
    files = [shard.file for shard in (*manifest.shards, *manifest.lost)]
    if len(set(files)) < len(files):
        twice = max(files, key=files.count)
        raise ValueError(f"{path} names {twice} twice; it was changed by hand, put it back as it was")
    if not 0 < manifest.fps <= 1000 or not manifest.action_names or max(manifest.height, manifest.width) > 4096:
        raise ValueError(f"{path}: frame size, fps or action names make no sense; record the data set again")
    return manifest


def _parse_shard(found: Any, index: int, path: str) -> ShardInfo:
    if not isinstance(found, dict):
        raise ValueError(f"{path}: shard {index} should be an object, found {type(found).__name__}")
    seeds = _get(found, "seeds", list, path)
    shard = ShardInfo(
        file=_get(found, "file", str, path),
        sha256=_get(found, "sha256", str, path),
        **{name: _number(found, name, path, least=1) for name in ("frames", "steps", "episodes")},
        first_episode=_number(found, "first_episode", path, least=0),
        seeds=tuple(_number({"seeds": seed}, "seeds", path, least=0) for seed in seeds),
        behaviours=_names(found, "behaviours", path),
        sources=_optional(found, "sources", path),
        worlds=_optional(found, "worlds", path),
    )
    if not re.fullmatch(r"\d{5}\.h5", shard.file):
        raise ValueError(f"{path}: shard file should be named like 00000.h5, found {shard.file!r}")
    counts = {len(shard.seeds), len(shard.behaviours), shard.frames - shard.steps}
    if counts != {shard.episodes}:
        raise ValueError(f"{path}: {shard.file} has {shard.episodes} episodes, its counts say {sorted(counts)}")
    told = {len(shard.sources), len(shard.worlds)} - {0}
    if not told <= counts or not set(shard.sources) <= set(SOURCES):
        raise ValueError(f"{path}: {shard.file} should name {' or '.join(SOURCES)} and a world for each episode")
    return shard


def _parse_dropped(found: Any, path: str) -> Dropped:
    if not isinstance(found, dict):
        raise ValueError(f"{path}: a dropped episode should be an object, found {type(found).__name__}")
    return Dropped(seed=_number(found, "seed", path, least=0), steps=_number(found, "steps", path, least=1))


def _get(found: dict[str, Any], name: str, kind: type | tuple[type, ...], path: str) -> Any:
    if not isinstance(found.get(name), kind):
        raise ValueError(f"{path}: '{name}' is missing or of the wrong type; record the data set again")
    return found[name]


def _number(found: dict[str, Any], name: str, path: str, least: int) -> int:
    value = _get(found, name, int, path)
    if isinstance(value, bool) or not least <= value < 2**62:
        raise ValueError(f"{path}: '{name}' must be a whole number of at least {least}, found {value}")
    return int(value)


def _optional(found: dict[str, Any], name: str, path: str) -> tuple[str, ...]:
    return _names(found, name, path) if name in found else ()


def _names(found: dict[str, Any], name: str, path: str) -> tuple[str, ...]:
    values = _get(found, name, list, path)
    if not all(isinstance(value, str) for value in values):
        raise ValueError(f"{path}: '{name}' should be a list of names")
    return tuple(values)
