"""Small live dreams for the menu: worlds are loaded and stepped in a thread of their own, so that the menu never waits.

The selected world comes first and moves fastest. Few worlds stay loaded; the others keep their last picture.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from app import library, shelf
from app.controllers import RandomHeld
from app.session import picture
from app.timeline import Frame
from models import checkpoint
from models.world import State, Window, World

SELECTED_FPS, OTHER_FPS = 8.0, 2.0
SHARE = 0.25  # of a core that the steps of one world may take
MOST = 3  # worlds that stay loaded
HEAVIEST = 256 << 20  # bytes of weights; a heavier world stays a still
LENGTH = 300  # frames before a dream begins anew from the next start clip
IDLE_S = 0.5  # between two looks when there is nothing to do
PATIENCE_S = 0.9  # how long close() waits for the thread


class Daydream:
    """One loaded world, played by chance. due: when its next frame is wanted, on the caller's clock."""

    def __init__(self, world: World, clips: Sequence[Tensor], seed: int) -> None:
        self.world, self.due = world, 0.0
        self._clips = clips
        self._luck = torch.Generator().manual_seed(seed)
        self._hand = RandomHeld(len(world.spec.actions), seed)
        self._begun, self._steps = 0, 0
        self._state: State = {}
        self._begin()

    def step(self) -> Frame:
        """The next frame, uint8 [H, W, 3]; after LENGTH of them that of a new beginning."""
        with torch.inference_mode():
            if self._steps >= LENGTH:
                self._begin()
            else:
                action = torch.tensor([self._hand.act()])
                self._state = self.world.step(self._state, action, self._luck)
                self._steps += 1
            return picture(self.world.render(self._state))

    def _begin(self) -> None:
        clip = self._clips[self._begun % len(self._clips)]
        with torch.inference_mode():
            self._state = self.world.reset(Window(clip[None]))
        self._begun += 1
        self._steps = 0


class Previews:
    """Pictures of worlds, by name. All that a menu calls returns at once; the work is done between start and close."""

    def __init__(self, folders: Mapping[str, Path], *, most: int = MOST) -> None:
        self._folders, self._most = dict(folders), most
        self._frames: dict[str, Frame] = {}
        self._problems: dict[str, str] = {}
        self._dreams: dict[str, Daydream] = {}
        self._heavy: set[str] = set()
        self._selected = ""
        self._wanted: tuple[str, ...] = ()  # the selected one first
        self._wake, self._stop = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="previews", daemon=True)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def watch(self, visible: Sequence[str], selected: str) -> None:
        """Say which worlds are on the screen and which of them is selected."""
        wanted = tuple(dict.fromkeys(name for name in (selected, *visible) if name in self._folders))
        if (wanted, selected) != (self._wanted, self._selected):
            self._wanted, self._selected = wanted, selected
            self._wake.set()

    def frame(self, name: str) -> Frame | None:
        """The present picture of a world, uint8 [H, W, 3]; None while there is none."""
        return self._frames.get(name)

    def problem(self, name: str) -> str:
        """Why a world could not be opened, or an empty string."""
        return self._problems.get(name, "")

    def world(self, name: str) -> World | None:
        """The world itself, if it happens to be loaded."""
        dream = self._dreams.get(name)
        return None if dream is None else dream.world

    @property
    def loaded(self) -> tuple[str, ...]:
        """Names of the worlds that are in memory now."""
        return tuple(self._dreams)

    def close(self) -> None:
        """Stop working. A world that is being loaded this moment is finished in the background and forgotten."""
        self._stop.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(PATIENCE_S)

    def turn(self, now: float) -> float:
        """Do the one thing that is most wanted at this time. Returns the seconds until there is more to do."""
        wanted = self._wanted
        for name in wanted:
            if name not in self._frames and name not in self._problems:
                self._still(name)
                return 0.0
        nearest = [name for name in wanted if name not in self._problems and name not in self._heavy][: self._most]
        for name in nearest:
            if name not in self._dreams:
                self._load(name, nearest)
                return 0.0
        moving = [name for name in wanted if name in self._dreams]
        if not moving:
            return IDLE_S
        name = min(moving, key=lambda one: self._dreams[one].due)
        if self._dreams[name].due > now:
            return min(IDLE_S, self._dreams[name].due - now)
        self._advance(name, now)
        return 0.0

    def _run(self) -> None:
        torch.set_num_threads(1)
        while not self._stop.is_set():
            pause = self.turn(time.monotonic())
            if pause > 0.0:
                self._wake.wait(pause)
                self._wake.clear()

    def _still(self, name: str) -> None:
        """What the first dream will begin with."""
        try:
            self._frames[name] = picture(checkpoint.load_starts(self._folders[name])[0][-1:])
        except Exception as problem:  # nobody stands above a thread: whatever is wrong with a world is said on its tile
            self._problems[name] = shelf.reason(problem, self._folders[name])

    def _load(self, name: str, nearest: Sequence[str]) -> None:
        folder = self._folders[name]
        far = [other for other in self._dreams if other not in nearest]
        while len(self._dreams) >= self._most and far:
            del self._dreams[far.pop(0)]
        try:
            if (folder / "model.safetensors").stat().st_size > HEAVIEST:
                self._heavy.add(name)
                return
            world = library.open_world(folder, "cpu")
            self._dreams[name] = Daydream(world, checkpoint.load_starts(folder), seed=0)
        except Exception as problem:  # as above
            self._problems[name] = shelf.reason(problem, folder)

    def _advance(self, name: str, now: float) -> None:
        """Step one dream, and see to it that a slow world leaves time for everything else."""
        dream, began = self._dreams[name], time.perf_counter()
        try:
            self._frames[name] = dream.step()
        except Exception as problem:  # as above
            self._problems[name] = shelf.reason(problem, self._folders[name])
            del self._dreams[name]
            return
        took = time.perf_counter() - began
        fps = SELECTED_FPS if name == self._selected else OTHER_FPS
        dream.due = now + max(1.0 / fps, took / SHARE)
