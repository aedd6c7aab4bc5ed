"""Tokens are drawn as often as they are likely, never the hopeless ones, and the surest places first."""

import math

import pytest
import torch

from models.sampling import sample, surest
from models.world import Sampling

PLACES = 40_000


def drawn(shares: list[float], temperature: float, **options: float) -> torch.Tensor:
    """Relative frequencies [V] of many draws."""
    logits = torch.tensor(shares).log().expand(1, PLACES, len(shares)) + 2.5  # logits need not be normalised
    chance = torch.rand(1, PLACES, generator=torch.Generator().manual_seed(0))
    tokens, _ = sample(logits, temperature, chance, **options)
    return torch.bincount(tokens[0], minlength=len(shares)) / PLACES


def test_frequencies_are_probabilities() -> None:
    found = drawn([0.1, 0.45, 0.25, 0.2], 1.0)
    torch.testing.assert_close(found, torch.tensor([0.1, 0.45, 0.25, 0.2]), atol=0.01, rtol=0)


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_temperature_divides_the_logits(temperature: float) -> None:
    shares = torch.tensor([0.1, 0.45, 0.25, 0.2])
    want = shares ** (1 / temperature)
    torch.testing.assert_close(drawn(shares.tolist(), temperature), want / want.sum(), atol=0.01, rtol=0)


def test_temperature_zero_is_the_likeliest() -> None:
    torch.manual_seed(0)
    logits, chance = torch.randn(3, 50, 17), torch.rand(3, 50)
    assert torch.equal(sample(logits, 0.0, chance)[0], logits.argmax(-1))


def test_the_hopeless_are_never_drawn() -> None:
    shares = [0.0008, 0.6, 0.0008, 0.3976, 0.0008]
    assert drawn(shares, 1.0, floor=0.0)[[0, 2, 4]].min() > 0
    found = drawn(shares, 1.0)
    assert found[[0, 2, 4]].tolist() == [0, 0, 0]
    torch.testing.assert_close(found[[1, 3]], torch.tensor([0.6, 0.3976]) / 0.9976, atol=0.01, rtol=0)


def test_where_nothing_is_likely_the_tail_is_not_drawn() -> None:
    shares = [0.3, 0.05, 0.25, 0.2, 0.15, 0.05]
    assert drawn(shares, 1.0, least=0.1).min() > 0.04
    found = drawn(shares, 1.0, least=0.2)
    assert found[[1, 5]].tolist() == [0, 0]
    torch.testing.assert_close(found, torch.tensor([0.3, 0.0, 0.25, 0.2, 0.15, 0.0]) / 0.9, atol=0.01, rtol=0)
    left = torch.tensor([0.3, 0.25, 0.2, 0.15]) / 0.9
    entropy = sample(torch.tensor(shares).log()[None, None], 1.0, torch.rand(1, 1), least=0.2)[1]
    torch.testing.assert_close(entropy[0, 0], torch.special.entr(left).sum())


def test_what_happens_seldom_still_happens() -> None:
    """A serve has a small chance in every frame; leaving it out would be another game."""
    found = drawn([0.94, 0.06], 1.0, least=0.5)
    torch.testing.assert_close(found, torch.tensor([0.94, 0.06]), atol=0.01, rtol=0)


def test_a_low_temperature_leaves_sure_places_as_they_are() -> None:
    shares = torch.tensor([0.9, 0.07, 0.015, 0.015])
    cold = shares ** (1 / 0.5) / (shares ** (1 / 0.5)).sum()
    found = drawn(shares.tolist(), 0.5, sure=0.8)
    assert found[[2, 3]].tolist() == [0, 0]  # so seldom that it may be the weights' fault
    torch.testing.assert_close(found[:2], torch.tensor([0.9, 0.07]) / 0.97, atol=0.004, rtol=0)
    assert found[1] > 5 * cold[1]
    torch.testing.assert_close(drawn(shares.tolist(), 0.5, sure=0.95), cold, atol=0.004, rtol=0)  # not sure enough
    assert drawn(shares.tolist(), 1.0, sure=0.8)[[2, 3]].min() > 0  # at 1 and above all places are drawn alike
    hot = shares ** (1 / 2) / (shares ** (1 / 2)).sum()
    torch.testing.assert_close(drawn(shares.tolist(), 2.0, sure=0.8), hot, atol=0.01, rtol=0)
    assert drawn(shares.tolist(), 0.0, sure=0.8).tolist() == [1, 0, 0, 0]


def test_sure_and_unsure_places_of_one_frame_are_drawn_each_in_its_way() -> None:
    shares = torch.tensor([[0.9, 0.1, 0.0], [0.6, 0.4, 0.0]]).clamp(min=1e-9)
    logits = shares.log().repeat(PLACES, 1, 1)
    chance = torch.rand(PLACES, 2, generator=torch.Generator().manual_seed(0))
    tokens, entropy = sample(logits, 0.5, chance, sure=0.8)
    want = torch.tensor([0.1, 0.4**2 / (0.4**2 + 0.6**2)])
    torch.testing.assert_close((tokens == 1).float().mean(0), want, atol=0.01, rtol=0)
    left = torch.stack([1 - want, want])
    torch.testing.assert_close(entropy[0], torch.special.entr(left).sum(0), atol=1e-4, rtol=0)


def test_where_all_are_hopeless_the_likeliest_is_taken() -> None:
    logits = torch.zeros(1, 5, 4000)
    logits[0, :, 77] = 0.1
    assert sample(logits, 1.0, torch.rand(1, 5))[0].tolist() == [[77] * 5]


@pytest.mark.parametrize("chance", [0.0, 1.0 - 2**-24])
def test_the_ends_of_chance_draw_something_possible(chance: float) -> None:
    logits = torch.tensor([0.0, 1.0, 2.0, -20.0]).expand(1, 1, 4)
    for place, shares in enumerate((logits, logits.flip(-1))):
        token = int(sample(shares, 1.0, torch.full((1, 1), chance))[0])
        assert shares[0, 0, token] >= 0, place


def test_entropy_is_that_of_what_is_drawn_from() -> None:
    logits = torch.tensor([[[0.0, 0.0, -99.0], [50.0, 0.0, 0.0], [0.0, 0.0, 0.0]]])
    want = torch.tensor([[math.log(2), 0.0, math.log(3)]])
    for temperature in (0.0, 0.7, 1.0):
        torch.testing.assert_close(sample(logits, temperature, torch.rand(1, 3))[1], want, atol=1e-5, rtol=0)
    tail = torch.tensor([[[0.7, 0.296, 0.004]]]).log()
    found = {t: float(sample(tail, t, torch.rand(1, 1))[1]) for t in (0.0, 1.0, 0.5)}
    two = torch.tensor([0.7, 0.296]) / 0.996  # what is never drawn does not count
    assert found[1.0] == found[0.0] == pytest.approx(float(-(two * two.log()).sum()), abs=1e-5)
    colder = two**2 / (two**2).sum()
    assert found[0.5] == pytest.approx(float(-(colder * colder.log()).sum()), abs=1e-5)
    assert float(sample(torch.tensor([[[0.996, 0.004]]]).log(), 1.0, torch.rand(1, 1))[1]) == pytest.approx(0, abs=1e-5)


def test_surest_fixes_something_masked_and_nothing_else() -> None:
    generator = torch.Generator().manual_seed(0)
    for scale in (0.0, 0.01, 1.0, 7.0):
        entropy = scale * torch.rand(64, 20, generator=generator)
        masked = torch.rand(64, 20, generator=generator) < 0.3
        fixed = surest(entropy, masked)
        assert not bool((fixed & ~masked).any())
        assert torch.equal(fixed.any(1), masked.any(1))


def test_surest_takes_all_that_is_sure_and_one_that_is_not() -> None:
    masked = torch.tensor([[True, True, True, True, False]])
    assert surest(torch.tensor([[0.0, 0.7, 0.0, 0.69, 0.0]]), masked).tolist() == [[True, False, True, True, False]]
    assert surest(torch.tensor([[0.0, 0.0, 0.0, 0.0, 9.0]]), masked).tolist() == [[True, True, True, True, False]]
    doubtful = torch.tensor([[0.5, 0.4, 0.3, 0.2, 0.0]])
    assert surest(doubtful, masked).tolist() == [[False, False, False, True, False]]
    assert surest(doubtful, masked, bound=0.5).tolist() == [[False, True, True, True, False]]


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"steps": 65}, {"temperature": -0.1}, {"temperature": 10.5}])
def test_dials_have_ends(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=str(next(iter(wrong.values())))):
        Sampling(**wrong)
