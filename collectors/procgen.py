"""A game of Procgen, straight through its C library: an action in, an RGB frame of 64x64 out.

The wheel brings `libenv.so`, which speaks the libenv protocol (version 1: options in, pointers to buffers, observe,
act). Nothing else of the wheel is imported: no gym, no gym3, no old numpy.

A seed is a level: one episode plays one level, in hard mode, and after it the machine is somewhere else. Nothing is
random once the level is set.

Procgen shows no picture of the end. With the step that ends a level it shows the next level at once, which nobody
played for; so the last frame of an episode is the one before it again.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib.util
import os
import struct
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from collectors.games import PROCGEN_ACTIONS, Action, Game
from collectors.machines import NO_RAM, Frame, checked_id, seal, unseal

VERSION = 1  # of the libenv protocol
SIDE = 64  # pixels that the library draws
NAME_LENGTH, MOST_AXES, MOST_STATE = 128, 16, 1 << 20
UINT8, INT32 = 1, 2  # libenv's numbers for types
OBSERVATION, ACTION, INFO = 1, 2, 3  # and for kinds of buffers
ITEM_SIZES = {UINT8: 1, INT32: 4, 3: 4}
HARD = 1
RESET = -1  # the action that leaves a level
MARK = 1_234_567_890  # a level that stands in a fresh state where its range is
LONGEST, AGENT = 1000, 52  # steps that a level may last; bytes of a state from there to the agent's place
LEVEL_TILES, SEEN_TILES = 64, 13  # how high a level of CoinRun is, and how much of it is seen at once
WHEELS = ("procgen-mirror", "procgen2", "procgen")


class _Option(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char * NAME_LENGTH),
        ("dtype", ctypes.c_int),
        ("count", ctypes.c_int),
        ("data", ctypes.c_void_p),
    )


class _Options(ctypes.Structure):
    _fields_ = (("items", ctypes.POINTER(_Option)), ("count", ctypes.c_int))


class _Tensor(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char * NAME_LENGTH),
        ("scalar_type", ctypes.c_int),
        ("dtype", ctypes.c_int),
        ("shape", ctypes.c_int * MOST_AXES),
        ("ndim", ctypes.c_int),
        ("low", ctypes.c_int32),
        ("high", ctypes.c_int32),
    )


class _Buffers(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_void_p) for name in ("ob", "rew", "first", "info", "ac"))


def _folder() -> Path:
    """The folder of the wheel. It is found and not imported."""
    spec = importlib.util.find_spec("procgen")
    assert spec is not None, "machines.py asks for the package first"
    assert spec.origin is not None, "a package has a file"
    return Path(spec.origin).parent


@lru_cache(maxsize=1)
def _library() -> ctypes.CDLL:
    path = _folder() / "data" / "prebuilt" / "libenv.so"
    try:
        # the library brings a Qt of its own, which must not meet that of another package
        library = ctypes.CDLL(str(path), os.RTLD_NOW | os.RTLD_LOCAL | os.RTLD_DEEPBIND)
    except OSError as error:
        raise ValueError(f"procgen's library does not load: {error}; pip install procgen-mirror==0.10.7") from error
    if library.libenv_version() != VERSION:
        raise ValueError(f"{path} speaks libenv {library.libenv_version()}, expected {VERSION}; see procgen-mirror")
    library.libenv_make.restype = ctypes.c_void_p
    library.libenv_make.argtypes = (ctypes.c_int, _Options)
    library.libenv_get_tensortypes.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)
    library.libenv_set_buffers.argtypes = (ctypes.c_void_p, ctypes.c_void_p)
    for name in ("libenv_observe", "libenv_act", "libenv_close"):
        getattr(library, name).argtypes = (ctypes.c_void_p,)
        getattr(library, name).restype = None
    for name in ("get_state", "set_state"):
        getattr(library, name).argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_int)
    library.set_state.restype = None
    return library


def versions() -> dict[str, str]:
    """Which wheel, and its library's sha256: two wheels of one version draw differently."""
    found = [f"{name} {metadata.version(name)}" for name in WHEELS if _has(name)]
    with (_folder() / "data" / "prebuilt" / "libenv.so").open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"procgen": found[0] if found else "unknown", "libenv": digest[:16]}


def _has(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


class _Console:
    """One environment of the library with its buffers. It plays whichever level it is told to."""

    def __init__(self, name: str) -> None:
        self._library = library = _library()
        options, keep = _options(name)
        self._handle = library.libenv_make(1, options)
        del keep  # the library has read its options
        self.frame = np.zeros((SIDE, SIDE, 3), np.uint8)
        self._action, self._reward, self._first = np.zeros(1, np.int32), np.zeros(1, np.float32), np.zeros(1, np.uint8)
        self.info = {name: np.zeros(size, np.uint8) for name, size in self._tensors(INFO)}
        assert self._tensors(OBSERVATION) == [("rgb", SIDE * SIDE * 3)], "procgen draws 64x64 in colour"
        assert self._tensors(ACTION) == [("action", 4)], "procgen takes one number"
        self._tables = [_pointers([self.frame]), _pointers([self._action]), _pointers(list(self.info.values()))]
        self._buffers = _Buffers(
            ob=ctypes.addressof(self._tables[0]),
            ac=ctypes.addressof(self._tables[1]),
            info=ctypes.addressof(self._tables[2]),
            rew=self._reward.ctypes.data,
            first=self._first.ctypes.data,
        )
        library.libenv_set_buffers(self._handle, ctypes.addressof(self._buffers))
        library.libenv_observe(self._handle)
        self._room = ctypes.create_string_buffer(MOST_STATE)
        self._fresh = self.state()
        mark = struct.pack("<ii", MARK, MARK + 1)
        self._level_at = self._fresh.find(mark)
        assert self._fresh.count(mark) == 1, "a state names its range of levels once"

    def begin(self, level: int) -> None:
        """Go to the first frame of a level, whatever was played before."""
        at = self._level_at
        self.go_to(self._fresh[:at] + struct.pack("<ii", level, level + 1) + self._fresh[at + 8 :])
        self.act(RESET)
        assert self.level == level, f"procgen plays level {self.level} instead of {level}"

    def act(self, action: int) -> tuple[float, bool]:
        """One step: its reward, and whether another level is shown now."""
        self._action[0] = action
        self._library.libenv_act(self._handle)
        self._library.libenv_observe(self._handle)
        return float(self._reward[0]), bool(self._first[0])

    @property
    def level(self) -> int:
        """The level that is shown."""
        return int(self.info["level_seed"].view(np.int32)[0])

    def agent(self) -> tuple[float, float]:
        """Where whoever is played is in the level, in tiles: right and up, from its lower left corner.

        A state names how long a level may last and which it is, then a dozen other numbers, then the things in it, the
        agent first, each beginning with its place. That was found by watching it.
        """
        state = self.state()
        at = state.find(struct.pack("<ii", LONGEST, self.level))
        assert at >= 0, "a state names its level"
        return struct.unpack_from("<ff", state, at + AGENT)

    def state(self) -> bytes:
        """All of the game's state."""
        length = self._library.get_state(self._handle, 0, self._room, MOST_STATE)
        return self._room.raw[:length]

    def go_to(self, state: bytes) -> None:
        """Take a state that `state` gave; anything else ends the process."""
        self._library.set_state(self._handle, 0, state, len(state))
        self._library.libenv_observe(self._handle)

    def close(self) -> None:
        """Let go of the library's memory."""
        if self._handle:
            self._library.libenv_close(self._handle)
            self._handle = None

    def _tensors(self, kind: int) -> list[tuple[str, int]]:
        """Names and bytes of the buffers of a kind, in their order."""
        count = self._library.libenv_get_tensortypes(self._handle, kind, None)
        found = (_Tensor * count)()
        self._library.libenv_get_tensortypes(self._handle, kind, ctypes.addressof(found))
        return [(t.name.decode(), ITEM_SIZES[t.dtype] * int(np.prod(t.shape[: t.ndim]))) for t in found]


def _options(name: str) -> tuple[_Options, list[Any]]:
    """libenv's options for one environment in hard mode, and what they point to."""
    chosen: dict[str, str | int | bool] = {
        "env_name": name,
        "num_levels": 1,
        "start_level": MARK,
        "num_actions": len(PROCGEN_ACTIONS),
        "use_sequential_levels": False,
        "debug_mode": 0,
        "rand_seed": 0,  # chooses among levels; there is one
        "num_threads": 0,
        "render_human": False,
        "resource_root": f"{_folder() / 'data' / 'assets'}{os.sep}",
        "center_agent": True,
        "use_generated_assets": False,
        "use_monochrome_assets": False,
        "restrict_themes": False,
        "use_backgrounds": True,
        "paint_vel_info": False,
        "distribution_mode": HARD,
    }
    items, keep = (_Option * len(chosen))(), list[Any]()
    for item, (key, value) in zip(items, chosen.items(), strict=True):
        item.name, item.count = key.encode(), 1
        if isinstance(value, str):
            data: Any = ctypes.create_string_buffer(value.encode())
            item.dtype, item.count = UINT8, len(value.encode())
        elif isinstance(value, bool):
            data, item.dtype = ctypes.c_uint8(value), UINT8
        else:
            data, item.dtype = ctypes.c_int32(value), INT32
        item.data = ctypes.addressof(data)
        keep.append(data)
    keep.append(items)
    return _Options(ctypes.cast(items, ctypes.POINTER(_Option)), len(chosen)), keep


def _pointers(arrays: list[NDArray[Any]]) -> Any:
    return (ctypes.c_void_p * len(arrays))(*(array.ctypes.data for array in arrays))


class ProcgenGame:
    """One running game of Procgen; see `Machine`."""

    ram = NO_RAM

    def __init__(self, game: Game) -> None:
        self.game = game
        self._console = _Console(game.rom)
        self._sized = (game.height, game.width) != (SIDE, SIDE)
        self._frame, self._over = self._look(), True

    def reset(self, seed: int) -> Frame:
        """Begin level `seed`. Returns uint8 [H, W, 3]."""
        self._console.begin(seed % (2**31 - 1))  # the end of the range of levels must fit, too
        self._frame, self._over = self._look(), False
        return self._frame

    def step(self, action: Action) -> tuple[Frame, float, bool]:
        """One step: frame uint8 [H, W, 3], reward, and whether the level is over; then the frame stays as it was."""
        assert not self._over, "reset comes first, and after the end of a game"
        reward, self._over = self._console.act(checked_id(action, len(PROCGEN_ACTIONS)))
        if not self._over:
            self._frame = self._look()
        return self._frame, reward, self._over

    @property
    def frame(self) -> Frame:
        """The present frame, uint8 [H, W, 3]."""
        return self._frame

    @property
    def objects(self) -> NDArray[np.float32] | None:
        """Where the player is, float32 [1, 3] of (visible, y, x), if the game's row names it; else None.

        In stored pixels from the level's upper left corner, not the frame's: the camera follows the player. After the
        end of a level it is where the next one begins, as the last frame shows no end either.
        """
        if not self.game.object_names:
            return None
        x, y = self._console.agent()
        rows, columns = self.game.height / SEEN_TILES, self.game.width / SEEN_TILES
        return np.array([(1.0, (LEVEL_TILES - y) * rows, x * columns)], np.float32)

    def snapshot(self) -> bytes:
        """The present, to come back to with `restore`."""
        return seal(self.game, struct.pack("<?", self._over) + self._frame.tobytes() + self._console.state())

    def restore(self, snapshot: bytes) -> Frame:
        """Go back to a snapshot of the same game and size. Raises ValueError when it is not one."""
        body, size = unseal(self.game, snapshot), self._frame.size
        self._console.go_to(body[1 + size :])
        self._over = bool(body[0])
        self._frame = np.frombuffer(body[1 : 1 + size], np.uint8).reshape(self._frame.shape)
        return self._frame

    def __del__(self) -> None:
        if hasattr(self, "_console"):
            self._console.close()

    def _look(self) -> Frame:
        frame = self._console.frame.copy()
        if self.game.gray:  # before the size is changed, as Procgen's wrappers do
            frame = np.repeat(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
        if not self._sized:
            return frame
        size = (self.game.width, self.game.height)
        return np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), np.uint8)


make = ProcgenGame
