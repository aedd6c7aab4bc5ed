"""Pictures that others made → clips: MP4 and its like, GIF, folders of PNG or JPEG, HDF5 files with `frames`.

What kind a file is follows from its first bytes, not from its name. Clips are read from the beginning, picture by
picture, as often as needed, so that a film of any length needs the memory of a few frames.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, repeat
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from collectors.strangers import stranger

Frame = NDArray[np.uint8]

os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # quiet, and asked for once; our own complaints name the file

LARGEST_SIDE = 8192  # pixels that are read at all
MOST_REPEATS = 1000  # of a picture of a GIF that is shown for long
BLOCK_BYTES = 32 << 20  # of a column that are read at a time
PICTURES = (".png", ".jpg", ".jpeg")
FILES = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".gif", ".h5", ".hdf5")
LOSSLESS = {"FFV1", "FFVH", "HFYU", "PNG ", "MPNG"}  # codecs, by their four letters
MODES = {"1", "L", "LA", "P", "PA", "RGB", "RGBA"}  # of pictures with 8 bits a colour
READS = "a video (MP4, MOV, MKV, WebM, AVI), a GIF, a folder of PNG or JPEG, an HDF5 file with 'frames'"


@dataclass(frozen=True, kw_only=True, slots=True)
class Clip:
    """A run of pictures. `read()` gives them from the beginning, uint8 [H, W, 3], RGB.

    fps: pictures a second, and frames: how many there should be, None where the source does not say; lossy: not every
    pixel is what it was; notes: what else a user should know, a sentence each.
    """

    path: Path
    height: int
    width: int
    read: Callable[[], Iterator[Frame]]
    fps: float | None = None
    frames: int | None = None
    lossy: bool = False
    notes: tuple[str, ...] = ()


def clips_in(source: Path) -> list[Clip]:
    """The clips of a file, or of a folder: its pictures are one clip, each video or folder of pictures another one.

    Raises FileNotFoundError when there is nothing and ValueError for what cannot be read, naming the file.
    """
    if not source.exists():
        raise FileNotFoundError(f"there is no file or folder {source}")
    if not source.is_dir():
        return [_clip(source)]
    inside = sorted((path for path in source.iterdir() if path.name[0] != "."), key=_natural)
    pictures = _pictures_in(inside)
    found = [_folder(source, pictures)] if pictures else []
    for path in inside:
        if path.suffix.lower() in FILES and path.is_file():
            found.append(_clip(_kept_inside(path, source)))
        elif path.is_dir():
            nested = _pictures_in(sorted(_kept_inside(path, source).iterdir(), key=_natural))
            found += [_folder(path, nested)] if nested else []
    if not found:
        raise ValueError(f"nothing to import in {source}: expected {READS}")
    return found


def _natural(path: Path) -> list[tuple[int, int, str]]:
    """9.png comes before 10.png."""
    return [(not part.isdigit(), int(part) if part.isdigit() else 0, part) for part in re.split(r"(\d+)", path.name)]


def _pictures_in(paths: Sequence[Path]) -> list[Path]:
    return [path for path in paths if path.suffix.lower() in PICTURES and path.name[0] != "." and path.is_file()]


def _kept_inside(path: Path, folder: Path) -> Path:
    """A link in a folder from elsewhere could name any file of this machine."""
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"{path} is a link out of {folder}; copy what it names, or import that alone")
    return path


def _clip(path: Path) -> Clip:
    """A file as a clip, by what its first bytes say."""
    with path.open("rb") as file:
        head = file.read(16)
    if not head:
        raise ValueError(f"{path} is empty")
    if head.startswith((b"GIF87a", b"GIF89a")):
        return _gif(path)
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return _column(path)
    if head.startswith((b"\x89PNG", b"\xff\xd8\xff")):
        raise ValueError(f"{path} is a single picture; import the folder with all of them")
    # Nothing else reaches the decoder: a playlist that calls itself a video can make it open any file or address.
    boxes = head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")
    if boxes or head.startswith(b"\x1a\x45\xdf\xa3") or (head[:4] == b"RIFF" and head[8:12] == b"AVI "):
        return _video(path)
    raise ValueError(f"{path} is nothing this version can import; expected {READS}")


def _checked_sides(path: Path, height: int, width: int) -> tuple[int, int]:
    if not (1 <= height <= LARGEST_SIDE and 1 <= width <= LARGEST_SIDE):
        raise ValueError(f"{path} has pictures of {height}x{width}; sides from 1 to {LARGEST_SIDE} can be read")
    return height, width


def _video(path: Path) -> Clip:
    capture = _opened(path)
    try:
        width, height = (int(capture.get(name)) for name in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        fps, frames = (float(capture.get(name)) for name in (cv2.CAP_PROP_FPS, cv2.CAP_PROP_FRAME_COUNT))
        code = int(capture.get(cv2.CAP_PROP_FOURCC))
    finally:
        capture.release()
    _checked_sides(path, height, width)
    codec = code.to_bytes(4, "little", signed=code < 0).decode("latin-1").upper()
    lossy = codec not in LOSSLESS
    note = "this is lossy video: what is one pixel large, as a ball may be, can be smeared or gone in it"
    return Clip(
        path=path,
        height=height,
        width=width,
        read=lambda: _video_frames(path),
        fps=fps if 0 < fps <= 1000 else None,
        frames=int(frames) if 0 < frames < 2**40 else None,
        lossy=lossy,
        notes=(note,) if lossy else (),
    )


def _opened(path: Path) -> Any:
    """A decoder for a local file."""
    level = cv2.getLogLevel()
    cv2.setLogLevel(0)
    try:
        capture = cv2.VideoCapture(str(path.resolve()), cv2.CAP_FFMPEG)
    finally:
        cv2.setLogLevel(level)
    if not capture.isOpened():
        raise ValueError(f"{path} is no video that can be decoded: it is truncated, damaged or of an unknown codec")
    return capture


def _video_frames(path: Path) -> Iterator[Frame]:
    capture = _opened(path)
    try:
        while True:
            more, picture = capture.read()
            if not more:
                return
            yield cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
    finally:
        capture.release()


def _gif(path: Path) -> Clip:
    """A GIF says for each picture how long it is shown; the shortest time is a frame, longer ones are repeated."""
    with _picture(path) as picture:
        width, height = picture.size
    times = [milliseconds for milliseconds, _ in _gif_pictures(path)]
    shown = [milliseconds for milliseconds in times if milliseconds > 0]
    unit = min(shown, default=0.0)
    repeats = [min(MOST_REPEATS, max(1, round(one / unit))) if unit else 1 for one in times]
    return Clip(
        path=path,
        height=height,
        width=width,
        read=lambda: _gif_frames(path, repeats),
        fps=1000 / unit if unit else None,
        frames=sum(repeats),
        lossy=True,
        notes=("this is a GIF: a picture in it has 256 colours at most, and may have had more",),
    )


def _picture(path: Path) -> Image.Image:
    """A picture whose head was read and whose size makes sense. Raises ValueError naming the file."""
    try:
        picture = Image.open(path, formats=("GIF", "PNG", "JPEG"))
    except Image.DecompressionBombError as error:
        raise ValueError(f"{path} is too large a picture; sides up to {LARGEST_SIDE} can be read") from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as a picture: it is truncated, damaged or something else") from error
    _checked_sides(path, picture.height, picture.width)
    return picture


def _gif_pictures(path: Path) -> Iterator[tuple[float, Frame]]:
    """Every picture of a GIF, and for how many milliseconds it is shown."""
    with _picture(path) as picture:
        for number in count():
            try:
                picture.seek(number)
                frame = np.array(picture.convert("RGB"))
            except EOFError:
                return
            except (OSError, SyntaxError, ValueError) as error:
                raise ValueError(f"{path} is damaged from picture {number} on; copy it again") from error
            yield float(picture.info.get("duration", 0) or 0), frame


def _gif_frames(path: Path, repeats: Sequence[int]) -> Iterator[Frame]:
    for times, (_, frame) in zip(repeats, _gif_pictures(path), strict=True):
        yield from repeat(frame, times)


def _folder(folder: Path, pictures: Sequence[Path]) -> Clip:
    with _picture(_kept_inside(pictures[0], folder)) as first:
        width, height = first.size
    lossy = any(path.suffix.lower() != ".png" for path in pictures)
    note = "these are JPEG pictures, which are lossy: what is one pixel large can be smeared or gone in them"
    return Clip(
        path=folder,
        height=height,
        width=width,
        read=lambda: (_decoded(_kept_inside(path, folder), (height, width)) for path in pictures),
        frames=len(pictures),
        lossy=lossy,
        notes=(note,) if lossy else (),
    )


def _decoded(path: Path, size: tuple[int, int]) -> Frame:
    with _picture(path) as picture:
        if (picture.height, picture.width) != size:
            found, want = f"{picture.height}x{picture.width}", f"{size[0]}x{size[1]}"
            raise ValueError(f"{path} is {found} and the first picture of its folder {want}; sizes must agree")
        if picture.mode not in MODES:
            raise ValueError(f"{path} has pixels of kind {picture.mode}; save it with 8 bits a colour")
        try:
            return np.array(picture.convert("RGB"))
        except (OSError, SyntaxError, ValueError) as error:
            raise ValueError(f"{path} is truncated or damaged; copy it again") from error


def _column(path: Path) -> Clip:
    """The column `frames` of an HDF5 file: [N, H, W, 3] or [N, 3, H, W], whole numbers to 255, or fractions to 1."""
    with stranger(path) as columns:
        if "frames" not in columns:
            there = ", ".join(sorted(columns)[:5]) or "nothing"
            raise ValueError(f"{path} has no column 'frames'; it has {there}")
        column = columns["frames"]
        shape, others = tuple(column.shape or ()), sorted(set(columns) - {"frames"})
        if len(shape) != 4 or 3 not in (shape[3], shape[1]):
            raise ValueError(f"{path}: 'frames' must be [N, H, W, 3] or [N, 3, H, W], found {list(shape)}")
        if shape[0] == 0:
            raise ValueError(f"{path}: 'frames' holds no frame")
        if column.dtype != np.uint8 and column.dtype.kind != "f":
            raise ValueError(f"{path}: 'frames' must be uint8 or floating point, found {column.dtype}")
        last = shape[3] == 3
        height, width = _checked_sides(path, *(shape[1:3] if last else shape[2:4]))
        scale = _scale_of(column, path)
    notes = ["the file does not say how its frames were made; they may have been lossy video once"]
    if others:
        notes.append(f"of {path.name} only 'frames' is read, and not {', '.join(others[:5])}")
    return Clip(
        path=path,
        height=height,
        width=width,
        read=lambda: _column_frames(path, last, scale),
        frames=shape[0],
        notes=tuple(notes),
    )


def _blocks(column: Any) -> Iterator[NDArray[Any]]:
    several = max(1, BLOCK_BYTES // max(1, int(np.prod(column.shape[1:])) * column.dtype.itemsize))
    for start in range(0, column.shape[0], several):
        yield np.asarray(column[start : start + several])


def _scale_of(column: Any, path: Path) -> float:
    """What the values are to be multiplied with: 1, or 255 where none is above 1."""
    if column.dtype == np.uint8:
        return 1.0
    highest = 0.0
    for block in _blocks(column):
        low, high = float(block.min()), float(block.max())
        if not (low >= 0 and high <= 255):  # which is false for what is no number, too
            raise ValueError(f"{path}: 'frames' must go from 0 to 1 or from 0 to 255, found {low:g} to {high:g}")
        highest = max(highest, high)
    return 255.0 if highest <= 1 else 1.0


def _column_frames(path: Path, last: bool, scale: float) -> Iterator[Frame]:
    with stranger(path) as columns:
        for block in _blocks(columns["frames"]):
            if block.dtype != np.uint8:
                block = np.rint(block.astype(np.float64) * scale).astype(np.uint8)
            yield from np.ascontiguousarray(block if last else block.transpose(0, 2, 3, 1))
