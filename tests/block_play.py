"""A game of two blocks whose rules are known, for tests of what models learn.

The green player in the lower third goes 4 pixels left, nowhere or right as the move says; the white
ball in the upper third goes its own way, 2 pixels a step, and turns back at the walls.
"""

from __future__ import annotations

import numpy as np
import torch

from models.world import Window, WorldSpec

HEIGHT, WIDTH, PATCH = 24, 32, (8, 8)
SPEC = WorldSpec(game="blocks", height=HEIGHT, width=WIDTH, context=2)
MOVES = np.array([0, -4, 4])
RIGHTMOST = 28


def go(x: np.ndarray, action: np.ndarray) -> np.ndarray:
    """The player's column one step on."""
    return np.clip(x + MOVES[action], 0, RIGHTMOST)


def draw(player: np.ndarray, ball: np.ndarray) -> torch.Tensor:
    """Columns [...] of player and ball → uint8 [..., 3, H, W]."""
    frames = np.full((*player.shape, HEIGHT, WIDTH, 3), (60, 30, 10), np.uint8)
    for place in np.ndindex(player.shape):
        x, y = int(player[place]), int(ball[place])
        frames[place][18:22, x : x + 4] = (92, 186, 92)
        frames[place][3:5, y : y + 2] = 236
    return torch.from_numpy(np.moveaxis(frames, -1, -3).copy())


def play(batch: int, length: int, seed: int = 0) -> tuple[Window, torch.Tensor]:
    """Random play: a window, and int64 [B, T-1] which way the player really went (0, 1 left, 2 right)."""
    rng = np.random.default_rng(seed)
    actions = rng.integers(0, 3, (batch, length - 1))
    player, beat = [rng.integers(0, 8, batch) * 4], rng.integers(0, 30, batch)
    for t in range(length - 1):
        player.append(go(player[-1], actions[:, t]))
    phase = (beat[:, None] + np.arange(length)) % 30
    columns = np.stack(player, axis=1)
    frames = draw(columns, 2 * np.minimum(phase, 30 - phase))
    way = np.sign(np.diff(columns, axis=1))
    went = np.where(way < 0, 1, np.where(way > 0, 2, 0))
    return Window(frames, torch.from_numpy(actions)), torch.from_numpy(went)


def player_column(frame: torch.Tensor) -> int:
    """Left edge of the player in uint8 [C, H, W], -1 where there is no whole player."""
    green = (frame[1, 19] > 108).numpy()  # midway between the ground and the player, for frames that are not exact
    return int(green.argmax()) if green.sum() == 4 else -1
