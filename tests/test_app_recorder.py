"""What the recorder writes can be read back; what it cannot write leaves nothing behind."""

from __future__ import annotations

import shutil
from collections import namedtuple

import numpy as np
import pytest
from PIL import Image

from app import recorder


def clip(count: int = 6, height: int = 9, width: int = 7) -> list[np.ndarray]:
    """Odd sizes on purpose; a white pixel walks, the grey level counts."""
    frames = [np.full((height, width, 3), 20 * index, np.uint8) for index in range(count)]
    for index, frame in enumerate(frames):
        frame[4, index] = 255
    return frames


def test_npz_is_exact_and_equal_dreams_are_equal_files(tmp_path):
    frames, actions = clip(), [0, 1, 2, 3, 7]
    first = recorder.record(tmp_path / "a.npz", iter(frames), actions, 15.0)
    second = recorder.record(tmp_path / "b.npz", iter(frames), actions, 15.0)
    with np.load(first) as loaded:
        assert np.array_equal(loaded["frames"], np.stack(frames))
        assert loaded["frames"].dtype == np.uint8
        assert loaded["actions"].tolist() == actions
        assert loaded["actions"].dtype == np.int64
    assert first.read_bytes() == second.read_bytes()


def test_mp4_has_every_frame_at_four_times_the_size(tmp_path):
    import cv2

    path = recorder.record(tmp_path / "a.mp4", iter(clip()), [0] * 5, 15.0)
    reader = cv2.VideoCapture(str(path))
    read = []
    while (result := reader.read())[0]:
        read.append(result[1])
    assert [frame.shape for frame in read] == [(36, 28, 3)] * 6
    assert reader.get(cv2.CAP_PROP_FPS) == pytest.approx(15.0)
    assert [float(frame[:12].mean()) for frame in read] == pytest.approx([20 * n for n in range(6)], abs=6)


def test_gif_has_every_frame_at_three_times_the_size(tmp_path):
    path = recorder.record(tmp_path / "a.gif", iter(clip()), [0] * 5, 15.0)
    with Image.open(path) as gif:
        assert (gif.n_frames, gif.size, gif.info["duration"]) == (6, (21, 27), 70)
        gif.seek(3)
        assert gif.convert("RGB").getpixel((3 * 3 + 1, 4 * 3 + 1)) == (255, 255, 255)


def test_folder_has_a_png_for_each_frame(tmp_path):
    frames = clip()
    path = recorder.record(f"{tmp_path}/v1.2/", iter(frames), [0] * 5, 15.0)
    files = sorted(path.iterdir())
    assert [file.name for file in files] == [f"{index:06d}.png" for index in range(6)]
    assert np.array_equal(np.asarray(Image.open(files[2])), frames[2])
    with pytest.raises(ValueError, match="is not empty; choose another --out"):
        recorder.record(f"{path}/", iter(frames), [0] * 5, 15.0)


def test_contact_sheet_shows_first_and_last(tmp_path):
    frames = [np.full((4, 5, 3), index, np.uint8) for index in range(100)]
    sheet = recorder.contact_sheet(frames, columns=3, rows=2)
    assert sheet.shape == (2 * 14 + 6, 3 * 16 + 6, 3)
    assert sheet[6, 6, 0] == 0
    assert sheet[-7, -7, 0] == 99
    path = recorder.save_png(tmp_path / "sheet.png", sheet)
    assert np.array_equal(np.asarray(Image.open(path)), sheet)


def test_unknown_endings_list_the_known_ones(tmp_path):
    with pytest.raises(ValueError, match=r"cannot write '\.webp' files; --out takes x\.mp4, x\.gif, x\.npz or folder/"):
        recorder.record(tmp_path / "a.webp", iter(clip()), [0] * 5, 15.0)


@pytest.mark.parametrize("name", ["a.mp4", "a.gif", "a.npz", "a"])
def test_a_dream_that_breaks_off_leaves_nothing_and_keeps_the_old(tmp_path, name):
    def broken():
        yield clip()[0]
        yield clip()[1]
        raise ValueError("the dream broke off")

    if "." in name:
        (tmp_path / name).write_bytes(b"old")
    with pytest.raises(ValueError, match="broke off"):
        recorder.record(tmp_path / name, broken(), [0] * 5, 15.0)
    assert [path.name for path in tmp_path.iterdir()] == ([name] if "." in name else [])
    assert "." not in name or (tmp_path / name).read_bytes() == b"old"


@pytest.mark.parametrize("name", ["a.mp4", "a.gif", "a.npz", "a"])
def test_a_full_disk_is_one_line(tmp_path, monkeypatch, name):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10, 10, 0))
    with pytest.raises(OSError, match="no space left on device; choose another place"):
        recorder.record(tmp_path / name, iter(clip()), [0] * 5, 15.0)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_is_no_folder_is_one_line(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OSError, match=r"cannot write .*; choose another place"):
        recorder.record(tmp_path / "file" / "a.mp4", iter(clip()), [0] * 5, 15.0)
    (tmp_path / "b.npz").mkdir()
    with pytest.raises(OSError, match="is a directory"):
        recorder.record(tmp_path / "b.npz", iter(clip()), [0] * 5, 15.0)
