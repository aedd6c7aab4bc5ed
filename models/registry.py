"""The families of worlds by name: written out, so that a reader finds them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from models.dynamics.genie import GenieFamily
from models.dynamics.maskgit import MaskGITFamily
from models.dynamics.warp import WarpFamily

FAMILIES: dict[str, Callable[..., Any]] = {
    "genie": GenieFamily,
    "maskgit": MaskGITFamily,
    "warp": WarpFamily,
}


def family(name: str) -> Callable[..., Any]:
    """The config class of a family. Raises ValueError listing the known ones."""
    if name not in FAMILIES:
        raise ValueError(f"unsupported family {name!r}; supported: {', '.join(sorted(FAMILIES))}")
    return FAMILIES[name]
