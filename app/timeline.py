"""The past of a dream: what was seen and pressed, and now and then a state to go on from.

A *take* is one unbroken run of play, as in film. Going back and playing on makes a new take that begins where the
other was left; both stay, and together they are a tree. A state weighs a megabyte or two, so a take keeps few of them,
densely where one is likely to go back to; whatever lies between is dreamed again, which gives the same
frames, because the luck of a step depends on the seed and on the number of the step alone.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.world import Sampling, State

Frame = NDArray[np.uint8]

EVERY = 32  # steps between kept states
MOST_STATES = 28  # of the take in play
MOST_RESTING = 3  # of a take that is not in play
MOST_TAKES = 12
FRAME_BYTES = 64 << 20  # packed frames of one take; the oldest are forgotten first


@dataclass(frozen=True, slots=True)
class Dials:
    """What besides state and action decides the next frame. sampling: None for a world without dials."""

    seed: int
    sampling: Sampling | None


@dataclass(frozen=True, slots=True)
class Origin:
    """Real or painted frames that a take begins from, as opposed to a moment of another take.

    clip: uint8 [T, C, H, W]; actions: int64 [T-1] between them, or None where the world is to read them off; why:
    `start`, `prompt`, `paint`, `sync` or `heal`.
    """

    clip: Tensor
    why: str = "start"
    actions: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Story:
    """All that led to a moment, so that it can be dreamed again. origin: None where the beginning is forgotten;
    begin: its step; actions: one byte a step; dials: (step, dials) in rising order, the first at `begin`."""

    origin: Origin | None
    begin: int
    actions: bytes
    dials: tuple[tuple[int, Dials], ...]


@dataclass(slots=True, eq=False)
class Take:
    """One run of play from step `begin` to step `end`.

    parent: the take that it was branched off from, or None; origin: what it begins from if not from a
    moment of its parent; dials: (step, dials) from that step on, in rising order, the first at `begin`.
    """

    number: int
    begin: int
    shape: tuple[int, ...]
    dials: list[tuple[int, Dials]]
    parent: Take | None = None
    origin: Origin | None = None
    actions: bytearray = field(default_factory=bytearray)
    states: dict[int, State] = field(default_factory=dict)
    _frames: list[bytes] = field(default_factory=list)
    _forgotten: int = 0
    _bytes: int = 0

    @property
    def end(self) -> int:
        """The last step that was dreamed."""
        return self.begin + len(self.actions)

    @property
    def oldest(self) -> int:
        """The first step whose frame is still there."""
        return self.begin + self._forgotten

    def begin_with(self, state: State, frame: Frame) -> None:
        """The state and the picture that the take begins with."""
        self.states[self.begin] = state
        self._remember(frame)

    def add(self, action: int, state: State, frame: Frame) -> None:
        """One step: the action, and what came of it."""
        self.states.pop(self._loose(), None)
        self.actions.append(action)
        self.states[self.end] = state
        self._remember(frame)
        self._thin(MOST_STATES)

    def frame(self, step: int) -> Frame:
        """The picture at a step: uint8 [H, W, 3]. Raises ValueError where it is forgotten or not yet dreamed."""
        if not self.oldest <= step <= self.end:
            raise ValueError(f"step {step} is outside [{self.oldest}, {self.end}]")
        packed = self._frames[step - self.begin]
        return np.frombuffer(zlib.decompress(packed), np.uint8).reshape(self.shape)

    def dials_at(self, step: int) -> Dials:
        """The dials with which the step after `step` was or will be dreamed."""
        return next(dials for since, dials in reversed(self.dials) if since <= step)

    def turn(self, dials: Dials) -> None:
        """Other dials from here on."""
        if self.dials[-1][0] == self.end:
            self.dials.pop()
        self.dials.append((self.end, dials))

    def before(self, step: int) -> int:
        """The last step not after `step` whose state is kept."""
        return max(kept for kept in self.states if kept <= step)

    def rest(self) -> None:
        """Keep little: the take is not in play."""
        self._thin(MOST_RESTING)

    def take_over(self, parent: Take) -> None:
        """Make the parent's run up to here one's own, where it leads on without a cut."""
        self.parent = parent.parent if self.origin is None else None
        if self.origin is not None or self.begin == parent.begin:
            self.origin = self.origin or parent.origin
            return
        length = self.begin - parent.begin
        self.actions = parent.actions[:length] + self.actions
        self._frames = parent._frames[:length] + self._frames
        self._forgotten = parent._forgotten if parent._forgotten < length else length + self._forgotten
        self._bytes = sum(len(packed) for packed in self._frames)
        self.states = {step: state for step, state in parent.states.items() if step < self.begin} | self.states
        self.dials = [entry for entry in parent.dials if entry[0] < self.begin] + self.dials
        self.begin, self.origin = parent.begin, parent.origin
        self._thin(MOST_STATES)

    def at(self, step: int) -> Take:
        """Of this take and its forebears, the one that the picture at `step` belongs to."""
        take = self
        while step < take.begin and take.parent is not None:
            take = take.parent
        return take

    def story(self) -> Story:
        """What led to the end of this take since it last began from frames."""
        line: list[Take] = [self]
        while line[0].origin is None and line[0].parent is not None:
            line.insert(0, line[0].parent)
        actions, dials = b"", []
        for take, after in zip(line, [*line[1:], None], strict=True):
            stop = take.end if after is None else after.begin
            actions += bytes(take.actions[: stop - take.begin])
            dials += [entry for entry in take.dials if after is None or entry[0] < stop]
        return Story(line[0].origin, line[0].begin, actions, tuple(dials))

    def nbytes(self) -> int:
        """Memory of the kept frames and states."""
        states = sum(value.nbytes for state in self.states.values() for value in state.values())
        return self._bytes + states

    def _loose(self) -> int:
        """The present step if its state is kept only because it is the present, else -1."""
        return self.end if self.end != self.begin and self.end % EVERY else -1

    def _thin(self, most: int) -> None:
        """Drop the states that are missed least: where the next ones are close, seen from the present."""
        while len(self.states) > most:
            kept = sorted(self.states)
            inner = range(1, len(kept) - 1)
            least = min(inner, key=lambda i: (kept[i + 1] - kept[i - 1]) / (self.end - kept[i] + EVERY))
            del self.states[kept[least]]

    def _remember(self, frame: Frame) -> None:
        packed = zlib.compress(np.ascontiguousarray(frame).tobytes(), 1)
        self._frames.append(packed)
        self._bytes += len(packed)
        while self._bytes > FRAME_BYTES and self._forgotten < len(self._frames) - 1:
            self._bytes -= len(self._frames[self._forgotten])
            self._frames[self._forgotten] = b""
            self._forgotten += 1


def find_take(takes: list[Take], number: int) -> Take:
    """The take of this number. Raises ValueError naming those there are."""
    for take in takes:
        if take.number == number:
            return take
    raise ValueError(f"there is no take {number}; there are {', '.join(str(take.number) for take in takes)}")


def prune(takes: list[Take], present: Take) -> None:
    """Forget the oldest takes beyond MOST_TAKES. What the present one needs of its forebears it takes over."""
    while len(takes) > MOST_TAKES:
        oldest = next(take for take in takes if take is not present)
        takes.remove(oldest)
        for child in takes:
            if child.parent is oldest:
                child.take_over(oldest)


def luck(seed: int, step: int) -> int:
    """The seed of one step's luck, in [0, 2**63): SplitMix64 (Steele et al. 2014) of the seed and the step."""
    mask = (1 << 64) - 1
    value = (seed * 0x9E3779B97F4A7C15 + step * 0xD1B54A32D192ED03 + 0x632BE59BD9B4E019) & mask
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & mask
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & mask
    return (value ^ (value >> 31)) >> 1


def generator(seed: int, step: int) -> torch.Generator:
    """The luck of one step. It is drawn on the CPU wherever the world runs: the same dream on every device."""
    return torch.Generator().manual_seed(luck(seed, step))
