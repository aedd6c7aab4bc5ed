"""Minari → data sets: our own exports come back as they were; of others, all with frames, actions and one end per step.

A data set of a stranger is looked at before Minari opens it: its HDF5 file may not reach outside, and it must say
itself what its spaces are, because Minari would otherwise build the environment that the file names, and with it run
whatever code that names.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from collectors.episode import Episode
from collectors.games import LARGEST_SIDE, SMALLEST_SIDE, Size, game_named
from collectors.importing import IMPORTED, USUAL_FPS, ImportConfig, fitted, split_episode
from collectors.manifest import Manifest, parse_manifest
from collectors.minari_export import OURS, from_minari, minari
from collectors.packing import check_new, new_dataset
from collectors.quality import CODEC_NOISE, Report, judge
from collectors.strangers import stranger
from collectors.writing import PACKED_BY

Progress = Callable[[int, int], None]

METADATA, MAIN = "metadata.json", "main_data.hdf5"
MOST_METADATA = 256 << 20  # bytes: the bounds of a space are written out, number by number


@dataclass(frozen=True, kw_only=True, slots=True)
class FromMinari:
    """What an import did. reports: of every episode, where frames were judged."""

    manifest: Manifest
    ours: bool
    reports: tuple[Report, ...]
    warnings: tuple[str, ...]


def is_minari(source: Path) -> bool:
    """Whether a folder is a data set of Minari, or the `data` folder of one."""
    return _data_folder(source) is not None


def _data_folder(source: Path) -> Path | None:
    return next(
        (one for one in (source / "data", source) if (one / METADATA).is_file() and (one / MAIN).exists()), None
    )


def import_minari(source: Path, out: Path, config: ImportConfig | None, progress: Progress | None = None) -> FromMinari:
    """Write a data set of Minari as a new one of ours. `progress(done, total)` counts episodes.

    config: None for an export of our own, which says everything itself. Raises ValueError naming what is not
    as it should be, OSError when `out` cannot be written; there is no data set then.
    """
    check_new(out)
    folder = _data_folder(source)
    if folder is None:
        raise ValueError(f"{source} is no data set of Minari: it needs {METADATA} and {MAIN}")
    metadata = _metadata(folder)
    with stranger(folder / MAIN):
        pass
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        opened = _opened(folder)
    if metadata.get(OURS) is not None:
        return _take_back(opened, metadata, folder, out, config, progress)
    if config is None:
        raise ValueError(f"{source} does not say which game it is; name it with --game")
    return _take_in(opened, metadata, source, out, config, progress)


def _metadata(folder: Path) -> dict[str, Any]:
    path = folder / METADATA
    if path.stat().st_size > MOST_METADATA:
        raise ValueError(f"{path} is larger than {MOST_METADATA >> 20} MiB; not the metadata of a data set")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not readable as JSON; copy the data set again") from error
    kind = found.get("data_format") if isinstance(found, dict) else None
    if kind != "hdf5":
        raise ValueError(f"{path} should have data_format 'hdf5', found {kind!r}; only that can be imported")
    for name in ("observation_space", "action_space"):
        if not isinstance(found.get(name), str):
            raise ValueError(f"{path} does not say what its {name} is, and building its environment to ask is not safe")
    return dict(found)


def _opened(folder: Path) -> Any:
    library = minari()
    try:
        return library.MinariDataset(folder)
    except Exception as error:  # its readers and gymnasium's raise many kinds
        raise ValueError(f"Minari {library.__version__} cannot read {folder}: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _episodes(opened: Any) -> Iterator[tuple[Any, Mapping[str, Any]]]:
    """Every episode with its metadata, one in memory at a time."""
    pairs = zip(opened.iterate_episodes(), opened.storage.get_episode_metadata(opened.episode_indices), strict=True)
    while True:
        try:
            found = next(pairs, None)
        except Exception as error:  # as above
            raise ValueError(f"Minari cannot read an episode of {opened.id}: {_first_line(error)}") from error
        if found is None:
            return
        yield found


def _take_back(
    opened: Any,
    metadata: dict[str, Any],
    folder: Path,
    out: Path,
    config: ImportConfig | None,
    progress: Progress | None,
) -> FromMinari:
    """One of our own: manifest, columns, seeds and behaviours are what they were."""
    path = f"{folder / METADATA}: {OURS}"
    kept = metadata[OURS]
    manifest = parse_manifest({**kept, "shards": []} if isinstance(kept, dict) else kept, path)
    if config is not None:
        if config.game != manifest.game:
            raise ValueError(f"{folder} holds {manifest.game!r}, not {config.game!r}; leave --game away")
        if config.size not in (None, (manifest.height, manifest.width)) or config.fps or config.stride or config.drop:
            raise ValueError(
                "an export of our own comes back as it was; leave --size, --fps, --stride and --filter away"
            )
    with new_dataset(out, manifest) as packer:
        for found, about in _episodes(opened):
            try:
                frames = np.ascontiguousarray(np.asarray(found.observations).transpose(0, 2, 3, 1))
                episode = from_minari(found, about, frames)
            except (KeyError, TypeError, ValueError) as error:
                raise ValueError(
                    f"{folder}: episode {packer.added} is not as exported: {_first_line(error)}"
                ) from error
            _check_fits(episode, manifest, folder, packer.added)
            packer.add(episode)
            if progress is not None:
                progress(packer.added, opened.total_episodes)
    return FromMinari(manifest=packer.manifest, ours=True, reports=(), warnings=())


def _check_fits(episode: Episode, manifest: Manifest, folder: Path, number: int) -> None:
    """What a data set promises of its episodes must hold, or it could not be opened later."""
    size, want = episode.frames.shape[1:3], (manifest.height, manifest.width)
    objects = 0 if episode.objects is None else episode.objects.shape[1]
    ids = np.zeros(1, np.int64) if manifest.continuous else episode.actions
    latent = episode.latent if episode.latent is not None else np.full(1, -1)
    fits = (
        size == want
        and episode.continuous == manifest.continuous
        and (not manifest.continuous or episode.actions.shape[1] == len(manifest.action_names))
        and objects == len(manifest.object_names)
        and 0 <= ids.min() <= ids.max() < len(manifest.action_names)
        and (episode.latent is not None) == bool(manifest.latent_names)
        and latent.max() < max(1, len(manifest.latent_names))
        and episode.seed >= 0
    )
    if not fits:
        raise ValueError(f"{folder}: episode {number} does not fit its manifest in size, actions, objects or seed")


def _take_in(
    opened: Any, metadata: dict[str, Any], source: Path, out: Path, config: ImportConfig, progress: Progress | None
) -> FromMinari:
    """One of somebody else: frames are found among the observations; actions are ids or numbers."""
    if config.stride not in (None, 1):
        raise ValueError("--stride leaves frames out, and with them what was pressed; use it where actions are unknown")
    where, acts = _frames_space(opened.observation_space, source), _acts(opened.action_space, source)
    manifest = _manifest(opened, metadata, source, config, where, acts)
    reports = list[Report]()
    with new_dataset(out, manifest) as packer:
        for number, (found, about) in enumerate(_episodes(opened)):
            frames = found.observations if where.key is None else found.observations[where.key]
            episode = _labelled(np.asarray(frames), found, about, where, acts, manifest, number, source)
            pieces = [(0, len(episode.frames))]
            if config.drop:
                reports.append(judge(episode.frames, manifest.fps, CODEC_NOISE if manifest.lossy else 0))
                pieces = reports[-1].pieces(drop=True, cuts=False)
            for part in split_episode(episode, pieces):
                packer.add(part)
            if progress is not None:
                progress(number + 1, opened.total_episodes)
    return FromMinari(manifest=packer.manifest, ours=False, reports=tuple(reports), warnings=manifest.notes[1:])


@dataclass(frozen=True, slots=True)
class _Where:
    """Where frames are: the key among the observations or None, their size, and whether channels come first."""

    key: str | None
    size: Size
    first: bool


@dataclass(frozen=True, slots=True)
class _Acts:
    """What actions are: `size` ids from `low` on or, with `high`, `size` numbers between the two of float64 [A]."""

    size: int
    low: Any
    high: Any = None

    def read(self, found: Any) -> NDArray[Any]:
        """Actions as we keep them: int64 [T] from 0 on, or float32 [T, A] in [-1, 1]."""
        if self.high is None:
            ids = np.asarray(found, np.int64) - self.low
            if not 0 <= ids.min() <= ids.max() < self.size:
                raise ValueError(f"actions must be in [{self.low}, {self.low + self.size}), found {np.unique(found)}")
            return ids
        numbers = np.asarray(found, np.float64)
        if not ((self.low <= numbers) & (numbers <= self.high)).all():
            raise ValueError("actions must be within the bounds of their space")
        exact = (self.low == -1).all() and (self.high == 1).all()
        return (numbers if exact else 2 * (numbers - self.low) / (self.high - self.low) - 1).astype(np.float32)


def _acts(space: Any, source: Path) -> _Acts:
    """What the action space of somebody else means here. Raises ValueError where it means nothing."""
    from gymnasium.spaces import Box, Discrete

    if isinstance(space, Discrete):
        return _Acts(int(space.n), int(space.start))
    if isinstance(space, Box) and len(space.shape) == 1 and space.is_bounded("both") and (space.low < space.high).all():
        return _Acts(int(space.shape[0]), space.low.astype(np.float64), space.high.astype(np.float64))
    shown = " ".join(str(space).split())[:120]
    raise ValueError(f"{source} has actions of kind {shown}; ids (Discrete) or bounded numbers (Box) can be imported")


def _manifest(
    opened: Any, metadata: dict[str, Any], source: Path, config: ImportConfig, where: _Where, acts: _Acts
) -> Manifest:
    """The data set before its first shard. Raises ValueError when its frames could not be stored."""
    size, notes = config.size or where.size, list[str]()
    if not all(SMALLEST_SIDE <= side <= LARGEST_SIDE for side in size):
        raise ValueError(f"{source} has frames of {size[0]}x{size[1]}; choose with --size, for example --size 104x80")
    if config.fps is None:
        notes.append(f"Minari does not say how many frames a second there are; they are taken for {USUAL_FPS:g}")
    # Minari packs pictures of 32x32 and more as JPEG unless it was told not to.
    lossy = bool(metadata.get("jpeg_encoding", True)) and not where.first and min(where.size) >= 32
    if lossy:
        notes.append("Minari keeps these frames as JPEG: what is one pixel large can be smeared or gone in them")
    if acts.high is not None and not ((acts.low == -1).all() and (acts.high == 1).all()):
        notes.append("actions were numbers between other bounds; they are scaled to [-1, 1]")
    algorithm = metadata.get("algorithm_name")
    return Manifest(
        game=config.game,
        height=size[0],
        width=size[1],
        fps=config.fps or USUAL_FPS,
        frame_skip=1,
        pooled=1,
        action_names=_action_names(config.game, acts.size),
        object_names=(),
        behaviour=algorithm if isinstance(algorithm, str) and algorithm else IMPORTED,
        seed=0,
        episode_frames=config.episode_frames,
        shard_frames=config.shard_frames,
        frames_requested=1,
        versions={"minari": str(opened.minari_version), "numpy": np.__version__, **PACKED_BY},
        complete=True,
        continuous=acts.high is not None,
        notes=(f"imported from {opened.id} of Minari", *notes),
        lossy=lossy,
    )


def _frames_space(space: Any, source: Path) -> _Where:
    """The one uint8 picture among the observations. Raises ValueError when there is none, or more than one."""
    from gymnasium.spaces import Box, Dict

    choices: Any = dict(space.spaces) if isinstance(space, Dict) else {None: space}
    found = [
        (key, one.shape)
        for key, one in choices.items()
        if isinstance(one, Box) and one.dtype == np.uint8 and len(one.shape) == 3 and 3 in (one.shape[2], one.shape[0])
    ]
    if len(found) != 1:
        kinds = ", ".join(f"{'' if key is None else f'{key}: '}{one}" for key, one in choices.items())
        kinds = " ".join(kinds.split())[:200]
        raise ValueError(f"{source} should observe one uint8 picture [H, W, 3] or [3, H, W], found {kinds}")
    key, shape = found[0]
    first = shape[2] != 3
    height, width = shape[1:] if first else shape[:2]
    return _Where(key, (int(height), int(width)), first)


def _action_names(game: str, count: int) -> tuple[str, ...]:
    """The names in the table of games where there are as many, else numbers."""
    try:
        names = game_named(game).action_names
    except ValueError:
        names = ()
    return names if len(names) == count else tuple(f"action {number}" for number in range(count))


def _labelled(
    frames: NDArray[Any],
    found: Any,
    about: Mapping[str, Any],
    where: _Where,
    acts: _Acts,
    manifest: Manifest,
    number: int,
    source: Path,
) -> Episode:
    """An episode of somebody else. Raises ValueError naming it where its columns do not belong together."""
    try:
        if frames.dtype != np.uint8 or frames.ndim != 4:
            raise ValueError(f"frames must be uint8 [T+1, H, W, 3], found {frames.dtype} {list(frames.shape)}")
        seed = about.get("seed")
        known = seed is not None and 0 <= int(seed) < 2**62
        frames = np.ascontiguousarray(frames.transpose(0, 2, 3, 1)) if where.first else frames
        return Episode(
            frames=np.stack([fitted(frame, (manifest.height, manifest.width)) for frame in frames]),
            actions=acts.read(found.actions),
            rewards=np.asarray(found.rewards, np.float32),
            ends=np.asarray(found.terminations, np.bool_),
            seed=int(about["seed"]) if known else number,
            behaviour=manifest.behaviour,
        )
    except (TypeError, ValueError) as error:
        raise ValueError(f"{source}: episode {number} cannot be imported: {_first_line(error)}") from error
