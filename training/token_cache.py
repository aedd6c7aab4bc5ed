"""Frames are tokenized once; after that dynamics never touch pixels again."""

from __future__ import annotations

import functools
import hashlib
import io
import json
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from models.latent_actions import LatentActionModel
from models.motion_actions import MotionActionModel
from models.tokenizer import Tokenizer
from training.runs import write_bytes
from training.windows import Windows

CLIP = 256


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

        The code between the games is random, as a new game begins whatever is pressed. Raises ValueError
        where no game of `length` frames ends.
        """
        if not self.can_cross(length) or self.codes is None:
            raise ValueError(f"no game of {length} frames or more ends in this data")
        lengths = self.windows.lengths
        over, following = self.ended[lengths[self.ended] >= length], np.flatnonzero(lengths >= length)
        ending, beginning = rng.choice(over, count), rng.choice(following, count)
        kept = rng.integers(1, length, (count, 1))  # frames of the game that ends
        at = np.arange(length)[None]
        last = (self.firsts + lengths)[ending][:, None]
        rows = np.where(at < kept, last - kept + at, self.firsts[beginning][:, None] + at - kept)
        codes = self.codes[rows[:, :-1]]
        codes = np.where(at[:, :-1] == kept - 1, rng.integers(0, int(self.codes.max()) + 1, codes.shape), codes)
        return torch.from_numpy(self.tokens[rows].astype(np.int64)), torch.from_numpy(codes)

    def can_cross(self, length: int) -> bool:
        """Whether any game of `length` frames or more ends."""
        return bool((self.windows.lengths[self.ended] >= length).any())

    @functools.cached_property
    def ended(self) -> NDArray[np.int64]:
        """int64 [E]: the episodes at whose end the game was over."""
        return self.windows.over()


@torch.inference_mode()
def tokenize(windows: Windows, tokenizer: Tokenizer, folder: Path, device: str = "cpu") -> TokenCache:
    """Tokens of all frames, from the cache folder when they are there already."""
    path = folder / f"tokens-{fingerprint(tokenizer, windows)}.npy"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        tokenizer.eval()
        parts = []
        for index in tqdm(range(len(windows.episodes)), desc="tokenize", unit="episode", leave=False):
            for skip, clip in windows.clips_of(index, CLIP, overlap=tokenizer.reach - 1):
                tokens = tokenizer.encode(clip[None].to(device))[0, skip:]
                parts.append(tokens.to(torch.int32).cpu().numpy())
        save_array(path, np.concatenate(parts))
    return TokenCache(windows, np.load(path, mmap_mode="r"))


@torch.inference_mode()
def read_codes(
    cache: TokenCache, lam: LatentActionModel | MotionActionModel, folder: Path, device: str = "cpu"
) -> TokenCache:
    """The same cache with the LAM's code of every transition."""
    path = folder / f"codes-{fingerprint(lam, cache.windows)}.npy"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        lam.eval()
        parts = []
        for index in tqdm(range(len(cache.windows.episodes)), desc="read codes", unit="episode", leave=False):
            codes = []
            for skip, clip in cache.windows.clips_of(index, CLIP, overlap=1):
                found = lam.infer(clip[None].to(device))[0].cpu().numpy()
                codes.append(found[max(0, skip - 1) :])
            parts.append(np.append(np.concatenate(codes), -1))
        save_array(path, np.concatenate(parts))
    return TokenCache(cache.windows, cache.tokens, np.load(path, mmap_mode="r"))


def save_array(path: Path, values: NDArray[np.generic]) -> None:
    """Write an array to be mapped into memory later, whole or not at all."""
    content = io.BytesIO()
    np.save(content, values)
    write_bytes(path, content.getbuffer())
