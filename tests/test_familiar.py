"""Where tokens were ever seen: counted by training, kept with the weights, and what it does to a dream."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from collectors.rollout import CollectConfig, collect
from collectors.shards import Dataset
from models.checkpoint import load_world
from models.dynamics.context import NEAR, NEVER, familiarity
from models.world import Window
from training.pipeline import Data, Pipeline
from training.presets import preset
from training.runs import Run
from training.token_cache import TokenCache
from training.token_recipe import train_dynamics
from training.windows import Windows


def test_where_tokens_were_seen() -> None:
    windows = SimpleNamespace(episodes=[None], lengths=np.array([3]))
    cache = TokenCache(windows, np.array([[0, 1], [2, 1], [0, 3]], np.int32))
    assert cache.seen(5).tolist() == [[True, False, True, False, False], [False, True, False, True, False]]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Pipeline, Path]:
    folder = tmp_path_factory.mktemp("familiar")
    collect(CollectConfig(frames=240, episode_frames=80, shard_frames=200, workers=1), folder / "data")
    windows = Windows([Dataset.open(folder / "data")], "all")
    base = preset("maskgit", "pong", 104, 80, "tiny")
    few, dynamics = replace(base.dynamics, steps=4), replace(base.family.dynamics, changes=True)
    family = replace(base.family, dynamics=dynamics)
    pipeline = Pipeline(replace(base, dynamics=few, family=family), Data(windows, windows), Run(folder / "run", {}))
    pipeline.train()
    return pipeline, pipeline.finish(folder / "world", {})


def test_training_counts_and_the_world_keeps_it(trained: tuple[Pipeline, Path]) -> None:
    pipeline, folder = trained
    world = load_world(folder)
    tokenizer = pipeline.world.tokenizer
    here = torch.zeros(world.dynamics.prior.shape, dtype=torch.bool)
    for clip in pipeline.data.train.clips():
        for grid in tokenizer.encode(clip[None])[0]:
            here[torch.arange(len(grid)), grid] = True
    assert torch.equal(world.dynamics.prior.float(), familiarity(here, tokenizer.grid))
    assert set(world.dynamics.prior.unique().tolist()) == {0.0, NEAR, NEVER}


def test_nothing_that_play_shows_is_strange(trained: tuple[Pipeline, Path]) -> None:
    pipeline, folder = trained
    world, tokenizer = load_world(folder), pipeline.world.tokenizer
    changes = world.dynamics.changes
    assert bool((changes.seen != -1).any())
    for clip in pipeline.data.train.clips():
        grids = tokenizer.encode(clip[None])[0]
        frame, place = (grids[1:] != grids[:-1]).nonzero(as_tuple=True)
        assert not changes.strange(place, grids[frame, place], grids[frame + 1, place]).any()
    anything = torch.arange(tokenizer.size)
    usual = grids[0, 0].expand_as(anything)
    assert changes.strange(torch.zeros_like(anything), usual, anything).float().mean() > 0.2


def test_a_dream_shows_every_token_where_it_belongs(trained: tuple[Pipeline, Path]) -> None:
    """After four steps the weights know nothing; hardly anything strange is drawn, and without the count much is."""
    pipeline, folder = trained
    world = load_world(folder)
    frames = next(iter(pipeline.data.train.clips()))[None, :5]

    def strange() -> float:
        state, rng, found = world.reset(Window(frames)), torch.Generator().manual_seed(0), []
        for _ in range(12):
            state = world.step(state, torch.tensor([0]), rng)
            found.append(prior.gather(1, state["grid"][0][:, None])[:, 0] == NEVER)
        return float(torch.stack(found).float().mean())

    prior = world.dynamics.prior.clone()
    with_it = strange()
    world.dynamics.prior.zero_()
    assert with_it < 0.02
    assert strange() > 0.2


def test_too_many_colours_are_said(trained: tuple[Pipeline, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline, said = trained[0], []
    monkeypatch.setattr(pipeline, "say", said.append)
    monkeypatch.setattr(pipeline.world.dynamics.changes, "shades", None)
    counts = {key: value.clone() for key, value in pipeline.world.dynamics.changes.state_dict().items()}
    monkeypatch.setattr(pipeline, "only_count", True)
    train_dynamics(pipeline)
    assert said == ["dynamics: no changes of colour counted; that takes patches of at most 16 colours"]
    assert all(torch.equal(value, counts[key]) for key, value in pipeline.world.dynamics.changes.state_dict().items())
