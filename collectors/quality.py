"""What is wrong with frames: black, frozen, of a menu, or cut; and which stretches are left without those.

All of it is told from pixels alone, so the words mean no more than this:

    black    no pixel of the frame is brighter than DARK
    frozen   nothing has changed for FROZEN seconds or longer; the first frame of such a stretch is not counted
    menu     two to PICTURES pictures take turns, coming back again and again, for MENU seconds or longer: a title that
             blinks
    cut      the whole picture changes at once, far more than it does around that moment, and does not change back

A game that waits for the player looks frozen, one that waits and blinks looks like a menu, and a door into another
room looks like a cut. A title screen that scrolls, or plays a demonstration, looks like play and is not found; nor is
a new game that begins with nearly the picture on which the last one ended.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

Frame = NDArray[np.uint8]
Kind = Literal["black", "frozen", "menu", "cut"]
Piece = tuple[int, int]

KINDS: tuple[Kind, ...] = ("black", "frozen", "menu", "cut")
DROPPED: tuple[Kind, ...] = ("black", "frozen", "menu")  # of a cut no frame is bad, only the step over it
CODEC_NOISE = 16  # of 255: what a lossy codec may change in a picture that stands still
DARK = 32  # of 255
FROZEN, MENU = 2.0, 3.0  # seconds
PICTURES = 4
SMALL = 16  # pixels of a side of the small picture that cuts are looked for in
CUT, ABOVE, AROUND = 32.0, 4.0, 8  # of 255, times the median, frames to either side
BACK = 0.5  # a change of which less than this share is left a frame later was a flash


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """Frames [start, stop) are of a kind; a cut lies between frame start - 1 and frame start, and has stop = start."""

    kind: Kind
    start: int
    stop: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What was found in a run of frames, in order."""

    frames: int
    findings: tuple[Finding, ...] = ()

    def of(self, kind: Kind) -> tuple[Finding, ...]:
        """The findings of one kind."""
        return tuple(found for found in self.findings if found.kind == kind)

    def count(self, kind: Kind) -> int:
        """Frames of a kind; of cuts, how many there are."""
        return sum(max(1, found.stop - found.start) for found in self.of(kind))

    def pieces(self, *, drop: bool, cuts: bool) -> list[Piece]:
        """The stretches [start, stop) to keep, of two frames or more: without bad frames, and none over a cut."""
        edges = {0, self.frames}
        bad = [found for found in self.findings if drop and found.kind in DROPPED]
        for found in bad:
            edges |= {found.start, found.stop}
        if cuts:
            edges |= {found.start for found in self.of("cut")}
        gone = np.zeros(self.frames + 1, np.bool_)
        for found in bad:
            gone[found.start : found.stop] = True
        ordered = sorted(edges)
        return [(start, stop) for start, stop in pairwise(ordered) if stop - start >= 2 and not gone[start]]

    def to_json(self) -> dict[str, Any]:
        """Counts of each kind, and where."""
        counts: dict[str, Any] = {kind: self.count(kind) for kind in KINDS}
        places = [[found.kind, found.start, found.stop] for found in self.findings]
        return {"frames": self.frames, **counts, "findings": places}


def judge(frames: Iterable[Frame], fps: float, noise: int = 0) -> Report:
    """Look at frames uint8 [H, W, 3], one after the other; a handful of them is in memory at a time.

    fps: frames a second; noise: how far the values of a picture that stands still may be apart, of 255.
    """
    watch = _Stills(fps, noise)
    changes = _Changes()
    dark, number = list[Piece](), 0
    for number, frame in enumerate(frames, start=1):
        changes.add(frame)
        if frame.max() <= DARK:
            watch.interrupt(number - 1)
            if dark and dark[-1][1] == number - 1:
                dark[-1] = (dark[-1][0], number)
            else:
                dark.append((number - 1, number))
        else:
            watch.add(number - 1, frame)
    watch.interrupt(number)
    found = [Finding(kind="black", start=start, stop=stop) for start, stop in dark]
    found += watch.findings
    found += [Finding(kind="cut", start=place, stop=place) for place in changes.cuts()]
    return Report(frames=number, findings=tuple(sorted(found, key=lambda one: (one.start, KINDS.index(one.kind)))))


class _Stills:
    """Finds stretches of few pictures. A stretch grows until one picture too many comes up, and is then judged."""

    def __init__(self, fps: float, noise: int) -> None:
        self.findings: list[Finding] = []
        self._frozen, self._menu = max(2, round(FROZEN * fps)), max(4, round(MENU * fps))
        self._noise = noise
        self._pictures: list[Frame] = []
        self._shown: list[int] = []  # which of the pictures each frame of the stretch is
        self._start = 0

    def add(self, number: int, frame: Frame) -> None:
        """The next frame."""
        likely = [*self._shown[-1:], *range(len(self._pictures))]  # mostly it is the picture of just now
        for index in likely:
            if self._same(self._pictures[index], frame):
                self._shown.append(index)
                return
        if len(self._pictures) == PICTURES:
            self._make_room(number)
        if not self._shown:
            self._start = number
        self._shown.append(len(self._pictures))
        self._pictures.append(frame.copy())

    def interrupt(self, number: int) -> None:
        """The stretch ends before frame `number`."""
        self._judge(np.array(self._shown, np.int64))
        self._pictures, self._shown, self._start = [], [], number

    def _make_room(self, number: int) -> None:
        """Judge the stretch; if it is only play, it goes on without the picture that was gone first."""
        shown = np.array(self._shown)
        if self._judge(shown):
            self._pictures, self._shown, self._start = [], [], number
            return
        lasts = [int(np.flatnonzero(shown == picture)[-1]) for picture in range(PICTURES)]
        gone = min(lasts) + 1
        left = shown[gone:]
        kept = np.unique(left)
        self._pictures = [self._pictures[picture] for picture in kept.tolist()]
        self._shown = np.searchsorted(kept, left).tolist()
        self._start += gone

    def _same(self, known: Frame, frame: Frame) -> bool:
        if self._noise == 0:
            return bool(np.array_equal(known, frame))
        return int(cv2.absdiff(known, frame).max()) <= self._noise

    def _judge(self, shown: NDArray[np.int64]) -> bool:
        """A menu comes back to pictures that were gone; else every long run of one picture is frozen.

        Returns whether anything was found.
        """
        known = len(self.findings)
        again = np.flatnonzero(np.bincount(shown)[shown] > 1)  # play before and after a menu shows each picture once
        if not len(again):
            return False
        first, last = int(again[0]), int(again[-1]) + 1
        inner = shown[first:last]
        edges = np.flatnonzero(np.diff(inner)) + 1
        returns = len(edges) + 1 - len(np.unique(inner))
        start = self._start + first
        if returns >= 2 and len(inner) >= self._menu:
            self.findings.append(Finding(kind="menu", start=start, stop=start + len(inner)))
            return True
        bounds = [0, *edges.tolist(), len(inner)]
        for begin, end in pairwise(bounds):
            if end - begin > self._frozen:
                self.findings.append(Finding(kind="frozen", start=start + begin + 1, stop=start + end))
        return len(self.findings) > known


class _Changes:
    """How far each frame is from the one before it and from the one before that, in small pictures."""

    def __init__(self) -> None:
        self._last: list[NDArray[np.int16]] = []
        self._one = list[float]()
        self._two = list[float]()

    def add(self, frame: Frame) -> None:
        """The next frame."""
        small = cv2.resize(frame, (SMALL, SMALL), interpolation=cv2.INTER_AREA).astype(np.int16)
        past = [float(np.abs(small - before).mean()) for before in reversed(self._last)]
        self._one.append(past[0] if past else 0.0)
        self._two.append(past[1] if len(past) > 1 else np.inf)
        self._last = [*self._last[-1:], small]

    def cuts(self) -> list[int]:
        """The frames with which a new scene begins."""
        one = np.array(self._one)
        two = np.append(self._two, np.inf)  # two[n + 1]: from before frame n to after it
        found = []
        for number in np.flatnonzero(one >= CUT).tolist():
            near = np.concatenate([one[max(0, number - AROUND) : number], one[number + 1 : number + 1 + AROUND]])
            usual = float(np.median(near)) if len(near) else 0.0
            stays = min(two[number], two[number + 1]) >= BACK * one[number]
            if stays and one[number] >= ABOVE * usual:
                found.append(number)
        return found


def summed(reports: Sequence[Report]) -> dict[str, int]:
    """Counts of each kind over several reports."""
    return {"frames": sum(report.frames for report in reports)} | {
        kind: sum(report.count(kind) for report in reports) for kind in KINDS
    }


def places(findings: Sequence[Finding], most: int = 6) -> str:
    """Where findings are, for a person: `0-14, 52, 80-99 and 3 more`."""
    shown = [
        str(found.start) if found.stop - found.start < 2 else f"{found.start}-{found.stop - 1}" for found in findings
    ]
    more = f" and {len(shown) - most} more" if len(shown) > most else ""
    return ", ".join(shown[:most]) + more


def found_lines(report: Report, dropped: bool) -> list[str]:
    """One line a kind: how many frames, whether they are gone, and where."""
    lines = []
    for kind in KINDS:
        if found := report.of(kind):
            fate = "dropped" if dropped and kind in DROPPED else "found"
            what = f"scenes begin at {places(found)}" if kind == "cut" else f"frames {places(found)}"
            lines.append(f"{fate} {report.count(kind)} {kind}: {what}")
    return lines
