"""Where a world's actions come from, by the class of its config: a LAM, or the game's own buttons."""

from __future__ import annotations

from typing import Any

from torch import nn

from models.given_actions import GivenActions, RealActions
from models.latent_actions import LatentActionConfig, LatentActionModel
from models.motion_actions import MotionActionConfig, MotionActionModel
from models.patch_actions import PatchActionConfig, PatchActionModel
from models.pixel_actions import PixelActionConfig, PixelActionModel
from models.tokenizer import Tokenizer
from models.world import WorldSpec

OfTokens = LatentActionConfig | PatchActionConfig | MotionActionConfig | PixelActionConfig | RealActions
"""What a world of tokens may have."""
OfFrames = PatchActionConfig | MotionActionConfig | PixelActionConfig | RealActions
"""What a world without tokens may have."""


def action_model(config: Any, spec: WorldSpec, tokenizer: Any = None) -> nn.Module:
    """The untrained model that a config describes. tokenizer: of the world, where it has one whose tokens the LAM
    rebuilds."""
    if isinstance(config, RealActions):
        return GivenActions()
    if isinstance(config, MotionActionConfig):
        return MotionActionModel(config, spec)
    if isinstance(config, PatchActionConfig):
        return PatchActionModel(config, spec)
    if isinstance(config, PixelActionConfig):
        return PixelActionModel(config, spec)
    assert isinstance(tokenizer, Tokenizer), "this LAM rebuilds tokens"
    return LatentActionModel(config, spec, tokenizer)
