"""A capsule dreamed again: step by step, as a stream of frames, or compared with what was recorded."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np
import torch

from app.capsule import BLOCK, Capsule, Label
from app.records import clean
from app.session import Session
from app.timeline import Dials, Frame
from models.world import World

MOST_SPANS = 4  # named of what differs


class Replay:
    """A recording that is dreamed again, step by step. `session` stands at the frame shown last."""

    def __init__(self, capsule: Capsule, world: World, *, device: str | torch.device = "cpu") -> None:
        self.capsule = capsule
        first = capsule.dials[0][1]
        self.session = Session(
            world, [capsule.origin.clip], seed=first.seed, start=0, sampling=first.sampling, device=device
        )
        self._turns = dict(capsule.dials)
        self.rewind()

    @property
    def shown(self) -> int:
        """How many frames were shown, the first one included."""
        return self.session.steps - self.capsule.label.begin + 1

    @property
    def done(self) -> bool:
        """Nothing follows."""
        return self.shown == self.capsule.frames

    def rewind(self) -> None:
        """Back to the first frame."""
        self._turn(self.capsule.dials[0][1])
        self.session.begin(self.capsule.origin, step=self.capsule.label.begin)

    def step(self) -> Frame:
        """Dream the next frame of the recording: uint8 [H, W, 3]. Raises ValueError after the last one."""
        if self.done:
            raise ValueError(f"the recording has {self.capsule.frames} frames and all were shown")
        turned = self._turns.get(self.session.steps)
        if turned is not None:
            self._turn(turned)
        return self.session.step(self.capsule.actions[self.shown - 1])

    def _turn(self, dials: Dials) -> None:
        if dials == self.session.dials:
            return
        self.session.reseed(dials.seed)
        if dials.sampling is not None:
            self.session.set_sampling(dials.sampling)


class Comparison:
    """Frames, in the order in which they are shown, against the checksums of a recording.

    device: where they are dreamed, named where something differs. compared: frames that had a checksum.
    """

    def __init__(self, capsule: Capsule, *, device: str = "cpu") -> None:
        self._capsule, self._device = capsule, device
        self._hash = hashlib.sha256()
        self._seen, self._wrong = 0, list[int]()
        self.compared = 0

    def see(self, frame: Frame) -> None:
        """The next frame, uint8 [H, W, 3]."""
        self._hash.update(np.ascontiguousarray(frame).tobytes())
        self._seen += 1
        if self._seen % BLOCK and self._seen != self._capsule.frames:
            return
        block = (self._seen - 1) // BLOCK
        expected = self._capsule.label.checksums[block]
        if expected is not None:
            self.compared += self._seen - block * BLOCK
            if self._hash.hexdigest() != expected:
                self._wrong.append(block)
        self._hash = hashlib.sha256()

    def verdict(self) -> str | None:
        """None where every frame that has a checksum is the recorded one, else what differs, counted from frame 0."""
        if not self.compared:
            return "the recording has no checksums of its frames, so there is nothing to compare with"
        if not self._wrong:
            return None
        spans = [f"{first} to {last}" for first, last in self._spans()]
        more = f" and {len(spans) - MOST_SPANS} more stretches" if len(spans) > MOST_SPANS else ""
        which = " and ".join(spans[:MOST_SPANS]) + more
        return f"frames {which} differ from the recording; {_hint(self._capsule.label, self._device)}"

    def _spans(self) -> list[tuple[int, int]]:
        """First and last frame of each run of blocks that differ."""
        firsts = [block * BLOCK for block in self._wrong if block - 1 not in self._wrong]
        lasts = [block * BLOCK + BLOCK - 1 for block in self._wrong if block + 1 not in self._wrong]
        return [(first, min(last, self._capsule.frames - 1)) for first, last in zip(firsts, lasts, strict=True)]


def replay(capsule: Capsule, world: World, *, device: str | torch.device = "cpu") -> Iterator[Frame]:
    """Every frame of a recording, dreamed again: uint8 [H, W, 3]."""
    again = Replay(capsule, world, device=device)
    yield again.session.frame
    while not again.done:
        yield again.step()


def verify(capsule: Capsule, world: World, *, world_id: str | None = None, device: str = "cpu") -> str | None:
    """Dream a recording again and compare: None where it is identical, else what differs. world_id: of this world."""
    if world_id is not None and world_id != capsule.label.world_id:
        return foreign(capsule.label, world_id)
    comparison = Comparison(capsule, device=device)
    for frame in replay(capsule, world, device=device):
        comparison.see(frame)
    return comparison.verdict()


def foreign(label: Label, world_id: str) -> str:
    """That a recording is of another world than the one at hand."""
    theirs = f"world {clean(label.world_id, 16)} of '{clean(label.game, 20)}'"
    return f"it was recorded with {theirs}, this is world {world_id or 'without a number'}"


def _hint(label: Label, device: str) -> str:
    """Why it may differ, as far as the recording tells."""
    then = _made_with(clean(label.torch, 20), label.threads, label.device)
    now = _made_with(str(torch.__version__), torch.get_num_threads(), torch.device(device).type)
    if then == now:
        return f"both were dreamed with {now}, so the processors or the files of the world are not the same"
    return f"it was dreamed with {then}, here with {now}"


def _made_with(version: str, threads: int, device: str) -> str:
    return f"torch {version}, {threads} thread{'s' if threads > 1 else ''}, {device}"
