"""The player of CoinRun who runs to the right, where the coin is, and jumps now and then.

Procgen does not tell where things are, so nothing is looked at: whoever runs and jumps for long enough gets over most
of what stands in the way.
"""

from __future__ import annotations

import numpy as np

from collectors.labels import Ram

RIGHT, UPRIGHT = 7, 8  # of Procgen's actions
JUMPS = 0.25  # share of the steps; on the ground the first of them takes off


def run_right(ram: Ram, rng: np.random.Generator) -> int:
    """The action id of the next step."""
    return UPRIGHT if rng.random() < JUMPS else RIGHT
