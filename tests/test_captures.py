"""Videos of what is seen: every frame, with the right caps lit, in little memory, whole or not there."""

from __future__ import annotations

import os
import shutil
import time
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from test_app_doubles import LABELS, spec

from app import recorder
from app.captures import CAP, CAPS, GAP, LIT, NARROWEST, Captures, KeyCaps
from app.names import ActionNames

HEIGHT, WIDTH = 12, 20
STATM = Path("/proc/self/statm")


def frame(number: int) -> np.ndarray:
    made = np.full((HEIGHT, WIDTH, 3), 40, np.uint8)
    made[:, : 1 + number % WIDTH] = 200
    return made


class Filmed:
    """Captures with all that they said."""

    def __init__(self, folder: Path, kind: str = "mp4", table: bool = True) -> None:
        self.said: list[str] = []
        names = ActionNames(spec(table=table))
        self.captures = Captures(folder, "block", names, 15.0, kind=kind, say=self.said.append)

    def film(self, count: int) -> None:
        for number in range(count):
            self.captures.add(frame(number), {number % 8})


def read(path: Path) -> list[np.ndarray]:
    """Frames of an MP4, RGB."""
    reader, found = cv2.VideoCapture(str(path)), []
    while (result := reader.read())[0]:
        found.append(result[1][..., ::-1])
    return found


def lit_caps(picture: np.ndarray) -> list[int]:
    """The numbers of the bright caps in a picture of the usual width."""
    across = (NARROWEST - GAP) // CAPS
    bar = picture[-30:-25].astype(int)
    faces = [bar[:, GAP + cap * across + 6 : GAP + cap * across + 10].mean((0, 1)) for cap in range(CAPS)]
    return [cap for cap, face in enumerate(faces) if np.abs(face - LIT).sum() < np.abs(face - CAP).sum()]


def test_a_video_has_every_frame_and_the_keys_of_the_moment(tmp_path: Path) -> None:
    filmed = Filmed(tmp_path)
    filmed.captures.toggle()
    filmed.film(40)
    assert (filmed.captures.filming, filmed.captures.state) == (True, "VIDEO 0:02")
    filmed.captures.toggle()
    (path,) = tmp_path.iterdir()
    assert filmed.said == [f"filming into {path.name}", f"saved {path.name}"]
    assert (filmed.captures.filming, filmed.captures.state) == (False, "")
    found = read(path)
    times = NARROWEST // WIDTH
    assert len(found) == 40
    assert found[0].shape == (HEIGHT * times + 48, NARROWEST, 3)
    for number, picture in enumerate(found):
        assert lit_caps(picture) == [number % 8]
        expected = recorder.enlarge(frame(number), times).astype(int)
        assert np.abs(picture[: HEIGHT * times].astype(int) - expected).mean() < 6


def test_caps_say_what_was_learned() -> None:
    """With names there is more ink than the numbers need, and a lit cap is bright where no other is."""
    named, bare = KeyCaps(LABELS, 320), KeyCaps([""] * 8, 320)
    picture = np.zeros((30, 320, 3), np.uint8)
    one, other, both = named.under(picture, set()), bare.under(picture, set()), named.under(picture, {0, 5, 99})
    assert one.shape == other.shape == (78, 320, 3)
    assert (one[30:] > 150).sum() > 1.5 * (other[30:] > 150).sum() > 100
    assert lit_caps(one) == []
    assert lit_caps(both) == [0, 5]
    np.testing.assert_array_equal(one[:30], picture)


def test_sides_are_even_and_many_actions_fit() -> None:
    odd = KeyCaps(["a"] * 18, 321).under(np.ones((33, 321, 3), np.uint8), {17})
    assert odd.shape == (34 + 48, 322, 3)
    one = KeyCaps(["ONLY"], 320).under(np.ones((34, 320, 3), np.uint8), {0})
    assert one.shape == (34 + 48, 320, 3)


def test_a_gif_has_every_frame_too(tmp_path: Path) -> None:
    filmed = Filmed(tmp_path, kind="gif", table=False)
    filmed.captures.start()
    filmed.film(12)
    filmed.captures.stop()
    (path,) = tmp_path.iterdir()
    with Image.open(path) as gif:
        assert (gif.n_frames, gif.size[0]) == (12, NARROWEST)
        for number in (0, 3, 11):
            gif.seek(number)
            picture = np.asarray(gif.convert("RGB"))
            assert lit_caps(picture) == [number % 8]
            times = NARROWEST // WIDTH
            np.testing.assert_array_equal(picture[: HEIGHT * times], recorder.enlarge(frame(number), times))


@pytest.mark.skipif(not STATM.is_file(), reason="this system does not tell how much memory is in use")
@pytest.mark.parametrize("kind", ["mp4", "gif"])
def test_memory_stays_flat(tmp_path: Path, kind: str) -> None:
    """A long video takes no more than a short one: six hundred whole pictures would be 75 MB or more."""
    used = []

    def frames() -> Iterator[np.ndarray]:
        for number in range(600):
            made = np.full((100, 80, 3), 40, np.uint8)
            made[number % 90 : number % 90 + 8, number % 70 : number % 70 + 8] = (number % 200, 90, 240)
            used.append(int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGESIZE"))
            yield made

    recorder.record(tmp_path / f"a.{kind}", frames(), (), 15.0, scale=4)
    assert max(used) - used[60] < 20 << 20


def test_gif_blocks_are_the_frames(tmp_path: Path) -> None:
    """Nothing changed, one pixel, all of it: what is shown after each block is the frame."""
    frames = [frame(3), frame(3), frame(3).copy(), frame(9), 255 - frame(9)]
    frames[2][5, 7] = (255, 0, 9)
    path = recorder.record(tmp_path / "a.gif", iter(frames), [0] * 4, 10.0, scale=1)
    with Image.open(path) as gif:
        assert (gif.n_frames, gif.info["loop"]) == (5, 0)
        for number, expected in enumerate(frames):
            gif.seek(number)
            assert gif.info["duration"] == 100
            np.testing.assert_array_equal(np.asarray(gif.convert("RGB")), expected)
    with pytest.raises(ValueError, match="needs at least one frame"):
        recorder.record(tmp_path / "b.gif", iter(()), (), 10.0)
    assert [path.name for path in tmp_path.iterdir()] == ["a.gif"]


def test_nothing_filmed_leaves_nothing(tmp_path: Path) -> None:
    filmed = Filmed(tmp_path / "captures")
    filmed.captures.add(frame(0), set())
    filmed.captures.stop()
    filmed.captures.toggle()
    filmed.captures.toggle()
    assert filmed.said[-1] == "nothing was filmed"
    assert not (tmp_path / "captures").exists()


def test_two_videos_of_one_second_are_two_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "strftime", lambda form: "20260102-030405")
    filmed = Filmed(tmp_path)
    for _ in range(2):
        filmed.captures.start()
        filmed.film(3)
        filmed.captures.stop()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("block-20260102-030405-2.mp4", "block-20260102-030405.mp4")
    ]


def test_a_full_disk_ends_the_film_in_one_line_and_not_the_game(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10, 10, 0))
    filmed = Filmed(tmp_path)
    filmed.captures.start()
    filmed.film(200)  # more than the queue holds
    assert not filmed.captures.filming
    assert filmed.said[-1] == f"filming stopped: {filmed.captures.error}"
    assert "no space left on device" in filmed.captures.error
    assert "\n" not in filmed.captures.error
    assert list(tmp_path.iterdir()) == []


def test_a_slow_disk_loses_no_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    under = KeyCaps.under

    def slow(self: KeyCaps, *arguments: object) -> np.ndarray:
        time.sleep(0.004)
        return under(self, *arguments)

    monkeypatch.setattr(KeyCaps, "under", slow)
    filmed = Filmed(tmp_path)
    filmed.captures.start()
    filmed.film(150)
    filmed.captures.stop()
    (path,) = tmp_path.iterdir()
    assert len(read(path)) == 150


def test_other_kinds_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a video is of kind mp4 or gif, found 'npz'"):
        Filmed(tmp_path, kind="npz")
