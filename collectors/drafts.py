"""Files that are whole or not there: written as a draft beside the target, fsynced, renamed."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

DRAFT = ".draft-"
LOCK = ".collect.lock"


def publish(path: Path, content: bytes) -> None:
    """Write a file so that a reader or a crash sees the old one or the new one, never a part.

    Raises OSError with one line that says what to do; the draft is gone then and an old file stays.
    """
    draft = path.with_name(f"{DRAFT}{path.name}")
    try:
        with open(draft, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
        _sync_folder(path.parent)
    except OSError as error:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        raise OSError(f"cannot write {path}: {_reason(error)}") from error


def _reason(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "no space left on the disk; make room and run the same command again to go on"
    return f"{(error.strerror or str(error)).lower()}; choose another place or make it writable"


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove_drafts(folder: Path) -> None:
    """Delete what a killed writer left half written."""
    for draft in folder.glob(f"{DRAFT}*"):
        draft.unlink(missing_ok=True)


@contextmanager
def only_writer(folder: Path, advice: str = "wait for it or choose another --out") -> Iterator[None]:
    """Make a folder and hold its lock; the system lets go of it when the process ends, however it ends.

    Raises OSError when the folder cannot be made or written, or another process is writing there; advice: what
    one can do about that.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = open(folder / LOCK, "ab")  # noqa: SIM115 closed below, after the caller is done
    except OSError as error:
        raise OSError(f"cannot write {folder}: {_reason(error)}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise OSError(f"another process is recording into {folder}; {advice}") from error
        yield
