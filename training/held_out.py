"""The play that a world is measured on: whole episodes, for a scorecard those that training did not see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from collectors.episode import Episode
from collectors.shards import Dataset, EpisodeRef, split_of
from training.windows import Windows

SPLITS = {
    "held-out": ("validation", "test"),
    "validation": ("validation",),
    "test": ("test",),
    "all": ("train", "validation", "test"),
}
"""Names of the choices → splits by hash of the episode's seed."""


class Described(Protocol):
    """What a manifest says about play: game, frame size, names of the actions and of the objects."""

    @property
    def game(self) -> str: ...  # noqa: D102
    @property
    def height(self) -> int: ...  # noqa: D102
    @property
    def width(self) -> int: ...  # noqa: D102
    @property
    def action_names(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def object_names(self) -> tuple[str, ...]: ...  # noqa: D102


class Play(Protocol):
    """Recorded play to be read episode by episode: a data set, or a part of one."""

    @property
    def manifest(self) -> Described:
        """Game, frame size, names of actions and objects."""
        ...

    @property
    def episodes(self) -> Sequence[EpisodeRef]:
        """Where each episode is."""
        ...

    def read(self, ref: EpisodeRef, start: int = 0, stop: int | None = None) -> Episode:
        """Frames [start, stop) of an episode, two at least, and the actions between them."""
        ...


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Some episodes of a data set."""

    dataset: Dataset
    episodes: tuple[EpisodeRef, ...]

    @property
    def manifest(self) -> Described:
        """The manifest of the whole data set."""
        return self.dataset.manifest

    def read(self, ref: EpisodeRef, start: int = 0, stop: int | None = None) -> Episode:
        """Frames [start, stop) of an episode and the actions between them."""
        return self.dataset.read(ref, start, stop)


def parts_of(play: Play | Windows) -> list[Play]:
    """Windows over several data sets as one play each; any other play as it is."""
    if not isinstance(play, Windows):
        return [play]
    return [
        HeldOut(dataset, tuple(ref for owner, ref in play.episodes if owner is dataset)) for dataset in play.datasets
    ]


def held_out(dataset: Dataset, split: str = "held-out") -> HeldOut:
    """The episodes of one split, see SPLITS. Raises ValueError if the split is unknown or empty."""
    if split not in SPLITS:
        raise ValueError(f"no split {split!r}; known are {', '.join(SPLITS)}")
    game = dataset.manifest.game
    chosen = tuple(ref for ref in dataset.episodes if split_of(ref.seed, game) in SPLITS[split])
    if not chosen:
        total = len(dataset.episodes)
        hint = "record more, or use --split all on play that was not trained on"
        raise ValueError(f"none of the {total} episodes of {dataset.folder} is in the split {split!r}; {hint}")
    return HeldOut(dataset, chosen)
