"""What another action would have done: told by the LAM, and taught to the dynamics.

Actions that are read off play follow from it. Breakout's paddle never turns round at full speed, so "left at full
speed" is never seen where it goes right; a key may ask for it at any time. Dynamics that know the past then believe the
past. The LAM's decoder does not know it: it tells from the present frame and a code alone what comes next, so it can be
asked about every code, as counterfactual data augmentation asks a model of parts (CoDA, arXiv 2007.02863).

What it says is taken for true only where its encoder, shown the frame that would follow, reads the same code off it
again; at a wall, where no code of that kind was ever seen, it mostly does not.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from models.frames import to_float
from models.latent_actions import LatentActionModel
from models.tokenizer import Tokenizer

APART = 0.25
"""Total variation between what two codes say of a place, from which on the place depends on the code."""


class WhatIf(NamedTuple):
    """Other actions than were taken. chosen: bool [B, T-1], where; actions: int64 [B, T-1], which, the real ones
    elsewhere; places: bool [B, T-1, N], what of the next frame depends on them; shares: float [K, V], how likely each
    token is at the K places, in their order."""

    chosen: Tensor
    actions: Tensor
    places: Tensor
    shares: Tensor

    def since(self, first: int) -> WhatIf:
        """Without what is before transition `first`."""
        late = self.places.clone()
        late[:, :first] = False
        return WhatIf(
            self.chosen[:, first:], self.actions[:, first:], self.places[:, first:], self.shares[late[self.places]]
        )

    def only(self, told: Tensor) -> WhatIf:
        """Without the places where `told`, bool that can be spread to [B, T-1, N], is false."""
        kept = self.places & told
        return self._replace(places=kept, shares=self.shares[kept[self.places]])


@torch.no_grad()
def what_if(lam: LatentActionModel, tokenizer: Tokenizer, tokens: Tensor, actions: Tensor, rate: float) -> WhatIf:
    """Other actions for a share `rate` of the transitions of play, tokens [B, T, N] and actions [B, T-1], -1 between
    games, as far as the LAM knows what they would have done."""
    chosen = (torch.rand(actions.shape, device=actions.device) < rate) & (actions >= 0)
    present, future, real = tokens[:, :-1][chosen], tokens[:, 1:][chosen], actions[chosen]
    count, places = present.shape
    other = (real + torch.randint(1, lam.config.codes, real.shape, device=real.device)) % lam.config.codes
    table = lam.table()
    known = lam.see(present, table).flatten(0, 1)

    def told(codes: Tensor) -> Tensor:
        logits = lam.tell(known, codes.repeat_interleave(places), present.flatten(), table)
        return logits.float().softmax(dim=-1).unflatten(0, (count, places))

    shares = told(other)
    depends = (shares - told(real)).abs().sum(dim=-1) / 2 > APART  # [K, N]
    imagined = torch.where(depends, shares.argmax(dim=-1), future)
    pair = tokenizer.decode(torch.stack([present, imagined], dim=1))
    believed = (lam.encoder(to_float(pair)).argmax(dim=-1)[:, 0] == other) & depends.any(dim=-1)
    depends = depends & believed[:, None]
    swapped, where = actions.clone(), torch.zeros_like(tokens[:, 1:], dtype=torch.bool)
    swapped[chosen] = torch.where(believed, other, real)
    where[chosen] = depends
    taken = chosen.clone()
    taken[chosen] = believed
    return WhatIf(taken, swapped, where, shares[depends])
