"""What another action would have done: asked of a LAM that knows it, and learned by the dynamics."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from models.dynamics.config import MaskGITConfig
from models.dynamics.counterfactual import WhatIf, what_if
from models.dynamics.maskgit import MaskGIT

CODES, TOKENS, PLACES = 4, 6, 5
PLAIN = replace(MaskGITConfig.sized("tiny"), whole=1.0, own_share=0.0, easy=1, games=False)


class Blocks:
    """A tokenizer for pictures of one row: every token is a grey of its own."""

    def decode(self, tokens: Tensor) -> Tensor:
        return tokens[:, :, None, None].expand(-1, -1, 3, -1, -1).to(torch.uint8)


class Knows:
    """A LAM that knows: a code puts its number into the first place; the others stay as they are, but that the last
    is anybody's guess. Code 3 cannot be read back."""

    config = SimpleNamespace(codes=CODES)

    def table(self) -> Tensor:
        return torch.eye(TOKENS)

    def see(self, present: Tensor, table: Tensor) -> Tensor:
        return F.one_hot(present, TOKENS).float()

    def tell(self, x: Tensor, codes: Tensor, present: Tensor, table: Tensor) -> Tensor:
        sure = 50.0 * F.one_hot(present, TOKENS).float()
        first, last = torch.arange(len(x)) % PLACES == 0, torch.arange(len(x)) % PLACES == PLACES - 1
        sure[first] = 50.0 * F.one_hot(codes, TOKENS).float()[first]
        sure[last] = 0.0
        return sure

    def encoder(self, frames: Tensor) -> Tensor:
        read = (frames[:, 1:, 0, 0, 0] * 255).round().long()
        return F.one_hot(read.clamp(max=2), CODES).float()


def some_play(batch: int = 8, length: int = 6) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    tokens = torch.randint(0, TOKENS, (batch, length, PLACES), generator=generator)
    codes = torch.randint(0, CODES, (batch, length - 1), generator=generator)
    tokens[:, 1:, 0] = codes
    return tokens, codes


def asked(rate: float = 1.0) -> tuple[WhatIf, Tensor, Tensor]:
    torch.manual_seed(1)
    tokens, codes = some_play()
    codes[0, 2] = -1  # a new game
    return what_if(Knows(), Blocks(), tokens, codes, rate), tokens, codes


def test_other_actions_come_with_what_they_would_have_done() -> None:
    found, _, codes = asked()
    assert 0.4 < found.chosen.float().mean() < 0.9
    assert (found.actions != codes)[found.chosen].all()
    assert torch.equal(found.actions[~found.chosen], codes[~found.chosen])
    assert found.places[..., 0].equal(found.chosen)
    assert not found.places[..., 1:].any()  # not where all codes say the same
    assert found.shares.argmax(dim=-1).equal(found.actions[found.chosen])


def test_what_is_not_read_back_is_not_believed() -> None:
    found, _, _ = asked()
    assert not (found.actions[found.chosen] == 3).any()
    assert not found.chosen[0, 2]


def test_a_share_of_the_actions_is_asked_about() -> None:
    few, none = asked(0.2)[0], asked(0.0)[0]
    assert 0 < few.chosen.float().mean() < 0.35
    assert not none.chosen.any()
    assert none.shares.shape == (0, TOKENS)


def test_what_is_left_out_takes_its_shares_along() -> None:
    found, _, _ = asked()
    late = found.since(2)
    assert late.places.equal(found.places[:, 2:])
    assert late.shares.argmax(dim=-1).equal(late.actions[late.chosen])
    told = torch.zeros_like(found.places)
    told[1::2] = True
    kept = found.only(told)
    assert kept.places.equal(found.places & told)
    assert kept.shares.argmax(dim=-1).equal(found.actions[1::2][found.chosen[1::2]])


def test_dynamics_learn_what_no_play_shows() -> None:
    """On play the first place follows from the frame before, whatever the code; imagined, it follows from the code."""
    torch.manual_seed(0)
    dynamics = MaskGIT(PLAIN, torch.randn(TOKENS, 4), (1, PLACES), 2)
    base = torch.randint(0, TOKENS, (16, 4, PLACES))
    base[:, 1:] = base[:, :1]
    codes = (base[:, :-1, 0] > 2).long()  # which code is seen follows from the picture
    adam = torch.optim.Adam(dynamics.parameters(), lr=3e-3)

    def train(steps: int, imagined: bool) -> None:
        for _ in range(steps):
            chosen = torch.rand(codes.shape) < 0.3
            places = torch.zeros(*codes.shape, PLACES, dtype=torch.bool)
            places[..., 0] = chosen
            shares = F.one_hot(torch.full((int(chosen.sum()),), 5), TOKENS).float()
            other = WhatIf(chosen, torch.where(chosen, 1 - codes, codes), places, shares) if imagined else None
            loss, logs = dynamics.loss(base, codes, 0.0, other)
            assert ("imagined_ce" in logs) == imagined
            adam.zero_grad()
            loss.backward()
            adam.step()

    def drawn(actions: Tensor) -> Tensor:
        table = dynamics.table()
        memory = dynamics.remember(base[:, :1], actions[:, :0], table)
        known, _ = dynamics.advance(base[:, 0], base[:, 0], actions[:, 0], memory, table)
        return dynamics.draw(known, base[:, 0], actions[:, 0], table, 0.0, torch.rand(16, 2, PLACES))[0]

    with torch.no_grad():
        before = drawn(codes)
    train(150, imagined=False)
    with torch.no_grad():
        assert drawn(codes).equal(base[:, 0])
        assert not before.equal(base[:, 0])
        assert (drawn(1 - codes)[:, 0] == 5).float().mean() < 0.6
    train(200, imagined=True)
    with torch.no_grad():
        assert drawn(codes).equal(base[:, 0])
        changed = drawn(1 - codes)
    assert (changed[:, 0] == 5).all()
    assert changed[:, 1:].equal(base[:, 0, 1:])


@pytest.mark.parametrize("share", [-0.1, 1.5])
def test_a_share_is_a_share(share: float) -> None:
    with pytest.raises(ValueError, match=r"imagined must be in \[0, 1\]"):
        replace(PLAIN, imagined=share)
