"""What another action would have done: what it did elsewhere, where the same was to be seen.

Actions that are read off play follow from it. Breakout's paddle never turns round at full speed, so "left at full
speed" never stands where it goes right; a key may ask for it at any time. Dynamics that know the past then believe the
past. So a share of the transitions is shown under another action, with an outcome that was recorded under that action,
on a picture that was the same in all places that actions decide: play is cut and pasted by what depends on what, as in
counterfactual data augmentation (CoDA, arXiv 2007.02863). The rest of the frame goes on as it did.

An action that was never seen on such a picture, as "down" at the lower wall, has no outcome to be shown; it mostly does
nothing there, and a few of those are shown with what happened.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.dynamics.context import Other
from training.token_cache import TokenCache

SAMPLE = 30_000
"""Transitions that tell which places actions decide."""

LEAST, IN_ALL = 0.5, 0.05
"""Of what the place has at which changes tell most of the action: how much a place must have a change, and in all. A
score that changes now and then may tell of actions, too, but it would have to be the same for all that is looked up."""


class Elsewhere:
    """Every recorded transition, to be found by what it began with and by its code.

    places: int64 [P], the places of the grid that codes decide. behaviours: whose play tells which these are; actions
    that follow from the picture tell of things they do not touch.
    """

    def __init__(self, cache: TokenCache, codes: int, behaviours: Sequence[str] = ()) -> None:
        assert cache.codes is not None, "codes are read first"
        self._count = codes
        whose = np.array([reference.behaviour for _, reference in cache.windows.episodes])
        random = np.isin(whose, list(behaviours)) if np.isin(whose, list(behaviours)).any() else whose == whose
        rows = np.flatnonzero(np.asarray(cache.codes) >= 0)
        told = rows[np.repeat(random, cache.windows.lengths)[rows]]
        some = told[:: max(1, len(told) // SAMPLE)]
        self.places = decided(cache.tokens[some], cache.tokens[some + 1], np.asarray(cache.codes)[some])
        self._seen = np.ascontiguousarray(cache.tokens[:, self.places])  # the tokens there, of all frames
        self._odd = np.random.default_rng(0).integers(1, 2**62, (len(self.places), 1), dtype=np.uint64) * 2 + 1
        found = self._key(self._seen[rows], np.asarray(cache.codes)[rows])
        order = np.argsort(found, kind="stable")
        self._found, self._rows = found[order], rows[order]

    def _key(self, seen: NDArray[np.int32], codes: NDArray[np.int64]) -> NDArray[np.uint64]:
        """One number for tokens [K, P] and a code [K]; others have another one, but for one pair in 10^19."""
        mixed = ((seen.astype(np.uint64) + 1) @ self._odd)[:, 0]
        mixed ^= mixed >> np.uint64(29)
        return np.asarray(mixed * np.uint64(self._count) + codes.astype(np.uint64), np.uint64)

    def ask(self, tokens: Tensor, codes: Tensor, rate: float, noise: float, rng: np.random.Generator) -> Other:
        """Other codes for a share `rate` of the transitions of tokens [B, T, N] and codes [B, T-1], -1 between games,
        where their outcome was seen; and for a share `noise` of all where it was not, with what happened."""
        real = codes.numpy()
        asked = (rng.random(real.shape) < rate) & (real >= 0)
        other = (real + rng.integers(1, self._count, real.shape)) % self._count
        present = tokens[:, :-1].numpy()[asked][:, self.places].astype(np.int32)
        key = self._key(present, other[asked])
        low, high = (np.searchsorted(self._found, key, side) for side in ("left", "right"))
        known = high > low
        pick = self._rows[np.where(known, low + rng.integers(0, 2**31, len(low)) % np.maximum(1, high - low), 0)]
        future = tokens[:, 1:].clone()
        outcome = future.numpy()  # the same memory
        batch, step = np.nonzero(asked)
        outcome[batch[known, None], step[known, None], self.places] = self._seen[pick[known] + 1]
        chosen = asked.copy()
        chosen[asked] = known | (rng.random(len(known)) < noise / max(rate, 1e-9))
        return Other(torch.from_numpy(chosen), torch.from_numpy(np.where(chosen, other, real)), future)


def decided(before: NDArray[np.int32], after: NDArray[np.int32], codes: NDArray[np.int64]) -> NDArray[np.int64]:
    """The places of the grid at which changes tell most of the code: tokens [K, N] before and after and codes [K] →
    int64 [P].

    How much they tell is the information between code and token, given the token before, in nats a change, less what
    shuffled codes seem to tell.
    """
    shuffled = np.random.default_rng(0).permutation(codes)
    changes, nats = (before != after).sum(axis=0), np.zeros(before.shape[1])
    for place in np.flatnonzero(changes):
        old, new = before[:, place], after[:, place]
        nats[place] = max(0.0, _information(old, new, codes) - _information(old, new, shuffled))
    each = nats / changes.clip(min=1)
    clear = nats > IN_ALL * nats.max()
    return np.flatnonzero(clear & (each > LEAST * each[clear].max(initial=0.0)))


def _information(old: NDArray[np.int32], new: NDArray[np.int32], codes: NDArray[np.int64]) -> float:
    """I(new; code | old) in nats, of the sample."""
    wide, many = int(max(old.max(), new.max())) + 1, int(codes.max()) + 1
    kinds = old.astype(np.int64)
    both, under = kinds * wide + new, kinds * many + codes
    return _entropy(both) + _entropy(under) - _entropy(both * many + codes) - _entropy(kinds)


def _entropy(kinds: NDArray[np.int64]) -> float:
    counts = np.unique(kinds, return_counts=True)[1] / len(kinds)
    return float(-(counts * np.log(counts)).sum())
