"""Pictures of what a part has learned, drawn from held-out play while it trains."""

from __future__ import annotations

import numpy as np
import torch
from einops import rearrange
from torch import Tensor, nn

from models.autoencoder import PatchAutoencoder
from models.conv_autoencoder import ConvAutoencoder
from models.displacement import displacement
from models.frames import to_float, to_uint8
from models.given_actions import actions_between
from models.latent_actions import LatentActionModel
from models.motion_actions import HISTORY, MotionActionModel
from models.pixel_actions import PixelActionModel
from models.tokenizer import Tokenizer
from models.world import Window
from training.snapshots import Learned, with_dynamics
from training.windows import Windows


def sheet(rows: Tensor, gap: int = 2, scale: int = 2) -> Tensor:
    """uint8 [rows, columns, C, H, W] → one picture uint8 [C, H', W'], enlarged, with gaps."""
    framed = torch.nn.functional.pad(rows, (0, gap, 0, gap), value=255)
    picture = rearrange(framed, "r k c h w -> c (r h) (k w)")
    return picture.repeat_interleave(scale, dim=1).repeat_interleave(scale, dim=2)


def held_out_window(windows: Windows, length: int, batch: int = 3, seed: int = 1) -> Window:
    """The same few windows every time."""
    return windows.read(windows.draw(np.random.default_rng(seed), batch, length), length)


@torch.inference_mode()
def reconstruction_sheet(tokenizer: nn.Module, windows: Windows) -> Tensor:
    """Rows in pairs: real frames and what the tokenizer makes of them."""
    assert isinstance(tokenizer, Tokenizer | PatchAutoencoder | ConvAutoencoder)
    frames = held_out_window(windows, 8).frames
    device = next((weight.device for weight in (*tokenizer.parameters(), *tokenizer.buffers())), frames.device)
    rebuilt = tokenizer.reconstruct(frames.to(device)).cpu()
    return sheet(torch.stack([frames, rebuilt], dim=1).flatten(0, 1))


@torch.inference_mode()
def code_sheet(lam: LatentActionModel, tokenizer: Tokenizer, windows: Windows) -> Tensor:
    """One row a clip: the last frame, then the likeliest next frame under every code."""
    window = held_out_window(windows, lam.config.reach)
    tokens, table = tokenizer.encode(window.frames), lam.table()  # [B, T, N]
    remembered = lam.remember(tokens, table)[:, -1]  # [B, N, D]
    rows = []
    for x, clip, frames in zip(remembered, tokens, window.frames, strict=True):
        nexts = []
        for code in range(lam.config.codes):
            likeliest = lam.tell(x, torch.full_like(clip[-1], code), clip[-1], table).argmax(-1)
            nexts.append(tokenizer.decode(torch.cat([clip, likeliest[None]])[None])[0, -1])
        rows.append(torch.stack([frames[-1], *nexts]))
    return sheet(torch.stack(rows))


@torch.inference_mode()
def pixel_code_sheet(lam: PixelActionModel, windows: Windows) -> Tensor:
    """One row a clip: the last frame, then the next frame under every code."""
    frames = held_out_window(windows, lam.config.reach).frames
    nexts = [lam.next_frame(frames, torch.full((len(frames),), code)) for code in range(lam.config.codes)]
    return sheet(torch.stack([frames[:, -1], *nexts], dim=1))


@torch.inference_mode()
def motion_sheet(lam: MotionActionModel, windows: Windows) -> Tensor:
    """One row a clip: the last frame, then the next frame under every code."""
    frames = held_out_window(windows, HISTORY).frames
    seen, moved = to_float(frames) - 0.5, displacement(frames[:, 0], frames[:, 1])
    nexts = [lam.tell(seen, torch.full((len(seen),), code), moved) for code in range(lam.config.codes)]
    told = to_uint8(torch.stack(nexts, dim=1) + 0.5)
    return sheet(torch.cat([frames[:, -1:], told], dim=1))


@torch.inference_mode()
def dream_sheet(world: Learned, dynamics: nn.Module, windows: Windows, frames: int = 16) -> Tensor:
    """Rows in pairs: held-out play, and the dream from its first frames with the codes read off it."""
    dreamer = with_dynamics(world, dynamics)
    context = world.spec.context
    window = held_out_window(windows, context + frames)
    codes = actions_between(window if not hasattr(world, "infer_actions") else Window(window.frames), world)
    generator = torch.Generator().manual_seed(0)
    state = dreamer.reset(Window(window.frames[:, :context], codes[:, : context - 1]))
    dreamed = []
    for step in range(frames):
        state = dreamer.step(state, codes[:, context - 1 + step], generator)
        dreamed.append(dreamer.render(state).cpu())
    real = window.frames[:, context:]
    return sheet(torch.stack([real, torch.stack(dreamed, dim=1)], dim=1).flatten(0, 1), scale=1)
