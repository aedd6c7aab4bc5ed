"""Frames on disk: MP4, GIF, NPZ, a folder of PNGs, a contact sheet. Each is drafted, then renamed: whole or not there.

Frames arrive one by one and leave one by one, so a dream of any length needs the memory of two frames.
"""

from __future__ import annotations

import errno
import os
import shutil
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Frame = NDArray[np.uint8]
KINDS = "x.mp4, x.gif, x.npz or folder/"
MP4_SCALE, GIF_SCALE, SHEET_SCALE = 4, 3, 2
LEAST_FREE = 16 * 2**20  # bytes; with less no recording is begun
LONG_AGO = (1980, 1, 1, 0, 0, 0)  # the time stamp of NPZ members, so that equal dreams are equal files


def kind_of(out: str | Path) -> str:
    """`mp4`, `gif`, `npz` or `folder`; ValueError for another ending."""
    suffix = Path(out).suffix.lower()
    if str(out).endswith(("/", os.sep)) or not suffix:
        return "folder"
    if suffix[1:] not in ("mp4", "gif", "npz"):
        raise ValueError(f"cannot write '{suffix}' files; --out takes {KINDS}")
    return suffix[1:]


def record(
    out: str | Path, frames: Iterable[Frame], actions: Sequence[int], fps: float, *, scale: int | None = None
) -> Path:
    """Write N + 1 frames, uint8 [H, W, 3], and the N actions between them; the kind follows from the name.

    Only NPZ keeps the actions. scale: pixels of an MP4 or a GIF for one of the frame, None for 4 and 3; an MP4
    needs sides that are even then. Raises ValueError for an unknown kind, OSError where nothing can be written.
    """
    kind, path = kind_of(out), Path(out)
    if kind == "folder" and path.is_dir() and any(path.iterdir()):
        raise ValueError(f"folder {path} is not empty; choose another --out")
    write: Callable[[Path], None] = {
        "mp4": lambda draft: _mp4(draft, frames, fps, scale or MP4_SCALE),
        "gif": lambda draft: _gif(draft, frames, fps, scale or GIF_SCALE),
        "npz": lambda draft: _npz(draft, frames, actions),
        "folder": lambda draft: _folder(draft, frames),
    }[kind]
    with _draft(path) as draft:
        write(draft)
    return path


def contact_sheet(frames: Sequence[Frame], *, columns: int = 8, rows: int = 4) -> Frame:
    """Up to columns x rows frames at equal distances, in reading order, on one dark picture."""
    count = min(len(frames), columns * rows)
    if count == 0:
        raise ValueError("a contact sheet needs at least one frame, found none")
    chosen = [frames[index] for index in np.linspace(0, len(frames) - 1, count).round().astype(int)]
    height, width = (side * SHEET_SCALE for side in chosen[0].shape[:2])
    gap, across, down = 6, min(columns, count), -(-count // columns)
    sheet = np.full((down * (height + gap) + gap, across * (width + gap) + gap, 3), 18, np.uint8)
    for index, frame in enumerate(chosen):
        top, left = gap + (index // columns) * (height + gap), gap + (index % columns) * (width + gap)
        sheet[top : top + height, left : left + width] = enlarge(frame, SHEET_SCALE)
    return sheet


def save_png(path: Path, picture: Frame) -> Path:
    """Write one picture, uint8 [H, W, 3]."""
    from PIL import Image

    with _draft(path) as draft:
        Image.fromarray(picture).save(draft, format="PNG")
    return path


def enlarge(frame: Frame, times: int) -> Frame:
    """Each pixel as a block of times x times."""
    return frame.repeat(times, axis=0).repeat(times, axis=1)


@contextmanager
def _draft(path: Path) -> Iterator[Path]:
    """A name beside the target, with its ending; renamed on success, removed on any failure."""
    draft = path.with_name(f".{path.stem}.draft{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(path.parent).free < LEAST_FREE:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if path.suffix and path.is_dir():
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
        yield draft
        if draft.is_dir() and path.is_dir():
            path.rmdir()
        os.replace(draft, path)
    except OSError as problem:
        reason = (problem.strerror or str(problem)).lower()
        raise OSError(f"cannot write {path}: {reason}; choose another place") from None
    finally:
        if draft.is_dir():
            shutil.rmtree(draft, ignore_errors=True)
        elif draft.exists():
            draft.unlink()


def _mp4(draft: Path, frames: Iterable[Frame], fps: float, scale: int) -> None:
    import cv2

    writer, count = None, 0
    try:
        for frame in frames:
            count += 1
            big = enlarge(frame, scale)
            if writer is None:
                fourcc = cv2.VideoWriter.fourcc(*"mp4v")
                writer = cv2.VideoWriter(str(draft), fourcc, fps, (big.shape[1], big.shape[0]))
                if not writer.isOpened():
                    raise OSError("this build of opencv cannot write mp4v video here")
            writer.write(big[:, :, ::-1])
    finally:
        if writer is not None:
            writer.release()
    reader = cv2.VideoCapture(str(draft))
    found = int(reader.get(cv2.CAP_PROP_FRAME_COUNT))
    reader.release()
    if found != count:  # opencv says nothing when a disk fills up
        raise OSError(f"only {found} of {count} frames arrived; is the disk full?")


def _gif(draft: Path, frames: Iterable[Frame], fps: float, scale: int) -> None:
    """Block by block, each frame only where it changed: Pillow's own way keeps all frames in memory."""
    from PIL import GifImagePlugin, Image

    pause = max(20, round(100.0 / fps) * 10)  # GIF counts in hundredths of a second; below two, viewers slow down
    before: Frame | None = None
    with draft.open("wb") as file:
        for frame in frames:
            top, left, bottom, right = _changed(before, frame)
            picture = Image.fromarray(enlarge(frame[top:bottom, left:right], scale))
            paletted = picture.convert("P", palette=Image.Palette.ADAPTIVE)
            if before is None:
                file.writelines(GifImagePlugin.getheader(paletted, info={"loop": 0, "duration": pause})[0])
            block = {"duration": pause, "include_color_table": before is not None}  # the first one's is the header's
            file.writelines(GifImagePlugin.getdata(paletted, (left * scale, top * scale), **block))
            before = frame
        if before is None:
            raise ValueError("a GIF needs at least one frame, found none")
        file.write(b";")


def _changed(before: Frame | None, frame: Frame) -> tuple[int, int, int, int]:
    """The smallest rectangle outside of which nothing changed: top, left, bottom, right; a pixel at least."""
    if before is None:
        return 0, 0, frame.shape[0], frame.shape[1]
    differs = (before != frame).any(axis=2)
    rows, columns = np.flatnonzero(differs.any(axis=1)), np.flatnonzero(differs.any(axis=0))
    if not len(rows):
        return 0, 0, 1, 1
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def _npz(draft: Path, frames: Iterable[Frame], actions: Sequence[int]) -> None:
    """`frames` uint8 [N+1, H, W, 3] and `actions` int64 [N], the same bytes for the same content."""
    npy: Any = np.lib.format  # without types in some versions of numpy
    ids = np.asarray(actions, dtype=np.int64)
    with zipfile.ZipFile(draft, "w") as archive:
        with archive.open(_member("frames.npy"), "w", force_zip64=True) as stream:
            written = 0
            for frame in frames:
                if written == 0:
                    shape = (len(ids) + 1, *frame.shape)
                    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
                    npy.write_array_header_1_0(stream, header)
                stream.write(frame.tobytes())
                written += 1
        if written != len(ids) + 1:
            raise ValueError(f"{len(ids)} actions need {len(ids) + 1} frames, found {written}")
        with archive.open(_member("actions.npy"), "w", force_zip64=True) as stream:
            np.save(stream, ids, allow_pickle=False)


def _member(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, date_time=LONG_AGO)
    info.compress_type = zipfile.ZIP_DEFLATED
    return info


def _folder(draft: Path, frames: Iterable[Frame]) -> None:
    from PIL import Image

    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    for index, frame in enumerate(frames):
        Image.fromarray(frame).save(draft / f"{index:06d}.png")
