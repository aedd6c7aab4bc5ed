"""A world that can be played while its dynamics still train: `latest/` in the run folder, new at every checkpoint."""

from __future__ import annotations

import copy
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from torch import Tensor, nn

from models.checkpoint import save_world
from models.world import ActionTable, World, WorldSpec
from training.action_table import Track, objects_of, table_of
from training.probes import probe_for
from training.token_cache import TokenCache

LATEST = "latest"
MOST_FRAMES = 6000
"""Frames that the first names of the codes are read off."""
SHARE = 0.05
"""Of the time of training, what writing may take; where steps are quick, some checkpoints are left out."""


class Learned(World, Protocol):
    """A world with the three parts that are trained in order."""

    tokenizer: Any
    latent_actions: Any
    dynamics: Any

    def with_spec(self, spec: WorldSpec) -> Learned:
        """The same weights under another spec."""
        ...

    def link(self) -> None:
        """Tell the other parts that the tokenizer changed."""
        ...

    def forget(self) -> None:
        """Drop what was computed from the dynamics' weights; they are others now."""
        ...

    def state_dict(self) -> dict[str, Tensor]: ...  # noqa: D102
    def load_state_dict(self, weights: dict[str, Tensor]) -> Any: ...  # noqa: D102
    def eval(self) -> Any: ...  # noqa: D102


class Snapshots:
    """Writes a playable world, whole or not at all. A snapshot that cannot be written is told once and stops nothing.

    starts: clips to begin from, uint8 [T, C, H, W]; table: what the codes do, which does not depend on the
    dynamics; steps: how many the dynamics are trained.
    """

    def __init__(
        self,
        world: Learned,
        starts: Sequence[Tensor],
        table: ActionTable,
        folder: Path,
        steps: int,
        say: Callable[[str], None],
    ) -> None:
        self.world = world.with_spec(named(world.spec, table))
        self.starts, self.folder, self.steps, self._say = starts, folder, steps, say
        self._works = True
        self._next = 0.0
        for left in folder.parent.glob(f".{folder.name}.*"):  # by a run that was killed
            shutil.rmtree(left, ignore_errors=True)

    def keep(self, dynamics: nn.Module, step: int, done: bool) -> None:
        """Write the world with these dynamics, as they are after `step` steps; those that are done always."""
        began = time.monotonic()
        if not self._works or (began < self._next and not done):
            return
        spec = self.world.spec
        card = (
            f"# {spec.game}, still in training\n\nStep {step} of {self.steps} of the dynamics. The names of the codes"
            f" were read off {MOST_FRAMES} frames at most.\n"
        )
        facts = {"snapshot": {"step": step, "steps": self.steps}}
        try:
            save_world(with_dynamics(self.world, dynamics), self.folder, facts, self.starts, card)
        except (OSError, ValueError) as problem:
            self._works = False
            self._say(f"no more snapshots to play while this trains: {problem}")
        ended = time.monotonic()
        self._next = ended + (ended - began) / SHARE


def with_dynamics(world: Learned, dynamics: nn.Module) -> Learned:
    """The same tokenizer and codes with other dynamics over them; nothing is copied."""
    assert isinstance(world, nn.Module), "what is learned is a module"
    other = copy.copy(world)
    other._modules = dict(world._modules, dynamics=dynamics)
    other.forget()
    return other


def named(spec: WorldSpec, table: ActionTable) -> WorldSpec:
    """A spec with its table, whose codes are called by what they do; the game's own actions keep their names."""
    if not spec.latent:
        return replace(spec, table=table)
    names = tuple(f"latent {code} · {label}" for code, label in enumerate(table.labels))
    return replace(spec, table=table, actions=names)


def provisional_table(cache: TokenCache, codes: int) -> ActionTable:
    """What the codes do, from the first episodes of real play, whose codes were read for the dynamics anyway."""
    assert cache.codes is not None, "the codes are read before the dynamics train"
    episodes = cache.windows.episodes
    game = episodes[0][0].manifest.game  # of a mixture the first one
    own = [index for index, (dataset, _) in enumerate(episodes) if dataset.manifest.game == game]
    chosen = [index for index in own if episodes[index][1].source == "real"] or own
    plays, left, probe = list[Track](), MOST_FRAMES, None
    for index in chosen:
        dataset, ref = episodes[index]
        frames = min(ref.frames, left)
        if frames < 2:
            break
        episode, first = dataset.read(ref, 0, frames), cache.firsts[index]
        manifest = dataset.manifest
        probe = probe_for(manifest.game, manifest.height, manifest.width)
        objects, names = objects_of(episode, dataset, probe)
        read = np.asarray(cache.codes[first : first + frames - 1])
        plays.append(Track(codes=read, actions=episode.actions, objects=objects, names=names, episode=index))
        left -= frames
    return table_of(plays, episodes[0][0].manifest.action_names, codes, probe=probe)
