"""What can be played: the World protocol, its spec, its window and its state.

A world holds weights and nothing that changes. What changes is the `State`, a plain mapping of
batch-first tensors that is passed in and returned, so that rewinding is keeping an old state and
a save file is a state on disk.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

State = Mapping[str, Tensor]
Luck = torch.Generator | Sequence[torch.Generator] | None
"""Where randomness comes from: one generator for a whole batch, or one for each row, which then has the
luck that it would have alone."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ActionTable:
    """What the latent codes do, measured on real play after training.

    `counts[lag][code][real]` counts transitions t in which the LAM read `code` and the player had
    pressed `real` `lag` steps earlier. `best_lag` is the lag with the most mutual information.
    `moves[code]` is the mean displacement of each moving thing, in pixels a step (down and right
    are positive), keyed by object name; `labels[code]` is the code's name (`UP`), `agreement[code]`
    the share of its transitions in which that name is true; `usage[code]` its share of all.
    """

    real_actions: tuple[str, ...]
    counts: tuple[tuple[tuple[int, ...], ...], ...]
    best_lag: int
    mutual_information: tuple[float, ...]
    usage: tuple[float, ...]
    moves: tuple[Mapping[str, tuple[float, float]], ...]
    labels: tuple[str, ...]
    agreement: tuple[float, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class WorldSpec:
    """What the data dictates about a world. Never part of a config.

    `context` is the number of frames that `reset` wants to see; `actions` are the names of the
    action ids `0 … A-1` that `step` accepts; `fps` is the game's own rate, in frames a second.
    """

    game: str
    height: int
    width: int
    channels: int = 3
    context: int = 4
    fps: float = 15.0
    actions: tuple[str, ...] = field(default_factory=tuple)
    table: ActionTable | None = None

    def __post_init__(self) -> None:
        for name in ("height", "width", "channels", "context"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} of a world must be 1 or more, found {getattr(self, name)}")
        if not 0 < self.fps <= 1000:
            raise ValueError(f"fps of a world must be in (0, 1000], found {self.fps}")

    @property
    def latent(self) -> bool:
        """Whether the actions are codes that were found in the pixels, and not the game's own."""
        return any(name.lower().startswith("latent") for name in self.actions)


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of play. `actions[:, t]` turned `frames[:, t]` into `frames[:, t + 1]`.

    frames: uint8 [B, T, C, H, W]; actions: int64 [B, T-1], or None where nobody wrote them down.
    """

    frames: Tensor
    actions: Tensor | None = None

    def __post_init__(self) -> None:
        if self.frames.dtype != torch.uint8 or self.frames.ndim != 5:
            found = f"{self.frames.dtype} {list(self.frames.shape)}"
            raise ValueError(f"window frames must be uint8 [B, T, C, H, W], found {found}")
        if self.actions is not None:
            want = (self.frames.shape[0], self.frames.shape[1] - 1)
            if self.actions.dtype != torch.int64 or tuple(self.actions.shape) != want:
                found = f"{self.actions.dtype} {list(self.actions.shape)}"
                raise ValueError(f"window actions must be int64 {list(want)}, found {found}")


@runtime_checkable
class World(Protocol):
    """Anything playable. `step` never changes the state that it is given."""

    @property
    def spec(self) -> WorldSpec:
        """What the data dictates: sizes, names, rate."""
        ...

    def reset(self, window: Window, rng: torch.Generator | None = None) -> State:
        """Remember the frames of a window; the last one is the present. Returns a state."""
        ...

    def step(self, state: State, action: Tensor, rng: Luck = None) -> State:
        """Dream one frame ahead. action: int64 [B], ids in [0, len(spec.actions))."""
        ...

    def render(self, state: State) -> Tensor:
        """The present frame: uint8 [B, C, H, W]."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampling:
    """How the next frame is drawn. steps: decoding passes at most; temperature: divides logits, 0 is greedy; of a flow,
    scales its noise. guidance: how much more than in training an action counts, for families that were trained with
    actions left out now and then; others do without."""

    steps: int = 24
    temperature: float = 0.8
    guidance: float = 1.0

    def __post_init__(self) -> None:
        if not 1 <= self.steps <= 64:
            raise ValueError(f"sampling steps must be in [1, 64], found {self.steps}")
        if not 0.0 <= self.temperature <= 10.0:
            raise ValueError(f"temperature must be in [0, 10], found {self.temperature}")
        if not 0.0 <= self.guidance <= 10.0:
            raise ValueError(f"guidance must be in [0, 10], found {self.guidance}")


@runtime_checkable
class Samples(Protocol):
    """A world whose next frame is drawn, with dials."""

    @property
    def sampling(self) -> Sampling:
        """The dials as they stand."""
        ...

    def with_sampling(self, sampling: Sampling) -> World:
        """The same weights under other dials; the state stays valid."""
        ...


@runtime_checkable
class InfersActions(Protocol):
    """A world that reads action ids off real frames."""

    def infer_actions(self, frames: Tensor) -> Tensor:
        """frames: uint8 [B, T, C, H, W] → ids int64 [B, T-1]."""
        ...


@runtime_checkable
class Reconstructs(Protocol):
    """A world with a tokenizer: what is left of a real frame once it went through it."""

    def reconstruct(self, frames: Tensor) -> Tensor:
        """frames: uint8 [B, T, C, H, W] → the same shape and dtype."""
        ...


@runtime_checkable
class ShowsUncertainty(Protocol):
    """A world that knows where it guessed."""

    def uncertainty(self, state: State) -> Tensor:
        """Entropy in nats of each token of the present frame when it was drawn: float [B, rows, columns]."""
        ...


def repeat(state: State, times: int) -> State:
    """Every row of a state `times` times in a row: [B, ...] → [B * times, ...]."""
    return {name: value.repeat_interleave(times, dim=0) for name, value in state.items()}


def select(state: State, rows: Tensor | list[int]) -> State:
    """Some rows of a state, copied. rows: int64 [K] or a list of ints."""
    index = torch.as_tensor(rows)
    return {name: value[index.to(value.device)] for name, value in state.items()}


def uniform(shape: tuple[int, ...], rng: Luck = None) -> Tensor:
    """Numbers in [0, 1), float [B, ...] on the CPU, from one generator or from one a row."""
    if rng is None or isinstance(rng, torch.Generator):
        return torch.rand(shape, generator=rng)
    if len(rng) != shape[0]:
        raise ValueError(f"rng has {len(rng)} generators for a batch of {shape[0]}; give one a row, or one for all")
    return torch.cat([torch.rand((1, *shape[1:]), generator=own) for own in rng])


def check_action(action: Tensor, actions: int, batch: int) -> None:
    """Raise ValueError unless action is int64 [batch] with ids in [0, actions)."""
    if action.dtype != torch.int64 or tuple(action.shape) != (batch,):
        raise ValueError(f"action must be int64 [{batch}], found {action.dtype} {list(action.shape)}")
    low, high = int(action.min()), int(action.max())
    if low < 0 or high >= actions:
        raise ValueError(f"action {low if low < 0 else high} is outside [0, {actions})")
