"""Frames are encoded once; after that dynamics over latents never touch pixels again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from models.conv_autoencoder import ConvAutoencoder
from models.pixels import Pixels
from training.runs import writing
from training.token_cache import CLIP, fingerprint
from training.windows import Windows


class LatentCache:
    """Latents of every frame, as a memory map on disk, and the action of every transition.

    latents: float16 [frames, D, H', W'], or None where latents are the frames themselves; codes: int64 [frames], -1 at
    the last frame of an episode.
    """

    def __init__(
        self, windows: Windows, encoder: Pixels | None, latents: NDArray[np.float16] | None, codes: NDArray[np.int64]
    ) -> None:
        self.windows, self.encoder, self.latents, self.codes = windows, encoder, latents, codes
        self.firsts = np.concatenate([[0], np.cumsum(windows.lengths)[:-1]])

    def read(self, places: NDArray[np.int64], length: int) -> tuple[Tensor, Tensor]:
        """Windows at `places` [B, 2] → latents float [B, T, D, H', W'] and actions int64 [B, T-1]."""
        rows = (self.firsts[places[:, 0]] + places[:, 1])[:, None] + np.arange(length)
        codes = torch.from_numpy(self.codes[rows[:, :-1]])
        if self.latents is not None:
            return torch.from_numpy(self.latents[rows].astype(np.float32)), codes
        assert self.encoder is not None, "either latents or what makes them"
        return self.encoder.encode(self.windows.read(places, length).frames), codes


@torch.inference_mode()
def encode_all(windows: Windows, autoencoder: ConvAutoencoder, folder: Path, device: str) -> NDArray[np.float16]:
    """Latents of all frames, float16 [frames, D, H', W'], from the cache folder when they are there already."""
    path = folder / f"latents-{fingerprint(autoencoder, windows)}.npy"
    if not path.is_file():
        autoencoder.eval()
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(".draft")
        shape = (windows.frames, autoencoder.config.latent, *autoencoder.grid)
        with writing(path):
            try:
                out = open_memmap(draft, "w+", np.float16, shape)  # type: ignore[no-untyped-call]  # numpy's own
                at = 0
                for index in tqdm(range(len(windows.episodes)), desc="encode", unit="episode", leave=False):
                    for skip, clip in windows.clips_of(index, CLIP):
                        latents = autoencoder.encode(clip[None].to(device))[0, skip:]
                        out[at : at + len(latents)] = latents.half().cpu().numpy()
                        at += len(latents)
                out.flush()
                draft.rename(path)
            finally:
                draft.unlink(missing_ok=True)
    found: NDArray[np.float16] = np.load(path, mmap_mode="r")
    return found
