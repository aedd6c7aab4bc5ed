"""A world without learning, for tests of the app, and the promises that make it a fair stand-in."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from models.world import (
    ActionTable,
    Luck,
    Samples,
    Sampling,
    ShowsUncertainty,
    State,
    Window,
    World,
    WorldSpec,
    check_action,
    uniform,
)

HEIGHT, WIDTH, CONTEXT = 48, 40, 3
LABELS = ("STILL", "UP", "UP", "DOWN", "STILL", "DOWN", "LEFT", "UNUSED")
AGREEMENT = (0.81, 0.60, 0.91, 0.88, 0.97, 0.90, 0.55, 0.0)
USAGE = (0.20, 0.10, 0.15, 0.20, 0.10, 0.05, 0.20, 0.0)
MOVES = {"STILL": (0, 0), "UP": (-2, 0), "DOWN": (2, 0), "LEFT": (0, -2), "UNUSED": (0, 0)}


def spec(table: bool = True) -> WorldSpec:
    """Eight latent actions; with or without the table of what they do."""
    counts = (tuple((1, 0) for _ in LABELS),)
    learned = ActionTable(
        real_actions=("NOOP", "UP"),
        counts=counts,
        best_lag=0,
        mutual_information=(0.5,),
        usage=USAGE,
        moves=tuple({"block": MOVES[label]} for label in LABELS),
        labels=LABELS,
        agreement=AGREEMENT,
    )
    actions = tuple(f"latent {code}" for code in range(8))
    return WorldSpec(
        game="block",
        height=HEIGHT,
        width=WIDTH,
        context=CONTEXT,
        fps=15.0,
        actions=actions,
        table=learned if table else None,
    )


class PlainWorld:
    """A bright 8 x 8 block that goes where the action says; its blue is the number of steps, the floor is luck."""

    def __init__(self, made: WorldSpec | None = None) -> None:
        self._spec = spec() if made is None else made

    @property
    def spec(self) -> WorldSpec:
        return self._spec

    def reset(self, window: Window, rng: torch.Generator | None = None) -> State:
        batch = len(window.frames)
        first = window.frames[:, -1, 0, 0, 0].long()  # start clips differ in their top left pixel
        return {
            "y": torch.full((batch,), 20),
            "x": torch.full((batch,), 16),
            "count": torch.zeros(batch, dtype=torch.int64),
            "floor": first,
        }

    def step(self, state: State, action: Tensor, rng: Luck = None) -> State:
        check_action(action, 8, len(state["y"]))
        moves = torch.tensor([MOVES[LABELS[int(a)]] for a in action])
        return {
            "y": (state["y"] + moves[:, 0]).clamp(0, HEIGHT - 8),
            "x": (state["x"] + moves[:, 1]).clamp(0, WIDTH - 8),
            "count": state["count"] + 1,
            "floor": (200 * uniform((len(action),), rng)).long(),
        }

    def render(self, state: State) -> Tensor:
        batch = len(state["y"])
        frames = torch.zeros(batch, 3, HEIGHT, WIDTH, dtype=torch.uint8)
        for row in range(batch):
            y, x = int(state["y"][row]), int(state["x"][row])
            frames[row, 1, -2:] = int(state["floor"][row])
            frames[row, :2, y : y + 8, x : x + 8] = 250
            frames[row, 2] = int(state["count"][row]) % 256
        return frames


class CountingWorld(PlainWorld):
    """The same with dials, and unsure of its top left corner."""

    def __init__(self, made: WorldSpec | None = None, sampling: Sampling | None = None) -> None:
        super().__init__(made)
        self._sampling = sampling or Sampling()

    @property
    def sampling(self) -> Sampling:
        return self._sampling

    def with_sampling(self, sampling: Sampling) -> CountingWorld:
        return CountingWorld(self._spec, sampling)

    def uncertainty(self, state: State) -> Tensor:
        values = torch.zeros(len(state["y"]), 6, 5)
        values[:, 0, 0] = 5.0
        return values


def clips(count: int = 3) -> list[Tensor]:
    """Start clips that differ in brightness."""
    return [torch.full((CONTEXT, 3, HEIGHT, WIDTH), 10 * number, dtype=torch.uint8) for number in range(count)]


def card() -> Mapping[str, object]:
    return {
        "format": 1,
        "family": "counting",
        "spec": {"game": "block", "height": HEIGHT, "width": WIDTH},
        "facts": {"steps": 7, "scorecard": {"psnr": 31.2345, "ball": {"present": 0.934}}},
    }


def test_the_double_is_a_world_with_abilities():
    world = CountingWorld()
    assert isinstance(world, World)
    assert isinstance(world, Samples)
    assert isinstance(world, ShowsUncertainty)
    assert not isinstance(PlainWorld(), Samples)


def test_the_double_counts_and_does_not_mutate():
    world = CountingWorld()
    before = world.reset(Window(clips(1)[0][None]))
    kept = {name: value.clone() for name, value in before.items()}
    after = world.step(before, torch.tensor([2]), torch.Generator())
    assert all(torch.equal(before[name], kept[name]) for name in kept)
    assert int(after["count"]) == 1
    assert int(after["y"]) == 18
