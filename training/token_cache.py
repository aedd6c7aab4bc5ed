"""Frames are tokenized once; after that dynamics never touch pixels again."""

from __future__ import annotations

import functools
import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from models.displacement import displacements
from models.dynamics.changes import Counted, count_changes
from models.given_actions import GivenActions
from models.motion_actions import HISTORY, MotionActionModel
from models.tokenizer import Tokenizer
from training.runs import write_bytes
from training.windows import Windows

CLIP = 64
"""Frames that are read at a time: few enough that what a network makes of them stays in the cache of a CPU."""

FINE = 256
"""Steps of a pixel in which displacements are kept."""


def fingerprint(module: torch.nn.Module | None, windows: Windows) -> str:
    """Hex digest of a module's weights, if there is one, and of the episodes it is applied to."""
    digest = hashlib.sha256()
    for key, value in sorted(module.state_dict().items() if module is not None else ()):
        digest.update(key.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    for dataset in windows.datasets:
        digest.update(json.dumps([shard.sha256 for shard in dataset.manifest.shards]).encode())
    digest.update(np.asarray([ref.seed for _, ref in windows.episodes]).tobytes())
    return digest.hexdigest()[:16]


class TokenCache:
    """Tokens of every frame and codes of every transition of some windows, as memory maps on disk.

    tokens: int32 [frames, N]; codes: int64 [frames], the code between a frame and the next, -1 at the
    last frame of an episode.
    """

    def __init__(self, windows: Windows, tokens: NDArray[np.int32], codes: NDArray[np.int64] | None = None) -> None:
        self.windows, self.tokens, self.codes = windows, tokens, codes
        self.firsts = np.concatenate([[0], np.cumsum(windows.lengths)[:-1]])

    def read(self, places: NDArray[np.int64], length: int) -> tuple[Tensor, Tensor | None]:
        """Windows at `places` [B, 2] → tokens int64 [B, T, N] and, if known, codes int64 [B, T-1]."""
        rows = (self.firsts[places[:, 0]] + places[:, 1])[:, None] + np.arange(length)
        tokens = torch.from_numpy(self.tokens[rows].astype(np.int64))
        codes = None if self.codes is None else torch.from_numpy(self.codes[rows[:, :-1]])
        return tokens, codes

    def read_across(self, rng: np.random.Generator, count: int, length: int) -> tuple[Tensor, Tensor]:
        """`count` windows in which one game ends and the next begins, as a player sees it: tokens int64
        [count, T, N] and codes int64 [count, T-1].

        The code between the games is -1, as at the last frame of an episode: a new game begins whatever is pressed.
        Raises ValueError where no game of `length` frames ends.
        """
        if not self.can_cross(length) or self.codes is None:
            raise ValueError(f"no game of {length} frames or more ends in this data")
        lengths = self.windows.lengths
        over, following = self.ended[lengths[self.ended] >= length], np.flatnonzero(lengths >= length)
        ending, beginning = rng.choice(over, count), rng.choice(following, count)
        if len(set(self.games)) > 1:  # after the end of a game the same game begins
            same = [following[self.games[following] == self.games[end]] for end in ending]
            beginning = np.array([rng.choice(own) for own in same])
        kept = rng.integers(1, length, (count, 1))  # frames of the game that ends
        at = np.arange(length)[None]
        last = (self.firsts + lengths)[ending][:, None]
        rows = np.where(at < kept, last - kept + at, self.firsts[beginning][:, None] + at - kept)
        codes = self.codes[rows[:, :-1]]
        return torch.from_numpy(self.tokens[rows].astype(np.int64)), torch.from_numpy(codes)

    def seen(self, size: int) -> NDArray[np.bool_]:
        """bool [N, V]: which of `size` tokens were ever seen at which place."""
        out = np.zeros((self.tokens.shape[1], size), np.bool_)
        for place in range(len(out)):
            out[place, np.unique(self.tokens[:, place])] = True
        return out

    def changes(self, shades: Tensor, grid: tuple[int, int], wide: int) -> Counted:
        """What changes of colour there are within games; see `changes.count_changes`."""
        return count_changes(np.asarray(self.tokens), self.firsts, shades.numpy(), grid, wide)

    def can_cross(self, length: int) -> bool:
        """Whether any game of `length` frames or more ends."""
        return bool((self.windows.lengths[self.ended] >= length).any())

    @functools.cached_property
    def games(self) -> NDArray[np.str_]:
        """str [E]: the game of each episode."""
        return np.array([dataset.manifest.game for dataset, _ in self.windows.episodes])

    @functools.cached_property
    def ended(self) -> NDArray[np.int64]:
        """int64 [E]: the episodes at whose end the game was over."""
        return self.windows.over()


@torch.inference_mode()
def tokenize(windows: Windows, tokenizer: Tokenizer, folder: Path, device: str = "cpu") -> TokenCache:
    """Tokens of all frames, from the cache folder when they are there already."""
    path = folder / f"tokens-{fingerprint(tokenizer, windows)}.npy"
    if not path.is_file():
        tokenizer.eval()
        parts = []
        for index in tqdm(range(len(windows.episodes)), desc="tokenize", unit="episode", leave=False):
            for skip, clip in windows.clips_of(index, CLIP, overlap=tokenizer.reach - 1):
                tokens = tokenizer.encode(clip[None].to(device))[0, skip:]
                parts.append(tokens.to(torch.int32).cpu().numpy())
        save_array(path, np.concatenate(parts))
    return TokenCache(windows, np.load(path, mmap_mode="r"))


def codes_of(windows: Windows, lam: Any, folder: Path, device: str = "cpu") -> NDArray[np.int64]:
    """The action of every transition, int64 [frames], -1 at the last frame of an episode: as the LAM reads them, from
    the cache folder when they are there already, or as they were recorded where actions are real."""
    if isinstance(lam, GivenActions):
        return np.concatenate([np.append(taken, -1).astype(np.int64) for taken in windows.column("actions")])
    path = folder / f"codes-{fingerprint(lam, windows)}.npy"
    if not path.is_file():
        lam.eval()
        past = HISTORY if isinstance(lam, MotionActionModel) else 1
        (codes,) = of_transitions(windows, lambda clip: (lam.infer(clip),), past, device)
        save_array(path, np.concatenate([np.append(found, -1) for found in codes]))
    found: NDArray[np.int64] = np.load(path, mmap_mode="r")
    return found


def read_codes(cache: TokenCache, lam: Any, folder: Path, device: str = "cpu") -> TokenCache:
    """The same cache with the action of every transition; see `codes_of`."""
    return TokenCache(cache.windows, cache.tokens, codes_of(cache.windows, lam, folder, device))


def read_motion(windows: Windows, lam: Any, folder: Path, device: str = "cpu") -> TokenCache:
    """Instead of tokens how far the picture moves from each frame to the next, int32 [frames, 2] in steps of 1 / FINE
    pixels, and the action of every transition."""
    if isinstance(lam, GivenActions):
        path = folder / f"displacements-{fingerprint(None, windows)}.npy"
        if not path.is_file():
            (moved,) = of_transitions(windows, lambda clip: (displacements(clip),), 1, device)
            save_array(path, _steps(moved))
        return TokenCache(windows, np.load(path, mmap_mode="r"), codes_of(windows, lam, folder, device))
    of = fingerprint(lam, windows)
    paths = [folder / f"{name}-{of}.npy" for name in ("motion", "codes")]
    if not all(path.is_file() for path in paths):
        lam.eval()
        codes, moved = of_transitions(windows, lam.read, 2, device)
        save_array(paths[0], _steps(moved))
        save_array(paths[1], np.concatenate([np.append(found, -1) for found in codes]))
    motion, read = (np.load(path, mmap_mode="r") for path in paths)
    return TokenCache(windows, motion, read)


def _steps(moved: list[NDArray[Any]]) -> NDArray[np.int32]:
    """Displacements of the transitions of each episode, in pixels → int32 [frames, 2]."""
    return np.concatenate([np.pad(np.rint(FINE * found).astype(np.int32), ((0, 1), (0, 0))) for found in moved])


@torch.inference_mode()
def of_transitions(
    windows: Windows, read: Callable[[Tensor], tuple[Tensor, ...]], overlap: int, device: str
) -> tuple[list[NDArray[Any]], ...]:
    """What `read` says of the transitions of clips uint8 [1, T, C, H, W], each [1, T-1, ...]: for each of its answers a
    list over the episodes. overlap: frames of the past that it needs, two or more of all frames at a time."""
    found: list[list[NDArray[Any]]] = []
    for index in tqdm(range(len(windows.episodes)), desc="read codes", unit="episode", leave=False):
        parts = []
        for skip, clip in windows.clips_of(index, CLIP, overlap=overlap):
            answers = read(clip[None].to(device))
            parts.append([answer[0, max(0, skip - 1) :].cpu().numpy() for answer in answers])
        found.append([np.concatenate(answer) for answer in zip(*parts, strict=True)])
    return tuple(list(answer) for answer in zip(*found, strict=True))


def save_array(path: Path, values: NDArray[np.generic]) -> None:
    """Write an array to be mapped into memory later, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = io.BytesIO()
    np.save(content, values)
    write_bytes(path, content.getbuffer())
