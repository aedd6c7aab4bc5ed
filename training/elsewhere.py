"""What another action would have done: what it did elsewhere, where the same was to be seen.

Actions that are read off play follow from it. Breakout's paddle never turns round at full speed, so "left at full
speed" never stands where it goes right; a key may ask for it at any time. Dynamics that know the past then believe the
past. So a share of the transitions is shown under another action, with an outcome that was recorded under that action,
on a picture that was the same in all places that actions decide: play is cut and pasted by what depends on what, as in
counterfactual data augmentation (CoDA, arXiv 2007.02863). The rest of the frame goes on as it did. So that nothing
comes in from there or leaves without a trace, as a ball would, what is around these places must have been the same,
too, before and after.

Codes are misread now and then: a step that is mostly called something else is no outcome of this code. Where play needs
another code on the way, as "half speed" before "full speed", an outcome of that one is shown: what leads there.

Another action that was never seen on such a picture, as "down" at the lower wall, has no outcome to be shown; it mostly
does nothing there, and a few of those are shown with what happened.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
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

CALLED = 0.05
"""Share of the times that a step must be read as a code to be an outcome of it; less is misread."""

LEADS = 2 / 3
"""Share of the ways to a code, from where it has no outcome, that must begin with one other code if that is to stand
for it there."""

ODD = np.uint64(0x9E3779B97F4A7C15)
"""What tells a step from its way back, when both its ends are numbers; 2^64 over the golden ratio."""


class Found(NamedTuple):
    """low: int64 [K], where outcomes begin among all that are sorted; many: int64 [K], how many there are."""

    low: NDArray[np.int64]
    many: NDArray[np.int64]

    @property
    def known(self) -> NDArray[np.bool_]:
        """bool [K]: whether there is any."""
        return self.many > 0


class Index:
    """Rows of transitions int64 [K], to be found by a key uint64 [K]."""

    def __init__(self, keys: NDArray[np.uint64], rows: NDArray[np.int64]) -> None:
        order = np.argsort(keys, kind="stable")
        self._keys, self._rows = keys[order], rows[order]

    def find(self, keys: NDArray[np.uint64]) -> Found:
        """The transitions that have these keys [K]."""
        low, high = (np.searchsorted(self._keys, keys, side) for side in ("left", "right"))
        return Found(low, high - low)

    def pick(self, found: Found, rng: np.random.Generator) -> NDArray[np.int64]:
        """int64 [K]: the row of one transition each, any row where there is none."""
        chosen = found.low + rng.integers(0, 2**31, len(found.low)) % np.maximum(1, found.many)
        return np.asarray(self._rows[np.where(found.known, chosen, 0)], np.int64)


class Elsewhere:
    """Every recorded transition, to be found by what it began with and by its code.

    grid: rows and columns of the places; without it nothing is known of what is around them.
    places: int64 [P], the places of the grid that codes decide. around: int64 [P'], those beside them. leads: int64
    [A], for each code the one whose outcome is shown where it has none, mostly itself, which is none. behaviours: whose
    play tells which places these are; actions that follow from the picture tell of things they do not touch.
    """

    def __init__(
        self, cache: TokenCache, codes: int, behaviours: Sequence[str] = (), grid: tuple[int, int] | None = None
    ) -> None:
        assert cache.codes is not None, "codes are read first"
        self._count = codes
        whose = np.array([reference.behaviour for _, reference in cache.windows.episodes])
        random = np.isin(whose, list(behaviours)) if np.isin(whose, list(behaviours)).any() else whose == whose
        rows = np.flatnonzero(np.asarray(cache.codes) >= 0)
        told = rows[np.repeat(random, cache.windows.lengths)[rows]]
        some = told[:: max(1, len(told) // SAMPLE)]
        self.places = decided(cache.tokens[some], cache.tokens[some + 1], np.asarray(cache.codes)[some])
        self.around = beside(self.places, grid) if grid else self.places[:0]
        self._seen = np.ascontiguousarray(cache.tokens[:, self.places])  # the tokens there, of all frames
        most = max(len(self.places), len(self.around))
        self._odd = np.random.default_rng(0).integers(1, 2**62, (most, 1), dtype=np.uint64) * 2 + 1
        read = np.asarray(cache.codes)[rows]
        sure = self._sure(rows, read)
        rows, read = rows[sure], read[sure]
        found, rim = self._key(self._seen[rows], read), np.ascontiguousarray(cache.tokens[:, self.around])
        self._alike = Index(found, rows)
        self._fitting = Index(self._with_rim(found, rim[rows], rim[rows + 1]), rows)
        self.leads = self._ways(rows, read) if len(self.places) else np.arange(codes)

    def _hash(self, seen: NDArray[np.int32]) -> NDArray[np.uint64]:
        """One number for tokens [K, P]; others have another one, but for one pair in 10^19."""
        mixed = ((seen.astype(np.uint64) + 1) @ self._odd[: seen.shape[1]])[:, 0]
        return np.asarray(mixed ^ (mixed >> np.uint64(29)), np.uint64)

    def _key(self, seen: NDArray[np.int32], codes: NDArray[np.int64]) -> NDArray[np.uint64]:
        """One number for tokens [K, P] and a code [K]."""
        return np.asarray(self._hash(seen) * np.uint64(self._count) + codes.astype(np.uint64), np.uint64)

    def _with_rim(
        self, keys: NDArray[np.uint64], before: NDArray[np.int32], after: NDArray[np.int32]
    ) -> NDArray[np.uint64]:
        """One number for keys [K] and the tokens around the places [K, P'], before and after."""
        return np.asarray((keys * ODD + self._hash(before)) * ODD + self._hash(after), np.uint64)

    def _sure(self, rows: NDArray[np.int64], codes: NDArray[np.int64]) -> NDArray[np.bool_]:
        """bool [K]: transitions, by the row they begin in, whose step is not mostly read as something else."""
        before, after = self._hash(self._seen[rows]), self._hash(self._seen[rows + 1])
        step = np.unique(before * ODD + after, return_inverse=True)[1]
        called = np.bincount(step * self._count + codes).astype(np.float64)
        return np.asarray(called[step * self._count + codes] >= CALLED * np.bincount(step)[step], np.bool_)

    def _ways(self, rows: NDArray[np.int64], codes: NDArray[np.int64]) -> NDArray[np.int64]:
        """int64 [A]: for each code the one that play begins with on the way to it, from where it has no outcome, if
        what that one does is most like what it does itself (steps off a wall lead to the wall, too); else itself."""
        follow = np.flatnonzero(rows[1:] == rows[:-1] + 1)
        first, then = codes[follow], codes[follow + 1]
        known = self._alike.find(self._key(self._seen[rows[follow]], then)).known
        ways = np.bincount(then[~known] * self._count + first[~known], minlength=self._count**2)
        share = ways.reshape(self._count, -1) / ways.reshape(self._count, -1).sum(axis=1, keepdims=True).clip(min=1)
        lead, alone = share.argmax(axis=1), np.arange(self._count)
        return np.where((share.max(axis=1) > LEADS) & (lead == self._likest(rows, codes)), lead, alone)

    def _likest(self, rows: NDArray[np.int64], codes: NDArray[np.int64]) -> NDArray[np.int64]:
        """int64 [A]: for each code the other one whose outcomes on the same pictures agree with its own in most places;
        the code itself where no picture has both."""
        rng, alike = np.random.default_rng(0), np.full((self._count, self._count), -1.0)
        for code in range(self._count):
            own = rows[codes == code][:: max(1, int((codes == code).sum()) // (SAMPLE // self._count))]
            for other in range(self._count):
                found = self._alike.find(self._key(self._seen[own], np.full(len(own), other)))
                if other != code and found.known.any():
                    theirs = self._seen[self._alike.pick(found, rng)[found.known] + 1]
                    alike[code, other] = (theirs == self._seen[own[found.known] + 1]).mean()
        return np.where(alike.max(axis=1) >= 0, alike.argmax(axis=1), np.arange(self._count))

    def ask(self, tokens: Tensor, codes: Tensor, rate: float, noise: float, rng: np.random.Generator) -> Other:
        """Other codes for a share `rate` of the transitions of tokens [B, T, N] and codes [B, T-1], -1 between games,
        where their outcome was seen; and for a share `noise` of all where none ever was, with what happened."""
        real = codes.numpy()
        asked = (rng.random(real.shape) < rate) & (real >= 0)
        other = (real + rng.integers(1, self._count, real.shape)) % self._count
        before, after = (some.numpy()[asked].astype(np.int32) for some in (tokens[:, :-1], tokens[:, 1:]))
        wanted, present = other[asked], before[:, self.places]
        own = self._alike.find(self._key(present, wanted)).known
        shown = self._key(present, np.where(own, wanted, self.leads[wanted]))
        found = self._fitting.find(self._with_rim(shown, before[:, self.around], after[:, self.around]))
        pick, known = self._fitting.pick(found, rng), found.known
        never = ~self._alike.find(shown).known
        future = tokens[:, 1:].clone()
        outcome = future.numpy()  # the same memory
        batch, step = np.nonzero(asked)
        outcome[batch[known, None], step[known, None], self.places] = self._seen[pick[known] + 1]
        chosen = asked.copy()
        chosen[asked] = known | (never & (rng.random(len(known)) < noise / max(rate, 1e-9)))
        return Other(torch.from_numpy(chosen), torch.from_numpy(np.where(chosen, other, real)), future)


def beside(places: NDArray[np.int64], grid: tuple[int, int]) -> NDArray[np.int64]:
    """The places of a grid (rows, columns) that touch some of `places` int64 [P] and are none of them: int64 [P']."""
    inside = np.zeros(grid, np.uint8)
    inside.flat[places] = 1
    return np.flatnonzero(cv2.dilate(inside, np.ones((3, 3), np.uint8)) > inside)


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
