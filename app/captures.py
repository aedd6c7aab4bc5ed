"""A video of what is seen: each frame with the keys of the moment under it, streamed to disk while one plays.

The pictures are put together and written in a thread of its own, out of a short queue, so that the game does not
wait for the codec and an evening needs no more memory than a minute.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app import recorder
from app.names import ActionNames

Frame = NDArray[np.uint8]
Colour = tuple[int, int, int]
Say = Callable[[str], None]

# The hues of app/theme.py, which needs pygame.
ROOM: Colour = (9, 11, 16)
PANEL: Colour = (22, 26, 35)
EDGE: Colour = (58, 66, 84)
CAP: Colour = (38, 44, 58)
INK: Colour = (236, 234, 226)
DARK: Colour = (16, 16, 16)
LIT: Colour = (240, 180, 41)

NARROWEST = 320  # pixels of a video, so that eight caps can be read
CAPS, GAP, CAP_HEIGHT = 8, 4, 40
NUMBER, LETTERS, LEAST = 17, 12, 7  # sizes of lettering
WAITING = 32  # frames between the game and the codec


class KeyCaps:
    """Puts a row of caps under pictures: a number, and what the key was found to do."""

    def __init__(self, labels: Sequence[str], width: int) -> None:
        """labels: of the action ids, empty where nothing is known; width: pixels of the pictures."""
        self.width = width + width % 2  # video wants even sides
        count = max(1, min(CAPS, len(labels)))
        across = (self.width - GAP) // count
        self._places = [slice(GAP + cap * across, GAP + (cap + 1) * across - GAP) for cap in range(count)]
        self._idle = self._strip(labels, CAP, INK)
        self._lit = self._strip(labels, LIT, DARK)

    def under(self, picture: Frame, lit: Collection[int]) -> Frame:
        """A picture uint8 [H, W, 3] with the caps below it; those of the actions `lit` are bright."""
        height, width = picture.shape[:2]
        bar = self._idle.copy()
        for action in lit:
            if action < len(self._places):
                bar[:, self._places[action]] = self._lit[:, self._places[action]]
        whole = np.empty((height + height % 2 + len(bar), self.width, 3), np.uint8)
        whole[:] = ROOM
        whole[:height, :width] = picture
        whole[-len(bar) :] = bar
        return whole

    def _strip(self, labels: Sequence[str], face: Colour, ink: Colour) -> Frame:
        """All caps in one state."""
        from PIL import Image, ImageDraw

        image = Image.new("RGB", (self.width, CAP_HEIGHT + 2 * GAP), PANEL)
        draw = ImageDraw.Draw(image)
        for number, (place, label) in enumerate(zip(self._places, labels, strict=False), start=1):
            box = (place.start, GAP, place.stop - 1, GAP + CAP_HEIGHT - 1)
            draw.rounded_rectangle(box, radius=5, fill=face, outline=EDGE)
            middle = (place.start + place.stop) / 2
            _centred(draw, str(number), NUMBER, middle, GAP + CAP_HEIGHT * (0.32 if label else 0.5), ink, 1000)
            _centred(draw, label, LETTERS, middle, GAP + CAP_HEIGHT * 0.76, ink, place.stop - place.start - 4)
        return np.asarray(image).copy()


def _centred(draw: Any, words: str, size: int, x: float, y: float, ink: Colour, room: int) -> None:
    """A line of words around a point: in smaller letters, or cut off, where there is too little room."""
    from PIL import ImageFont

    while size > LEAST and draw.textlength(words, font=ImageFont.load_default(size)) > room:
        size -= 1
    font = ImageFont.load_default(size)
    while words and draw.textlength(words, font=font) > room:
        words = words[:-1]
    draw.text((x, y), words, fill=ink, font=font, anchor="mm")


class Captures:
    """Films on and off. What went well or wrong is told to `say`, in one line.

    folder: where videos go; title: how their names begin; kind: "mp4" or "gif". Call `add` for every new frame,
    and `stop` before the program ends.
    """

    def __init__(
        self,
        folder: Path,
        title: str,
        names: ActionNames,
        fps: float,
        *,
        kind: str = "mp4",
        say: Say = lambda words: None,
    ) -> None:
        if kind not in ("mp4", "gif"):
            raise ValueError(f"a video is of kind mp4 or gif, found {kind!r}")
        self.folder, self.title, self.fps, self.kind = folder, title, fps, kind
        self.labels = names.labels if names.known else ("",) * len(names.labels)
        self.frames = 0
        self.error = ""
        self._say = say
        self._path: Path | None = None
        self._thread: threading.Thread | None = None
        self._waiting: queue.Queue[tuple[Frame, frozenset[int]] | None] = queue.Queue(WAITING)

    @property
    def filming(self) -> bool:
        """Whether frames are being kept."""
        return self._path is not None

    @property
    def state(self) -> str:
        """`VIDEO 0:12` while filming, in the game's own time; else nothing."""
        seconds = int(self.frames / self.fps)
        return f"VIDEO {seconds // 60}:{seconds % 60:02d}" if self.filming else ""

    def toggle(self) -> None:
        """Begin a video, or finish it."""
        if self.filming:
            self.stop()
        else:
            self.start()

    def start(self) -> None:
        """Begin a video with the next frame."""
        if self.filming:
            return
        name = f"{self.title}-{time.strftime('%Y%m%d-%H%M%S')}"
        self._path = _free(self.folder, name, self.kind)
        self.frames, self.error = 0, ""
        self._waiting = queue.Queue(WAITING)
        self._say(f"filming into {self._path.name}")

    def add(self, frame: Frame, lit: Collection[int]) -> None:
        """The next frame, uint8 [H, W, 3], and the actions whose caps are bright in it."""
        if self._path is None:
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._write, args=(self._path, self._waiting), daemon=True)
            self._thread.start()
        if self._put((frame, frozenset(lit))):
            self.frames += 1
        else:
            self.stop()

    def stop(self) -> None:
        """Finish the video: after this it is there and whole, or there is none and `error` says why."""
        path, thread = self._path, self._thread
        if path is None:
            return
        if thread is not None:
            self._put(None)
            thread.join()
        self._path = self._thread = None
        if thread is None:
            self._say("nothing was filmed")
        elif self.error or not path.is_file():
            self.error = self.error or f"cannot write {path}: the video did not arrive"
            self._say(f"filming stopped: {self.error}")
        else:
            self._say(f"saved {path.name}")

    def _put(self, item: tuple[Frame, frozenset[int]] | None) -> bool:
        """Hand over to the thread, which may be behind for a moment. False where there is none any more."""
        while self._thread is not None and self._thread.is_alive():
            try:
                self._waiting.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def _write(self, path: Path, waiting: queue.Queue[tuple[Frame, frozenset[int]] | None]) -> None:
        """The thread: everything from the queue into the file."""
        try:
            recorder.record(path, self._pictures(waiting), (), self.fps, scale=1)
        except (OSError, ValueError) as problem:
            self.error = str(problem)

    def _pictures(self, waiting: queue.Queue[tuple[Frame, frozenset[int]] | None]) -> Iterator[Frame]:
        caps: KeyCaps | None = None
        while (item := waiting.get()) is not None:
            frame, lit = item
            times = max(recorder.MP4_SCALE, -(-NARROWEST // frame.shape[1]))
            caps = caps or KeyCaps(self.labels, frame.shape[1] * times)
            yield caps.under(recorder.enlarge(frame, times), lit)


def _free(folder: Path, name: str, kind: str) -> Path:
    """A name that no file has yet."""
    path, number = folder / f"{name}.{kind}", 1
    while path.exists():
        number += 1
        path = folder / f"{name}-{number}.{kind}"
    return path
