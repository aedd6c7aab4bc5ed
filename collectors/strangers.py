"""HDF5 files that others made. Nothing in them is believed before it is checked; our own are read in shards.py."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from collectors.shards import MOST_CHUNK_BYTES, SAFE_FILTERS

STRANGE_FILTERS = SAFE_FILTERS | {32000}  # lzf, which h5py brings
MOST_TIMES = 2000  # deflate makes bytes 1032 times fewer at most; who claims more is not to be believed


@contextmanager
def stranger(path: Path) -> Iterator[dict[str, Any]]:
    """The columns of an HDF5 file that others made, by their path in it, to be read slice by slice inside the `with`.

    Raises ValueError when it is no HDF5 file, and when anything in it lies outside of it, is packed with
    something that only other programs have, or claims to be far more than the file can hold.
    """
    try:
        file = h5py.File(path, "r", locking=False)
    except (OSError, RuntimeError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as HDF5: it is truncated, damaged or something else") from error
    columns: dict[str, Any] = {}

    def look(name: str, link: Any) -> str | None:
        """Note a column; the name of what is not in the file ends the walk, as h5py wants no exceptions here."""
        thing = file[name] if isinstance(link, h5py.HardLink) else None
        if thing is None or (isinstance(thing, h5py.Dataset) and (thing.is_virtual or thing.external)):
            return name
        if isinstance(thing, h5py.Dataset):
            columns[name] = thing
        return None

    with file:
        try:
            if outside := file.visititems_links(look):
                raise ValueError(f"{path}: '{outside}' points outside the file; do not use it")
            for name, column in columns.items():
                _check_strange(column, name, path)
            yield columns
        except (OSError, RuntimeError, KeyError) as error:
            raise ValueError(f"{path} is truncated or damaged; copy it again") from error


def _check_strange(column: h5py.Dataset, name: str, path: Path) -> None:
    plan = column.id.get_create_plist()
    filters = {plan.get_filter(index)[0] for index in range(plan.get_nfilters())}
    if not filters <= STRANGE_FILTERS:
        raise ValueError(f"{path}: '{name}' is packed with HDF5 filter {max(filters)}; repack it with gzip: h5repack")
    chunk = int(np.prod(column.chunks or (1,))) * column.dtype.itemsize
    claimed, held = column.size * column.dtype.itemsize, column.id.get_storage_size()
    if chunk > MOST_CHUNK_BYTES or claimed > MOST_TIMES * (held + 65536):
        raise ValueError(f"{path}: '{name}' claims {claimed / 1e9:.1f} GB and the file holds {held / 1e9:.1f}")
