"""One playthrough: a world, its present state, and what was pressed. No window, no command line.

The same world, start, seed and actions give the same frames, bit for bit on one machine.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.world import Samples, Sampling, ShowsUncertainty, State, Window, World

Frame = NDArray[np.uint8]
HISTORY = 100_000  # actions kept; older ones are forgotten, so that a long evening fits in memory
TIMES = 30  # steps in the running mean of the model's time


class Session:
    """A world being played, one dreamed frame at a time.

    starts: clips of real frames to begin from, each uint8 [T, C, H, W] with T >= spec.context.
    start: which of them; None lets the seed choose. sampling: dials for a world that has them.
    """

    def __init__(
        self,
        world: World,
        starts: Sequence[Tensor],
        *,
        seed: int = 0,
        start: int | None = None,
        sampling: Sampling | None = None,
        device: str | torch.device = "cpu",
    ) -> None:
        if not starts:
            raise ValueError(f"world '{world.spec.game}' brought no start frames; give a picture with --prompt")
        self.world = world
        self.device = torch.device(device)
        self._starts = [_checked(clip, world) for clip in starts]
        self._rng = torch.Generator(device=self.device)
        self._times: deque[float] = deque(maxlen=TIMES)
        if sampling is not None:
            self.set_sampling(sampling)
        if start is None:
            start = int(np.random.default_rng([seed, 1]).integers(len(starts)))
        self.state: State = {}
        self.frame: Frame = np.zeros((1, 1, 3), np.uint8)
        self.history: deque[int] = deque(maxlen=HISTORY)
        self.steps = 0
        self.reset(start=start, seed=seed)

    @property
    def starts(self) -> int:
        """How many start clips there are."""
        return len(self._starts)

    @property
    def sampling(self) -> Sampling | None:
        """The dials as they stand, or None for a world without."""
        return self.world.sampling if isinstance(self.world, Samples) else None

    @property
    def model_ms(self) -> float:
        """Mean time of the last steps, in milliseconds: dream one frame and decode it."""
        return 1000.0 * sum(self._times) / len(self._times) if self._times else 0.0

    @property
    def last_ms(self) -> float:
        """Time of the last step, in milliseconds."""
        return 1000.0 * self._times[-1] if self._times else 0.0

    def set_sampling(self, sampling: Sampling) -> None:
        """Turn the dials; the dream goes on from where it is."""
        if not isinstance(self.world, Samples):
            raise ValueError(f"world '{self.world.spec.game}' has no sampling dials; leave out steps and temperature")
        self.world = self.world.with_sampling(sampling)

    def reset(self, start: int | None = None, seed: int | None = None) -> None:
        """Begin again: from clip `start` (None: the same one), with `seed` (None: the same one)."""
        if start is not None:
            if not 0 <= start < len(self._starts):
                raise ValueError(f"start {start} is outside [0, {len(self._starts)})")
            self.start = start
        if seed is not None:
            self.seed = seed
        self._rng.manual_seed(self.seed)
        self.history.clear()
        self.steps = 0
        with torch.inference_mode():
            window = Window(self._starts[self.start][None].to(self.device))
            self.state = self.world.reset(window, self._rng)
            self.frame = _picture(self.world.render(self.state))

    def reseed(self, seed: int) -> None:
        """Go on from the present frame with other luck."""
        self.seed = seed
        self._rng.manual_seed(seed)

    def step(self, action: int) -> Frame:
        """Dream one frame ahead and return it: uint8 [H, W, 3]."""
        ids = len(self.world.spec.actions)
        if not 0 <= action < ids:
            raise ValueError(f"action {action} is outside [0, {ids})")
        began = time.perf_counter()
        with torch.inference_mode():
            self.state = self.world.step(self.state, torch.tensor([action], device=self.device), self._rng)
            self.frame = _picture(self.world.render(self.state))
        self._times.append(time.perf_counter() - began)
        self.history.append(action)
        self.steps += 1
        return self.frame

    def rehearse(self) -> float:
        """Dream one frame, throw it away, and return the seconds it took. The dream itself is untouched."""
        rng = torch.Generator(device=self.device)
        began = time.perf_counter()
        with torch.inference_mode():
            _picture(self.world.render(self.world.step(self.state, torch.tensor([0], device=self.device), rng)))
        return time.perf_counter() - began

    def uncertainty(self) -> NDArray[np.float32] | None:
        """Where the world guessed: entropy in nats [rows, columns]; None if it cannot say or has not dreamed yet."""
        if not isinstance(self.world, ShowsUncertainty) or self.steps == 0:
            return None
        with torch.inference_mode():
            values: NDArray[np.float32] = self.world.uncertainty(self.state)[0].float().cpu().numpy()
        return values


def dream(session: Session, actions: Iterable[int]) -> Iterator[Frame]:
    """The present frame, then one for each action: N actions give N + 1 frames."""
    yield session.frame
    for action in actions:
        yield session.step(action)


def _checked(clip: Tensor, world: World) -> Tensor:
    """A start clip that this world can begin from, or a ValueError that says why not."""
    spec = world.spec
    size = (spec.channels, spec.height, spec.width)
    if clip.dtype != torch.uint8 or clip.ndim != 4 or tuple(clip.shape[1:]) != size:
        found = f"{clip.dtype} {list(clip.shape)}"
        raise ValueError(f"start clip of '{spec.game}' must be uint8 [T, {', '.join(map(str, size))}], found {found}")
    if len(clip) < spec.context:
        raise ValueError(f"start clip has {len(clip)} frames but '{spec.game}' needs a context of {spec.context}")
    return clip


def _picture(frames: Tensor) -> Frame:
    """uint8 [1, C, H, W] on any device → uint8 [H, W, 3], grey made into three channels."""
    picture = frames[0].permute(1, 2, 0).cpu().numpy()
    if picture.shape[-1] == 1:
        picture = np.repeat(picture, 3, axis=-1)
    return np.ascontiguousarray(picture)
