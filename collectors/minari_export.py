"""Data sets → Minari, the format of offline reinforcement learning. What goes out comes back exactly.

Minari keeps everything of a picture only if it does not take it for one: frames [H, W, 3] become JPEG, in version 0.5.3
without a way to say no, and 28.8 dB are left of them. So observations are channels first, [3, H, W], which no version
compresses, and where `jpeg_encoding` can be said it is said to be off. What was written is read back and compared.

In Minari an episode is `observations` [T+1, 3, H, W], `actions`, `rewards`, `terminations` [T], its seed; our
other columns are `infos`, the behaviour is metadata of the episode and the manifest metadata of the data set.
"""

from __future__ import annotations

import importlib
import inspect
import json
import os
import re
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from collectors.drafts import only_writer
from collectors.episode import Episode
from collectors.shards import Dataset

INSTALL = "pip install 'minari[hdf5]>=0.5.3'"
OURS = "dreamcade"  # the key of the manifest among Minari's metadata
PLAIN = ("frames", "actions", "rewards", "ends")  # columns that have a place of their own in Minari
NAME = re.compile(r"(?:[-\w]+/)*[-\w]+-v\d+", re.ASCII)
PATH = "MINARI_DATASETS_PATH"  # where Minari looks for data sets; without it, in the home directory
DRAFT = ".draft-minari"
Progress = Callable[[int, int], None]


def minari() -> Any:
    """The library. Raises ValueError saying how to get it."""
    try:
        return importlib.import_module("minari")
    except ImportError as error:
        raise ValueError(f"Minari is not installed; get it with: {INSTALL}") from error


def minari_name(game: str) -> str:
    """What a data set of a game is called in Minari, if nobody says otherwise."""
    return f"{OURS}/{re.sub('[^a-zA-Z0-9_-]+', '-', game)}-v0"


def export_minari(dataset: Dataset, root: Path, name: str = "", progress: Progress | None = None) -> Path:
    """Write a data set as ROOT/NAME, which Minari finds when MINARI_DATASETS_PATH is ROOT. Returns that folder.

    Nothing is there before all of it is, read back and found equal. `progress(done, total)` counts episodes.
    Raises ValueError when Minari is missing, the name is not one of Minari's, or is taken; OSError when ROOT cannot
    be written.
    """
    library = minari()
    name = name or minari_name(dataset.manifest.game)
    if not NAME.fullmatch(name):
        raise ValueError(f"--id must be like {minari_name('pong')}: letters, digits, - and _, then -v and a number")
    place, draft = root / name, root / DRAFT
    if place.exists():
        raise ValueError(f"{place} is there already; choose another --id, for example with a higher -v, or --out")
    tell = progress or (lambda done, total: None)
    with only_writer(root, "wait until it is done"):
        shutil.rmtree(draft, ignore_errors=True)
        try:
            with _home_in(draft), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of who the author is, and which environment this was
                written = _write(library, dataset, name, tell)
                _compare(written, dataset)
            _move(draft, root, name)
        except (OSError, RuntimeError) as error:
            reason = (getattr(error, "strerror", None) or str(error)).strip().splitlines()[0].lower()
            raise OSError(f"cannot write {place}: {reason}; choose another --out or make room") from error
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return place


@contextmanager
def _home_in(folder: Path) -> Iterator[None]:
    """Let Minari write here, and nowhere else."""
    before = os.environ.get(PATH)
    os.environ[PATH] = str(folder.resolve())
    try:
        yield
    finally:
        if before is None:
            del os.environ[PATH]
        else:
            os.environ[PATH] = before


def _write(library: Any, dataset: Dataset, name: str, tell: Progress) -> Any:
    from gymnasium.spaces import Box, Discrete

    manifest, episodes = dataset.manifest, dataset.episodes
    collector = importlib.import_module("minari.data_collector")

    def buffers() -> Iterator[Any]:
        for done, ref in enumerate(episodes):
            tell(done, len(episodes))
            yield collector.EpisodeBuffer(**_to_minari(dataset.read(ref)))
        tell(len(episodes), len(episodes))

    rest, ids = buffers(), len(manifest.action_names)
    plain = "jpeg_encoding" in inspect.signature(library.create_dataset_from_buffers).parameters
    written = library.create_dataset_from_buffers(
        name,
        [next(rest)],
        observation_space=Box(0, 255, (3, manifest.height, manifest.width), np.uint8),
        action_space=Box(-1, 1, (ids,), np.float32) if manifest.continuous else Discrete(ids),
        algorithm_name=manifest.behaviour,
        description=f"{manifest.game}, recorded by Dreamcade; observations are RGB frames with channels first",
        **({"jpeg_encoding": False} if plain else {}),
    )
    storage = written.storage
    storage.update_episodes(rest)
    storage.update_episode_metadata(
        {"behaviour": ref.behaviour, "source": ref.source, "world": ref.world} for ref in episodes
    )
    storage.update_metadata({OURS: json.loads(manifest.to_json()) | {"shards": []}})
    return library.MinariDataset(storage.data_path)


def extra_columns() -> tuple[str, ...]:
    """The columns of an episode that Minari has no place for; not every episode has them."""
    known = [field.name for field in fields(Episode)]
    return tuple(name for name in known if name not in (*PLAIN, "seed", "behaviour", "source", "world"))


def _to_minari(episode: Episode) -> dict[str, Any]:
    """An episode as the fields of Minari's buffer. One that does not end is cut off, which Minari calls truncated."""
    cut = np.zeros(episode.steps, np.bool_)
    cut[-1] = not episode.ends[-1]
    extra = {name: getattr(episode, name) for name in extra_columns()}
    return {
        "seed": episode.seed,
        "observations": np.ascontiguousarray(episode.frames.transpose(0, 3, 1, 2)),
        "actions": episode.actions,
        "rewards": episode.rewards,
        "terminations": episode.ends,
        "truncations": cut,
        "infos": {name: value for name, value in extra.items() if value is not None} or None,
    }


def from_minari(found: Any, about: Mapping[str, Any], frames: NDArray[np.uint8]) -> Episode:
    """One of our own episodes, as Minari gives it back. about: its metadata; frames: uint8 [T+1, H, W, 3]."""
    infos = found.infos or {}
    return Episode(
        frames=frames,
        actions=np.asarray(found.actions),
        rewards=np.asarray(found.rewards),
        ends=np.asarray(found.terminations),
        seed=int(about["seed"]),
        behaviour=str(about["behaviour"]),
        source=str(about["source"]),
        world=str(about["world"]),
        **{name: np.asarray(infos[name]) for name in extra_columns() if name in infos},
    )


def _compare(written: Any, dataset: Dataset) -> None:
    """Read everything back. Raises ValueError at the first episode that is not what it was."""
    about = written.storage.get_episode_metadata(range(len(dataset.episodes)))
    for ref, found, known in zip(dataset.episodes, written.iterate_episodes(), about, strict=True):
        frames = np.asarray(found.observations).transpose(0, 2, 3, 1)
        if not _equal(from_minari(found, known, frames), dataset.read(ref)):
            version = importlib.import_module("minari").__version__
            raise ValueError(f"Minari {version} does not give back episode {ref.index} as it was; nothing was exported")


def _equal(one: Episode, other: Episode) -> bool:
    """Whether two episodes have the same values of the same types."""
    pairs = [(getattr(one, field.name), getattr(other, field.name)) for field in fields(Episode)]
    return all(
        a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
        if isinstance(a, np.ndarray) and isinstance(b, np.ndarray)
        else a is b or (not isinstance(a, np.ndarray) and not isinstance(b, np.ndarray) and a == b)
        for a, b in pairs
    )


def _move(draft: Path, root: Path, name: str) -> None:
    """The finished data set to its place, and beside it what Minari notes of its namespaces."""
    place = root / name
    place.parent.mkdir(parents=True, exist_ok=True)
    for parent in Path(name).parents:
        for note in (draft / parent).glob("*.json"):
            if not (root / parent / note.name).exists():
                shutil.copyfile(note, root / parent / note.name)
    os.replace(draft / name, place)
