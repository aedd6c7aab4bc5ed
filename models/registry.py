"""The families of worlds by name: written out, so that a reader finds them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from models.dynamics.autoregressive import AutoregressiveFamily
from models.dynamics.genie import GenieFamily
from models.dynamics.latent_flow import LatentFlowFamily
from models.dynamics.latent_predictor import LatentPredictorFamily
from models.dynamics.maskgit import MaskGITFamily
from models.dynamics.one_pass import OnePassFamily
from models.dynamics.pixel_film import PixelFiLMFamily
from models.dynamics.regression import RegressionFamily
from models.dynamics.warp import WarpFamily

FAMILIES: dict[str, Callable[..., Any]] = {
    "autoregressive": AutoregressiveFamily,
    "genie": GenieFamily,
    "latent_flow": LatentFlowFamily,
    "latent_predictor": LatentPredictorFamily,
    "maskgit": MaskGITFamily,
    "one_pass": OnePassFamily,
    "pixel_film": PixelFiLMFamily,
    "regression": RegressionFamily,
    "warp": WarpFamily,
}
ALIASES = {
    "latent_ae": "latent_predictor",
    "latent_flow_stub": "latent_flow",
    "latent_flow_world_model": "latent_flow",
    "pixel_world_model": "pixel_film",
}
"""Other names, as elsewhere. A `latent_ae` is the autoencoder alone, which is the first part of a latent predictor; see
`alone`."""


def family(name: str) -> Callable[..., Any]:
    """The config class of a family. Raises ValueError listing the known ones."""
    known = ALIASES.get(name, name)
    if known not in FAMILIES:
        raise ValueError(f"unsupported family {name!r}; supported: {', '.join(sorted({*FAMILIES, *ALIASES}))}")
    return FAMILIES[known]


def alone(name: str) -> bool:
    """Whether a name stands for the first part of its family and no more."""
    return name == "latent_ae"
