"""Agents from outside play while we record: a Python function, or a trained network from a file.

    agent:my_players:clever              the function `clever` of a module that Python finds
    agent:players/mine.py:clever         the function `clever` of this file
    agent:ppo-breakout.zip               a checkpoint of Stable-Baselines3: PPO, A2C or DQN
    agent:dqn-breakout.pt                a network as TorchScript, as one exports it from CleanRL

A function takes the frame as it is stored, uint8 [H, W, 3], and a generator, and gives an action id, or float32 [A]
where a game takes numbers; what it decides
must come from these two alone if the same seed is to give the same recording. A network gets what such networks are
trained on: the last 4 frames, grey, 84x84, the first frame of an episode repeated at its start. A TorchScript
network takes them as float32 [1, 4, 84, 84] from 0 to 255 and gives one number for each action, of which the largest
wins. The frames are made from the stored ones, so record at --size 208x160 where an agent's eyes must be good.

A share of an agent's decisions are random holds, as with a scripted player: play that follows from the picture alone
shows no model what an action does.

Agents are code. They run with all the rights of whoever records, also those in files of checkpoints.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
import zipfile
from collections import deque
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from collectors.behaviours import Seen, Sticky
from collectors.games import Action, Actions, Game
from collectors.machines import checked_id, checked_vector

Frame = NDArray[np.uint8]
Play = Callable[[Frame, np.random.Generator], Any]
Network = Callable[[NDArray[np.uint8]], int]

SIDE, STACK = 84, 4  # pixels; frames
TORCH_FILES = (".pt", ".pth", ".ts", ".torchscript")
FORMS = "module:function, file.py:function, a .zip of Stable-Baselines3 or a .pt of TorchScript"
NOISE = 0.15  # share of the decisions that are random holds instead
WARNING = "agents are code, those in checkpoint files too: only use what you trust"


class Agent(Sticky):
    """Plays as an agent decides, each step anew; a share NOISE of the decisions are random holds as in Sticky."""

    def __init__(self, which: str, game: Game) -> None:
        super().__init__(game.actions)
        self.which = which
        self._begin = _loaded(which, game.actions)

    def reset(self, rng: np.random.Generator) -> None:
        """Start an episode."""
        super().reset(rng)
        self._look, self._play = self._begin()

    def act(self, seen: Seen) -> Action:
        """What the agent does, or the held action; it sees every frame."""
        self._look(seen.frame)
        return super().act(seen)

    def _choose(self, seen: Seen) -> None:
        if self._rng.random() < NOISE:
            super()._choose(seen)
            return
        self._action, self._left = self._checked(self._play(seen.frame, self._rng)), 1

    def _checked(self, found: Any) -> Action:
        """An answer as an action, or a ValueError."""
        try:
            number = np.asarray(found)
            if self.actions.continuous:
                return checked_vector(number.astype(np.float32), self.actions.size)
            if number.size == 1 and np.issubdtype(number.dtype, np.integer):
                return checked_id(int(number.item()), self.actions.size)
        except (ValueError, TypeError):
            pass
        size = self.actions.size
        wanted = f"{size} numbers in [-1, 1]" if self.actions.continuous else f"an id in [0, {size})"
        raise ValueError(f"agent '{self.which}' answered {found!r}, expected {wanted}")


class Stacked:
    """What a network looks at: the last frames, grey and small, older first."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._frames: deque[Frame] = deque(maxlen=STACK)

    def look(self, frame: Frame) -> None:
        """The next frame, uint8 [H, W, 3]."""
        grey = cv2.resize(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        self._frames.extend([grey] * (1 if self._frames else STACK))

    def play(self, frame: Frame, rng: np.random.Generator) -> int:
        """What the network does."""
        return self._network(np.stack(self._frames))


Begin = Callable[[], tuple[Callable[[Frame], None], Play]]
"""Begins an episode: what to show every frame to, and what to ask."""


@lru_cache(maxsize=8)
def _loaded(which: str, actions: Actions) -> Begin:
    """Load an agent, once a process. Raises ValueError or FileNotFoundError in one line when it cannot be had."""
    path = Path(which)
    if path.suffix == ".zip" or path.suffix in TORCH_FILES:
        if not path.is_file():
            raise FileNotFoundError(f"agent file not found: {which}; expected {FORMS}")
        if actions.continuous:
            raise ValueError(f"agent {which} is a network that gives ids; here an action is {actions.size} numbers")
        network = (_stable_baselines if path.suffix == ".zip" else _torchscript)(path, actions.size)

        def begin() -> tuple[Callable[[Frame], None], Play]:
            eyes = Stacked(network)
            return eyes.look, eyes.play

        return begin
    play = _function(which)
    return lambda: (_look_away, play)


def _look_away(frame: Frame) -> None:
    """A function sees only the frame that it is asked about."""


def _function(which: str) -> Play:
    """The function that `module:function` or `file.py:function` names."""
    place, colon, name = which.rpartition(":")
    if not colon or not place or not name.isidentifier():
        raise ValueError(f"agent must be {FORMS}; found '{which}'")
    module = _file_module(Path(place)) if place.endswith(".py") else _module(place)
    found = getattr(module, name, None)
    if not callable(found):
        raise ValueError(f"there is no function '{name}' in {place}, which agent '{which}' names")
    play: Play = found
    return play


def _module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as problem:
        hint = f"name the file instead, as in agent:{name.replace('.', '/')}.py:function"
        raise ValueError(f"agent module '{name}' cannot be imported ({problem}); {hint}") from problem


def _file_module(path: Path) -> ModuleType:
    if not path.is_file():
        raise FileNotFoundError(f"agent file not found: {path}")
    spec = importlib.util.spec_from_file_location(f"agent_{path.stem}", path)
    assert spec is not None, "a .py file has a loader"
    assert spec.loader is not None, "a .py file has a loader"
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _package(name: str, install: str, path: Path) -> ModuleType:
    """A package that only a file of its own kind needs."""
    if importlib.util.find_spec(name) is None:
        raise ValueError(f"agent {path} needs the package {name}, which is missing; get it with: pip install {install}")
    return importlib.import_module(name)


def _stable_baselines(path: Path, actions: int) -> Network:
    """A checkpoint of Stable-Baselines3. Its frames may have their channels first or last."""
    baselines = _package("stable_baselines3", "stable-baselines3", path)
    name = _algorithm(path)
    try:
        model = getattr(baselines, name).load(path, device="cpu")
    except (RuntimeError, ValueError, KeyError, AttributeError, TypeError, AssertionError, ImportError) as problem:
        reason = str(problem).strip().partition("\n")[0]
        raise ValueError(f"agent {path} cannot be loaded as {name} of Stable-Baselines3: {reason}") from problem
    shape, count = tuple(model.observation_space.shape), getattr(model.action_space, "n", None)
    if shape not in ((STACK, SIDE, SIDE), (SIDE, SIDE, STACK)) or count != actions:
        found = f"{list(shape)} and {count} actions"
        raise ValueError(f"agent {path} must take [{STACK}, {SIDE}, {SIDE}] and have {actions} actions, found {found}")

    def network(stack: NDArray[np.uint8]) -> int:
        seen = stack if shape[0] == STACK else np.moveaxis(stack, 0, -1)
        return int(np.asarray(model.predict(seen, deterministic=True)[0]).item())

    return network


def _algorithm(path: Path) -> str:
    """Which algorithm wrote a checkpoint, by the settings in it; nothing in it is run for that."""
    try:
        with zipfile.ZipFile(path) as archive:
            settings = json.loads(archive.read("data"))
    except (OSError, zipfile.BadZipFile, KeyError, ValueError) as problem:
        raise ValueError(f"agent {path} is no checkpoint of Stable-Baselines3 ({problem})") from problem
    for name, sign in (("PPO", "clip_range"), ("DQN", "exploration_fraction"), ("A2C", "normalize_advantage")):
        if isinstance(settings, dict) and sign in settings:
            return name
    raise ValueError(f"agent {path} was made by an algorithm that is not played here; expected PPO, A2C or DQN")


def _torchscript(path: Path, actions: int) -> Network:
    """A network as TorchScript. It is tried out at once, so that a wrong one is known before anything is recorded."""
    torch = _package("torch", "torch", path)
    try:
        script = torch.jit.load(str(path), map_location="cpu").eval()
    except (RuntimeError, ValueError, OSError) as problem:
        reason = str(problem).strip().splitlines()[0]
        raise ValueError(f"agent {path} is not TorchScript ({reason}); write it with torch.jit.save") from problem

    def scores(stack: NDArray[np.uint8]) -> NDArray[np.float32]:
        with torch.inference_mode():
            found = script(torch.from_numpy(stack[None].astype(np.float32)))
        return np.asarray((found[0] if isinstance(found, tuple) else found).float())

    wanted = f"a float32 [1, {STACK}, {SIDE}, {SIDE}] and give [1, {actions}]"
    try:
        shape = scores(np.zeros((STACK, SIDE, SIDE), np.uint8)).shape
    except RuntimeError as problem:
        reason = str(problem).strip().splitlines()[-1]
        raise ValueError(f"agent {path} must take {wanted}; it fails: {reason}") from problem
    if shape != (1, actions):
        raise ValueError(f"agent {path} must take {wanted}, found {list(shape)}")
    return lambda stack: int(scores(stack)[0].argmax())
