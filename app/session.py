"""One playthrough: a world, its present state, and its past. No window, no command line.

The same world, start, seed and actions give the same frames, bit for bit on one machine. One may go back
and play on from there: see `timeline`. A step can be thought in another thread and accepted in this one.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from app.timeline import Dials, Frame, Origin, Take, find_take, generator, prune
from models.world import Samples, Sampling, ShowsUncertainty, State, Window, World

T = TypeVar("T")
TIMES = 30  # steps in the running mean of the model's time


@dataclass(frozen=True, slots=True)
class Thought:
    """A step that was thought and not yet taken: the state after `action` from the state `source`, under dials."""

    source: State
    dials: Dials
    action: int
    state: State
    frame: Frame
    seconds: float


def at_once(job: Callable[[], T]) -> T:
    """Do something here and now."""
    return job()


class Session:
    """A world being played, one dreamed frame at a time.

    starts: clips of real frames to begin from, each uint8 [T, C, H, W] with T >= spec.context.
    start: which of them; None lets the seed choose. sampling: dials for a world that has them. world_id: what
    tells these weights from others, see `checkpoint.world_id`; kept in saves.

    `aside` does longer work and waits for it; an engine puts its own thread there, see `thinker`.
    """

    aside: Callable[[Callable[[], Any]], Any] = staticmethod(at_once)

    def __init__(
        self,
        world: World,
        starts: Sequence[Tensor],
        *,
        seed: int = 0,
        start: int | None = None,
        sampling: Sampling | None = None,
        device: str | torch.device = "cpu",
        world_id: str = "",
    ) -> None:
        if not starts:
            raise ValueError(f"world '{world.spec.game}' brought no start frames; give a picture with --prompt")
        self.world, self.world_id = world, world_id
        self.device = torch.device(device)
        self._starts = [checked_clip(clip, world) for clip in starts]
        self._times: deque[float] = deque(maxlen=TIMES)
        self.seed = seed
        if sampling is not None:
            self.world = _dialled(world, sampling)
        if start is None:
            start = int(np.random.default_rng([seed, 1]).integers(len(starts)))
        self.state: State = {}
        self.frame: Frame = np.zeros((1, 1, 3), np.uint8)
        self.steps = 0
        self.takes: list[Take] = []
        self.take: Take  # the present one, made by `reset`
        self._made = 0
        self.reset(start=start)

    @property
    def starts(self) -> int:
        """How many start clips there are."""
        return len(self._starts)

    @property
    def sampling(self) -> Sampling | None:
        """The dials as they stand, or None for a world without."""
        return self.world.sampling if isinstance(self.world, Samples) else None

    @property
    def dials(self) -> Dials:
        """Seed and sampling of the next step."""
        return Dials(self.seed, self.sampling)

    @property
    def last_action(self) -> int | None:
        """What the last step was made with, or None at a beginning."""
        take = self.take
        while not take.actions and take.origin is None and take.parent is not None:
            at = take.begin - take.parent.begin
            if at:
                return take.parent.actions[at - 1]
            take = take.parent
        return take.actions[-1] if take.actions else None

    @property
    def history(self) -> bytes:
        """The actions that led here since the dream last began from frames, one byte each."""
        return self.take.story().actions

    @property
    def model_ms(self) -> float:
        """Mean time of the last steps, in milliseconds: dream one frame and decode it."""
        return 1000.0 * sum(self._times) / len(self._times) if self._times else 0.0

    @property
    def last_ms(self) -> float:
        """Time of the last step, in milliseconds."""
        return 1000.0 * self._times[-1] if self._times else 0.0

    @property
    def oldest(self) -> int:
        """The first step that `peek` can show."""
        take = self.take
        while take.parent is not None and take.oldest == take.begin:
            take = take.parent
        return take.oldest

    def set_sampling(self, sampling: Sampling) -> None:
        """Turn the dials; the dream goes on from where it is."""
        self.world = _dialled(self.world, sampling)
        self.take.turn(self.dials)

    def twin(self) -> Session:
        """Another playthrough of the same world, from the same start, with the same dials."""
        return Session(
            self.world, self._starts, seed=self.seed, start=self.start, device=self.device, world_id=self.world_id
        )

    def reset(self, start: int | None = None, seed: int | None = None) -> None:
        """Begin anew: from clip `start` (None: the same one), with `seed` (None: the same one). Takes are kept."""
        if start is not None:
            if not 0 <= start < len(self._starts):
                raise ValueError(f"start {start} is outside [0, {len(self._starts)})")
            self.start = start
        self.seed = self.seed if seed is None else seed
        self.begin(Origin(self._starts[self.start]), step=0)

    def begin(self, origin: Origin, step: int | None = None) -> None:
        """Go on from given frames. step: what number that is; None for the present one, whose past stays."""
        checked_clip(origin.clip, self.world)
        actions = None if origin.actions is None else origin.actions[None].to(self.device)
        window = Window(origin.clip[None].to(self.device), actions)
        state, frame = self.aside(lambda: self._first(window))
        self._open(self.steps if step is None else step, state, frame, origin, self.take if step is None else None)

    def change_world(
        self, world: World, world_id: str, starts: Sequence[Tensor] | None = None, actions: Tensor | None = None
    ) -> None:
        """Go on from the last frames with other weights, under the same dials. The takes of before are forgotten: they
        cannot be dreamed again. starts: those of a world of another kind, which brings dials of its own, too; actions:
        as in `Origin`."""
        clip = self.recent(world.spec.context)
        sampling = self.sampling if starts is None else None
        if starts is not None:
            self._starts, self.start = [checked_clip(each, world) for each in starts], 0
        self.world = _dialled(world, sampling) if sampling is not None and isinstance(world, Samples) else world
        self.world_id, self.takes = world_id, []
        self.begin(Origin(clip, "sync", actions), step=self.steps)

    def join(self, other: Session, actions: Tensor | None = None) -> None:
        """Go on from the last frames of another session of the same game. actions: as in `Origin`."""
        self.begin(Origin(other.recent(self.world.spec.context), "sync", actions))

    def reseed(self, seed: int) -> None:
        """Go on from the present frame with other luck."""
        self.seed = seed
        self.take.turn(self.dials)

    def step(self, action: int) -> Frame:
        """Dream one frame ahead and return it: uint8 [H, W, 3]."""
        thought = self.think(action)
        self.accept(thought)
        return thought.frame

    def think(self, action: int) -> Thought:
        """What the next frame would be; nothing changes."""
        return self.plan(action)()

    def plan(self, action: int) -> Callable[[], Thought]:
        """The work of thinking the next step, from what is present now, to be done in any thread."""
        ids = len(self.world.spec.actions)
        if not 0 <= action < ids:
            raise ValueError(f"action {action} is outside [0, {ids})")
        world, source, dials, rng = self.world, self.state, self.dials, generator(self.seed, self.steps)

        def think() -> Thought:
            began = time.perf_counter()
            state, frame = self._dream(world, source, action, rng)
            return Thought(source, dials, action, state, frame, time.perf_counter() - began)

        return think

    def accept(self, thought: Thought) -> bool:
        """Take the step that was thought. False, and nothing happens, if present or dials are other ones by now."""
        if thought.source is not self.state or thought.dials != self.dials:
            return False
        self.state, self.frame = thought.state, thought.frame
        self.take.add(thought.action, thought.state, thought.frame)
        self.steps = self.take.end
        self._times.append(thought.seconds)
        return True

    def rehearse(self) -> float:
        """Dream one frame, throw it away, and return the seconds it took. The dream itself is untouched."""
        return self.think(0).seconds

    def peek(self, step: int) -> Frame:
        """The picture at an earlier step of what led here, without going there: uint8 [H, W, 3]."""
        return self.take.at(step).frame(step)

    def recent(self, frames: int) -> Tensor:
        """The last frames shown up to now, uint8 [T, C, H, W], the first repeated where there are too few."""
        spec = self.world.spec
        if self.take.origin is not None and self.take.end - self.take.begin + 1 < frames:
            clip = self.take.origin.clip
            own = [self._pixels(self.take.frame(step)) for step in range(self.take.begin + 1, self.take.end + 1)]
            joined = torch.cat([clip, torch.stack(own)]) if own else clip
        else:
            first = max(self.oldest, self.steps - frames + 1)
            joined = torch.stack([self._pixels(self.peek(step)) for step in range(first, self.steps + 1)])
        assert joined.shape[1] == spec.channels
        lack = frames - len(joined)
        return torch.cat([joined[:1].expand(lack, -1, -1, -1), joined]) if lack > 0 else joined[-frames:]

    def heard(self, frames: int) -> tuple[int, ...] | None:
        """The actions between the last frames shown, one fewer than these; None where not all of them are known."""
        found: list[int] = []
        take = self.take
        for step in range(self.steps, self.steps - frames + 1, -1):
            while step <= take.begin and take.parent is not None:
                take = take.parent
            if not take.begin < step <= take.end:
                return None
            found.append(take.actions[step - take.begin - 1])
        return tuple(found[::-1])

    def branch(self, step: int, state: State | None = None) -> Take:
        """Go back to an earlier step of what led here and make a new take of what follows.

        state: what `recall` gave for this step, where it was asked before.
        """
        if step == self.steps:
            return self.take
        state = self.recall(step) if state is None else state
        source = self.take.at(step)
        self._adopt(source.dials_at(step))
        self._open(step, state, source.frame(step), None, source)
        return self.take

    def recall(self, step: int) -> State:
        """The state at an earlier step, dreamed again from the last one kept before it; nothing changes.

        May run in another thread.
        """
        if not self.oldest <= step <= self.steps:
            raise ValueError(f"step {step} is outside [{self.oldest}, {self.steps}]")
        take = self.take.at(step)
        kept = take.before(step)
        state = take.states[kept]
        for at in range(kept, step):
            dials = take.dials_at(at)
            world = self.world if dials.sampling is None else _dialled(self.world, dials.sampling)
            rng = generator(dials.seed, at)
            state, _ = self._dream(world, state, take.actions[at - take.begin], rng)
        return state

    def enter(self, number: int) -> None:
        """Go on at the end of another take."""
        take = find_take(self.takes, number)
        self.take.rest()
        self.take, self.steps = take, take.end
        self._adopt(take.dials_at(take.end))
        self.state, self.frame = take.states[take.end], take.frame(take.end)

    def restore(self, take: Take) -> None:
        """Go on at the end of a take that comes from elsewhere, for example from a save; the present ones are kept."""
        self._made += 1
        take.number = self._made
        if self.takes:
            self.take.rest()
        self.takes.append(take)
        self.take = take
        prune(self.takes, take)
        self.enter(take.number)

    def uncertainty(self) -> NDArray[np.float32] | None:
        """Where the world guessed: entropy in nats [rows, columns]; None if it cannot say or has not dreamed yet."""
        if not isinstance(self.world, ShowsUncertainty) or not self.take.actions:
            return None
        with torch.inference_mode():
            values: NDArray[np.float32] = self.world.uncertainty(self.state)[0].float().cpu().numpy()
        return values

    def nbytes(self) -> int:
        """Memory that the past takes."""
        return sum(take.nbytes() for take in self.takes)

    def _dream(self, world: World, state: State, action: int, rng: torch.Generator) -> tuple[State, Frame]:
        with torch.inference_mode():
            after = world.step(state, torch.tensor([action], device=self.device), rng)
            return after, picture(world.render(after))

    def _first(self, window: Window) -> tuple[State, Frame]:
        with torch.inference_mode():
            state = self.world.reset(window)
            return state, picture(self.world.render(state))

    def _adopt(self, dials: Dials) -> None:
        self.seed = dials.seed
        if dials.sampling is not None:
            self.world = _dialled(self.world, dials.sampling)

    def _open(self, step: int, state: State, frame: Frame, origin: Origin | None, parent: Take | None) -> None:
        """Make a new take the present one."""
        if self.takes:
            self.take.rest()
        self._made += 1
        self.take = Take(self._made, step, frame.shape, [(step, self.dials)], parent, origin)
        self.take.begin_with(state, frame)
        self.takes.append(self.take)
        prune(self.takes, self.take)
        self.state, self.frame, self.steps = state, frame, step

    def _pixels(self, frame: Frame) -> Tensor:
        """A shown picture as the world has it: uint8 [C, H, W]."""
        pixels = torch.from_numpy(frame.copy()).permute(2, 0, 1)
        return pixels[: self.world.spec.channels]


def dream(session: Session, actions: Iterable[int]) -> Iterator[Frame]:
    """The present frame, then one for each action: N actions give N + 1 frames."""
    yield session.frame
    for action in actions:
        yield session.step(action)


def checked_clip(clip: Tensor, world: World) -> Tensor:
    """A start clip that this world can begin from, or a ValueError that says why not."""
    spec = world.spec
    size = (spec.channels, spec.height, spec.width)
    if clip.dtype != torch.uint8 or clip.ndim != 4 or tuple(clip.shape[1:]) != size:
        found = f"{clip.dtype} {list(clip.shape)}"
        raise ValueError(f"start clip of '{spec.game}' must be uint8 [T, {', '.join(map(str, size))}], found {found}")
    if len(clip) < spec.context:
        raise ValueError(f"start clip has {len(clip)} frames but '{spec.game}' needs a context of {spec.context}")
    return clip


def picture(frames: Tensor) -> Frame:
    """The first of uint8 [B, C, H, W] on any device → uint8 [H, W, 3], grey made into three channels."""
    frame = frames[0].permute(1, 2, 0).cpu().numpy()
    if frame.shape[-1] == 1:
        frame = np.repeat(frame, 3, axis=-1)
    return np.ascontiguousarray(frame)


def _dialled(world: World, sampling: Sampling) -> World:
    if not isinstance(world, Samples):
        raise ValueError(f"world '{world.spec.game}' has no sampling dials; leave out steps and temperature")
    return world if world.sampling == sampling else world.with_sampling(sampling)
