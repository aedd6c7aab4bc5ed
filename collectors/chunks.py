"""Frames out of a shard without HDF5: where its chunks lie is looked up once, then threads inflate them side by side.

HDF5 lets in one thread at a time and keeps a cache for every open file. A table of a few bytes a chunk does
neither, so that reading fills all cores and the memory it takes does not grow with the size of the frames.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

DEFLATE = 1  # HDF5's number for it
BROKEN = cast("type[Exception]", isal_zlib.error)  # whose stubs call it an instance


@dataclass(frozen=True, kw_only=True, slots=True)
class Chunks:
    """Where the frames of one shard lie. offsets int64, sizes int32: bytes of each chunk in the file, deflated.

    rows: frames a chunk; frame: H, W, 3.
    """

    path: Path
    offsets: NDArray[np.int64]
    sizes: NDArray[np.int32]
    rows: int
    frame: tuple[int, int, int]

    @classmethod
    def of(cls, file: Any, path: Path) -> Chunks | None:
        """Look them up in an open HDF5 file; None where they are not packed as whole frames, deflated, nothing else."""
        frames = file["frames"]
        plan, rows = frames.id.get_create_plist(), (frames.chunks or (0,))[0]
        deflated = plan.get_nfilters() == 1 and plan.get_filter(0)[0] == DEFLATE
        if not deflated or frames.chunks[1:] != frames.shape[1:] or file.userblock_size:
            return None
        found = [frames.id.get_chunk_info_by_coord((row, 0, 0, 0)) for row in range(0, len(frames), rows)]
        if any(chunk.filter_mask or chunk.byte_offset is None for chunk in found):
            return None
        return cls(
            path=path,
            offsets=np.array([chunk.byte_offset for chunk in found], np.int64),
            sizes=np.array([chunk.size for chunk in found], np.int32),
            rows=rows,
            frame=frames.shape[1:],
        )

    def fill(self, start: int, out: NDArray[np.uint8]) -> None:
        """Write frames start, start + 1, … into `out` uint8 [T, H, W, 3], which may be a view of any strides.

        Raises ValueError saying what is wrong with which chunk, OSError when the file cannot be read.
        """
        stop = start + len(out)
        handle = os.open(self.path, os.O_RDONLY)
        try:
            for chunk in range(start // self.rows, (stop - 1) // self.rows + 1):
                first = chunk * self.rows
                begin, end = max(start, first), min(stop, first + self.rows)
                out[begin - start : end - start] = self._inflate(handle, chunk)[begin - first : end - first]
        finally:
            os.close(handle)

    def _inflate(self, handle: int, chunk: int) -> NDArray[np.uint8]:
        """One chunk uint8 [rows, H, W, 3]; the checksum at its end is compared."""
        size, expected = int(self.sizes[chunk]), self.rows * int(np.prod(self.frame))
        packed = os.pread(handle, size, int(self.offsets[chunk]))
        opened = isal_zlib.decompressobj()
        try:
            content = opened.decompress(packed, expected + 1)
        except BROKEN as error:
            raise ValueError(f"chunk {chunk} of its frames cannot be unpacked") from error
        if len(packed) != size or len(content) != expected or not opened.eof:
            raise ValueError(f"chunk {chunk} of its frames is cut off")
        return np.frombuffer(content, np.uint8).reshape(self.rows, *self.frame)


def narrow(values: NDArray[Any]) -> NDArray[Any]:
    """The same whole numbers in as few bytes as hold them; anything else as it is."""
    if values.dtype.kind == "i" and values.size:
        for kind in (np.uint8, np.int8, np.int16, np.int32):
            if np.iinfo(kind).min <= values.min() and values.max() <= np.iinfo(kind).max:
                return values.astype(kind)
    return values
