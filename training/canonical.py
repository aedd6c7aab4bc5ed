"""Metrics as they were published, for those who have their weights: LPIPS over AlexNet, FVD over I3D.

Nothing is fetched. A folder holds the files under the names that they are handed round with:
`alexnet-owt-7be5be79.pth`, whose name has the beginning of its own SHA-256 in it, `alex.pth`, the heads of LPIPS 0.1,
which may also come from an installed package `lpips`, and `i3d_torchscript.pt`, the I3D that StyleGAN-V measured
with. What was used is written beside the figures.
"""

from __future__ import annotations

import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

ALEXNET, HEADS, I3D = "alexnet-owt-7be5be79.pth", "alex.pth", "i3d_torchscript.pt"
CONVOLUTIONS = ((3, 64, 11, 4, 2), (64, 192, 5, 1, 2), (192, 384, 3, 1, 1), (384, 256, 3, 1, 1), (256, 256, 3, 1, 1))
"""AlexNet's: channels in and out, size, stride, padding. Before the second and the third the picture is halved."""

NAMES = (0, 3, 6, 8, 10)
"""What they are called in the file, as in `features.3.weight`."""


class Lpips(nn.Module):
    """How unlike two pictures look (Zhang et al. 2018, arXiv 1801.03924), version 0.1 over AlexNet: 0 for the same.

    alexnet, heads: the contents of the two files. Raises ValueError where they are other ones.
    """

    def __init__(self, alexnet: dict[str, Tensor], heads: dict[str, Tensor]) -> None:
        super().__init__()
        self.see = nn.ModuleList(nn.Conv2d(a, b, size, step, pad) for a, b, size, step, pad in CONVOLUTIONS)
        self.weigh = nn.ModuleList(nn.Conv2d(layer[1], 1, 1, bias=False) for layer in CONVOLUTIONS)
        try:
            for index, (layer, head) in enumerate(zip(self.see, self.weigh, strict=True)):
                name = f"features.{NAMES[index]}"
                layer.load_state_dict({part: alexnet[f"{name}.{part}"] for part in ("weight", "bias")})
                head.load_state_dict({"weight": heads[f"lin{index}.model.1.weight"]})
        except (KeyError, RuntimeError) as error:
            raise ValueError(f"these are not the weights of LPIPS over AlexNet: {error}") from error
        self.requires_grad_(False).eval()

    @torch.inference_mode()
    def forward(self, truth: Tensor, guess: Tensor) -> Tensor:
        """uint8 [B, 3, H, W] twice, 32 pixels or more a side → float [B]."""
        return self.between(truth.float() / 255, guess.float() / 255)

    def between(self, truth: Tensor, guess: Tensor) -> Tensor:
        """The same of float frames in [0, 1], with a gradient."""
        x = 2 * torch.cat([truth, guess]) - 1
        x = (x - x.new_tensor([-0.030, -0.088, -0.188])[:, None, None]) / x.new_tensor([0.458, 0.448, 0.450])[
            :, None, None
        ]
        total = x.new_zeros(len(truth))
        for index, (layer, head) in enumerate(zip(self.see, self.weigh, strict=True)):
            x = F.relu(layer(F.max_pool2d(x, 3, 2) if index in (1, 2) else x))
            one, two = (x / (x.square().sum(dim=1, keepdim=True).sqrt() + 1e-10)).chunk(2)
            total = total + head((one - two).square()).mean(dim=(1, 2, 3))
        return total


class I3d:
    """Features of clips, by the TorchScript that StyleGAN-V measured FVD with."""

    def __init__(self, script: Any) -> None:
        self._script = script

    @torch.inference_mode()
    def look(self, clips: Tensor, batch: int = 4) -> NDArray[np.float64]:
        """uint8 [N, T, 3, H, W], ten frames or more → float [N, 400]."""
        parts = [
            self._script(part.transpose(1, 2).float(), rescale=True, resize=True, return_features=True)
            for part in torch.split(clips, batch)
        ]
        return torch.cat(parts).double().numpy()


@dataclass(frozen=True, kw_only=True, slots=True)
class Canonical:
    """What there are weights for, and the SHA-256 of each file that was read."""

    lpips: Lpips | None = None
    i3d: I3d | None = None
    files: dict[str, str]


def canonical(folder: Path, fvd: bool = False) -> Canonical:
    """What can be measured with the weights in a folder. fvd: also load the I3D, which runs the code in that file.

    Raises ValueError naming what is missing or not what its name says.
    """
    files: dict[str, str] = {}
    lpips, i3d = None, None
    alexnet = folder / ALEXNET
    if alexnet.is_file():
        heads = _heads(folder)
        lpips = Lpips(_weights(alexnet, files), _weights(heads, files))
    if fvd:
        script = folder / I3D
        if not script.is_file():
            raise ValueError(f"FVD needs {script}, which is not there")
        files[I3D] = _digest(script)
        try:
            i3d = I3d(torch.jit.load(str(script), map_location="cpu").eval())  # type: ignore[no-untyped-call]  # torch's own
        except RuntimeError as error:
            raise ValueError(f"{script} is no TorchScript: {str(error).splitlines()[0]}") from error
    if lpips is None and i3d is None:
        raise ValueError(f"{folder} has no {ALEXNET} for LPIPS; put it there, or leave --weights-dir away")
    return Canonical(lpips=lpips, i3d=i3d, files=files)


def _heads(folder: Path) -> Path:
    places = [folder / HEADS]
    package = importlib.util.find_spec("lpips")
    if package is not None and package.origin is not None:
        places.append(Path(package.origin).parent / "weights" / "v0.1" / HEADS)
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise ValueError(f"LPIPS needs its heads, {HEADS} of version 0.1, in {folder} or from `pip install lpips`")
    return found


def _weights(path: Path, files: dict[str, str]) -> dict[str, Tensor]:
    """The tensors of a file, none of which is code; its digest goes into `files`."""
    digest = _digest(path)
    if path.name == ALEXNET and not digest.startswith("7be5be79"):
        raise ValueError(f"{path} is damaged or another file: its SHA-256 begins with {digest[:8]}")
    files[path.name] = digest
    try:
        found: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(f"{path} holds no weights: {str(error).splitlines()[0]}") from error
    return found


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
