"""The parts of a world in order, each frozen when done: tokenizer → latent actions → dynamics → world."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.checkpoint import save_world
from models.dynamics.warp import WarpFamily
from models.given_actions import RealActions
from models.motion_actions import HISTORY, MotionActionConfig
from models.objectives import Look
from models.patch_actions import PatchActionModel
from models.tokenizer import PatchTokenizer, TokenizerConfig
from models.world import WorldSpec
from training.action_table import measure_action_table
from training.augment import check_augment
from training.balance import Draw, acts, drawing
from training.cards import facts_of, write_card
from training.loop import LoopConfig, Part, train_part
from training.mixture import check_weights, weighted
from training.presets import Experiment
from training.runs import Run
from training.snapshots import LATEST, Learned, Snapshots, named, provisional_table
from training.token_cache import TokenCache
from training.validation import Validation
from training.windows import Windows

PARTS = ("tokenizer", "lam", "dynamics")
MOST_TABLED = 60_000
"""Frames of which it is told what the codes go with."""
COUNTED = (".prior", ".changes.seen", ".changes.most", ".changes.opens")
"""Ends of the names of what a world has not by weights but by counting, and may lack when it is gone on from."""
BESIDE = ".objectives."
"""In the names of what only judges what is told, and may come or go when a world is gone on from."""
Say = Callable[[str], None]


class Recipe(Protocol):
    """How the parts of a family are trained: a module with these three."""

    def train_tokenizer(self, pipeline: Pipeline) -> None: ...  # noqa: D102
    def train_lam(self, pipeline: Pipeline) -> None: ...  # noqa: D102
    def train_dynamics(self, pipeline: Pipeline) -> None: ...  # noqa: D102


def recipe_for(experiment: Experiment) -> Recipe:
    """The recipe of an experiment's family."""
    from training import frame_recipe, latent_recipe, token_recipe  # which build on this module

    if isinstance(experiment.family, WarpFamily):
        return cast(Recipe, frame_recipe)
    tokens = isinstance(experiment.family.tokenizer, TokenizerConfig)
    return cast(Recipe, token_recipe if tokens else latent_recipe)


@dataclass(frozen=True, slots=True)
class Data:
    """What a run learns from and what it is looked at with."""

    train: Windows
    held_out: Windows

    def spec(self) -> WorldSpec:
        """The facts of the data as a world's spec."""
        found = self.train.datasets[0].manifest
        return WorldSpec(game=found.game, height=found.height, width=found.width, fps=found.fps)


def check(experiment: Experiment, data: Data, until: str = "dynamics") -> None:
    """Raise ValueError for what would stop a run only later: sizes that do not fit, episodes that are too short."""
    if experiment.seed < 0:
        raise ValueError(f"seed must be 0 or more, found {experiment.seed}")
    if experiment.weights:
        check_weights(experiment.weights, len(data.train.datasets))
    tokenizer = experiment.family.tokenizer.build(spec_of(experiment, data))
    check_augment(experiment.augment, data.train.datasets, trained=not tokenizer.fits)
    actions = experiment.family.latent_actions
    real = isinstance(actions, RealActions)
    least = {"tokenizer": 1, **experiment.family.least_lengths()}
    exact = {"dynamics"} if isinstance(experiment.family, WarpFamily) else set()
    if isinstance(actions, MotionActionConfig):
        least["lam"], exact = HISTORY + 1, {*exact, "lam"}
    for name in PARTS[: PARTS.index(until) + 1]:
        length = getattr(experiment, name).length
        if (name == "tokenizer" and tokenizer.fits) or (name == "lam" and real):
            continue
        if length < least[name]:
            raise ValueError(f"windows of {length} frames are too short; use --set {name}.length={least[name]} or more")
        if getattr(experiment, name).balance == "codes" and name != "dynamics":
            raise ValueError(f"{name}.balance=codes: there are no codes before they are learned; use motion or actions")
        if name in exact and length != least[name]:
            raise ValueError(f"windows of {length} frames do not fit; use --set {name}.length={least[name]}")
        windows = data.train.played_by(experiment.lam_behaviours) if name == "lam" else data.train
        if getattr(experiment, name).balance == "actions":
            acts(windows)
        windows.draw(np.random.default_rng(0), 1, length)


def spec_of(experiment: Experiment, data: Data) -> WorldSpec:
    """The spec of a world to be trained; where actions are real it names them. Raises ValueError where games of a
    mixture have other ones."""
    usual = data.spec()  # a dream begins from as many frames as the dynamics look back at, at least
    spec = replace(usual, context=max(usual.context, getattr(experiment.family.dynamics, "history", 0)))
    if not isinstance(experiment.family.latent_actions, RealActions):
        return spec
    if unknown := [dataset for dataset in data.train.datasets if not dataset.manifest.knows_actions]:
        raise ValueError(f"nobody wrote down the actions of {unknown[0].folder}; use --actions latent")
    names, *others = (dataset.manifest.action_names for dataset in data.train.datasets)
    if unlike := [found for found in others if found != names]:
        found = f"{', '.join(names)} and {', '.join(unlike[0])}"
        raise ValueError(f"the games have different actions, {found}; --mix them under --actions latent")
    return replace(spec, actions=names)


class Pipeline:
    """One run. `say` gets a line at the beginning and end of every part.

    begin: a world of the same family whose tokenizer and latent actions are kept and whose dynamics go on
    learning; only_count: its weights stay as they are, and only what is counted in the data is new; look: how
    differently two frames look, for dynamics that learn from it. Raises ValueError where something does not fit.
    """

    def __init__(
        self,
        experiment: Experiment,
        data: Data,
        run: Run,
        device: str = "cpu",
        autocast: bool = False,
        compiled: bool = False,
        say: Say = lambda line: None,
        begin: Learned | None = None,
        only_count: bool = False,
        look: Look | None = None,
    ) -> None:
        dynamics = experiment.family.dynamics
        objectives = getattr(dynamics, "objectives", None)
        if objectives is not None and objectives.perceptual > 0 and look is None:
            raise ValueError("perceptual > 0 needs the weights of LPIPS; give their folder with --weights-dir")
        self.look = look
        self.experiment, self.run, self.device = experiment, run, device
        self.data = Data(weighted(data.train, experiment.weights), data.held_out)
        self.autocast, self.compiled, self.say = autocast, compiled, say
        torch.manual_seed(experiment.seed)
        self.world: Learned = experiment.family.build(spec_of(experiment, data)).to(device)
        self.begins, self.only_count = begin is not None, only_count
        if begin is not None:
            _take_over(begin, self.world)

    def train(self, until: str = "dynamics") -> None:
        """Train all parts up to and including `until`; finished ones are read back."""
        for name in PARTS[: PARTS.index(until) + 1]:
            begin = time.monotonic()
            if self.run.part_done(name):
                self.say(f"{name}: done before")
                self._read_back(name)
            elif self.begins and name != "dynamics":
                self.run.save_part(name, self._module(name))
                self.say(f"{name}: as it was")
            else:
                try:
                    getattr(recipe_for(self.experiment), f"train_{name}")(self)
                finally:
                    with contextlib.suppress(OSError):  # a full disk may not hide why a part ended
                        self.run.add_minutes(name, (time.monotonic() - begin) / 60)
                self.run.save_part(name, self._module(name))
                self.say(f"{name}: {self.run.minutes().get(name, 0.0):.1f} minutes")
            if name in ("tokenizer", "lam"):
                self._module(name).requires_grad_(False)  # who learns with it does not change it
                self.world.link()

    def finish(self, folder: Path, extra: dict[str, Any]) -> Path:
        """Measure what the codes do, choose start clips, and write the world."""
        self.world.eval()
        play = self.data.train.of_game(self.world.spec.game).real().some(MOST_TABLED)
        table = measure_action_table(self.world, play)
        world = self.world.with_spec(named(self.world.spec, table))
        facts = facts_of(self.experiment, self.data, self.run.minutes(), extra)
        starts = start_clips(self.data.held_out.of_game(world.spec.game), world.spec.context)
        return save_world(world, folder, facts, starts, write_card(world.spec, facts))

    def _module(self, name: str) -> nn.Module:
        return {
            "tokenizer": self.world.tokenizer, "lam": self.world.latent_actions, "dynamics": self.world.dynamics,
        }[name]  # fmt: skip

    def _read_back(self, name: str) -> None:
        if name == "tokenizer" and isinstance(self.world.tokenizer, PatchTokenizer):
            self.world.tokenizer.make_room(len(self.run.read_part(name).get("book.patches", ())))
        lam = self.world.latent_actions
        if name == "lam" and isinstance(lam, PatchActionModel):
            lam.make_room(len(self.run.read_part(name).get("eyes.book.patches", ())))
        self.run.load_part(name, self._module(name))
        self._module(name).eval()

    def fit(self, part: Part, config: LoopConfig) -> None:
        """Train one part by gradient."""
        if self.compiled:
            logging.getLogger("torch._dynamo").setLevel(logging.ERROR)  # it tells at length of every shape
            for module in part.module.modules():
                if type(module).__name__ == "STBlock":
                    module.compile(dynamic=False)
        train_part(part, config, self.run, self.experiment.seed, self.autocast)

    def drawing(self, windows: Windows, config: LoopConfig, codes: NDArray[np.int64] | None = None) -> Draw:
        """What chooses windows as the part's config says."""
        return drawing(windows, config.balance, self.cache, codes)

    @property
    def cache(self) -> Path:
        """The folder for what is computed once a run."""
        return self.run.folder / "cache"

    def fit_dynamics(self, part: Part, config: LoopConfig, codes: TokenCache) -> None:
        """Train the dynamics, with a world to play at every checkpoint."""
        snapshots, validation = self._snapshots(codes, config.steps), self._validation()

        def kept(module: nn.Module, step: int, done: bool) -> None:
            if snapshots is not None:
                snapshots.keep(module, step, done)
            if validation is not None:
                validation.saw(module, step, done)

        self.fit(replace(part, kept=kept), config)

    def _validation(self) -> Validation | None:
        """What judges the next frame at checkpoints; None where the held-out episodes are too short for it."""
        try:
            return Validation(self.world, self.data.held_out.of_game(self.world.spec.game), self.run)
        except ValueError as problem:
            self.say(f"the next frame of held-out play is not judged: {problem}")
            return None

    def _snapshots(self, cache: TokenCache, steps: int) -> Snapshots | None:
        """What writes a playable world at every checkpoint; None where there is nothing to begin it from."""
        try:
            held_out = self.data.held_out.of_game(self.world.spec.game)
            starts = start_clips(held_out, self.world.spec.context, count=4)
        except ValueError as problem:
            self.say(f"no snapshots to play while this trains: {problem}")
            return None
        table = provisional_table(cache, self.world.dynamics.actions)
        return Snapshots(self.world, starts, table, self.run.folder / LATEST, steps, self.say)


def _take_over(begin: Learned, world: Learned) -> None:
    """The weights of one world for another one. Raises ValueError where they do not fit."""
    for name in ("game", "height", "width"):
        if (found := getattr(begin.spec, name)) != (want := getattr(world.spec, name)):
            raise ValueError(f"the world to go on from has {name} {found}, the data have {want}; they must agree")
    had, fresh = begin.state_dict(), world.state_dict()
    counted = {key for key in fresh if key not in had and (key.endswith(COUNTED) or BESIDE in key)}
    kept = {key: value for key, value in had.items() if key in fresh or BESIDE not in key}
    try:
        world.load_state_dict({**kept, **{key: fresh[key] for key in counted}})
    except RuntimeError as error:
        raise ValueError("--set may not change the sizes of the world to go on from") from error
    world.link()


def start_clips(windows: Windows, context: int, count: int = 12, seed: int = 0) -> list[Tensor]:
    """Clips uint8 [T, C, H, W] of real play in which something moves at every step, spread over the episodes."""
    windows = windows.real()
    rng = np.random.default_rng(seed)
    clips: list[Tensor] = []
    for _ in range(50 * count):
        frames = windows.read(windows.draw(rng, 1, context), context).frames[0]
        if bool((frames[1:] != frames[:-1]).flatten(1).any(dim=1).all()):
            clips.append(frames)
        if len(clips) == count:
            break
    if not clips:
        raise ValueError("nothing moves in the held-out episodes; look at the data: dreamcade inspect DATASET")
    return clips
