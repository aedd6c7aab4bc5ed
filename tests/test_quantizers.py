"""Codes and vectors: what goes in comes out, a ball stays a ball, and no codebook dies."""

import math

import pytest
import torch

from models.quantizers import FiniteScalarQuantizer, PatchCodebook, VectorQuantizer, perplexity

BROWN = torch.tensor([144, 72, 17], dtype=torch.uint8)


def patch_with(*pixels: tuple[int, int], colour: int = 236) -> torch.Tensor:
    """uint8 [3 * 8 * 8]: a brown patch with bright pixels."""
    image = BROWN[:, None, None].repeat(1, 8, 8)
    for y, x in pixels:
        image[:, y, x] = colour
    return image.flatten()


def book_of(patches: torch.Tensor, counts: list[int], codes: int = 16) -> PatchCodebook:
    book = PatchCodebook(codes, (8, 8), 3)
    book.fit(patches, torch.tensor(counts))
    return book


def test_patches_that_were_seen_come_back_exactly() -> None:
    torch.manual_seed(0)
    patches = torch.randint(0, 256, (12, 192), dtype=torch.uint8)
    book = book_of(patches, list(range(1, 13)))
    order = torch.randint(0, 12, (5, 7))
    codes = book.encode(patches[order])
    assert torch.equal(book.lookup(codes), patches[order])
    assert codes.tolist() == (11 - order).tolist()  # the commonest patch is code 0


def test_the_commonest_patches_are_kept() -> None:
    patches = torch.stack([patch_with((0, x)) for x in range(6)])
    book = book_of(patches, [5, 1, 9, 2, 7, 3], codes=3)
    assert torch.equal(book.patches, patches[[2, 4, 0]])
    assert book.counts.tolist() == [9, 7, 5]


def test_a_ball_one_pixel_aside_stays_a_ball() -> None:
    empty, balls = patch_with(), torch.stack([patch_with((y, x), (y + 1, x)) for y in (1, 3, 5) for x in (1, 3, 5)])
    book = book_of(torch.cat([empty[None], balls]), [1000, *[1] * 9])
    for y in (1, 3, 5):
        for x in (2, 4):
            unseen = patch_with((y, x), (y + 1, x))
            raw = (book.patches.float() - unseen.float()).square().sum(-1)
            assert raw[:10].argmin() == 0  # pixel by pixel, losing the ball is cheapest
            found = int(book.encode(unseen[None])[0])
            assert 1 <= found < 10
            assert torch.equal(book.lookup(torch.tensor(found)), balls[found - 1])
            at = (book.lookup(torch.tensor(found)).view(3, 8, 8)[2] == 236).nonzero().float().mean(0)
            assert (at - torch.tensor([y + 0.5, x])).abs().max() <= 1


def test_a_ball_half_out_of_the_patch_stays_too() -> None:
    empty = patch_with()
    ball = patch_with((0, 3))
    book = book_of(torch.stack([empty, ball]), [100, 1])
    assert book.encode(torch.stack([empty, patch_with((0, 4)), patch_with((1, 3))])).tolist() == [0, 1, 1]


def test_places_never_filled_are_never_used() -> None:
    """A book of two patches in room for sixteen: black is nearest to the empty places, which are black."""
    book = book_of(torch.stack([patch_with(), patch_with((3, 3))]), [2, 1])
    black = torch.zeros(1, 192, dtype=torch.uint8)
    assert int(book.encode(black)[0]) in (0, 1)


def test_an_empty_book_says_so() -> None:
    with pytest.raises(ValueError, match="the patch codebook is empty; fit it on frames first"):
        PatchCodebook(4, (8, 8), 3).encode(patch_with()[None])


def test_a_loaded_book_is_the_same_book() -> None:
    book = book_of(torch.stack([patch_with((0, x)) for x in range(6)]), [6, 5, 4, 3, 2, 1])
    other = PatchCodebook(16, (8, 8), 3)
    other.make_room(6)
    other.load_state_dict(book.state_dict())
    probe = torch.stack([patch_with((0, x)) for x in range(8)])
    assert torch.equal(other.encode(probe), book.encode(probe))


def test_a_book_that_gets_other_weights_forgets_the_old_ones() -> None:
    first = book_of(torch.stack([patch_with((0, x)) for x in range(3)]), [3, 2, 1])
    probe = patch_with((0, 2))[None]
    assert first.encode(probe).tolist() == [2]
    second = book_of(torch.stack([patch_with((0, x)) for x in (2, 1, 0)]), [3, 2, 1])
    first.load_state_dict(second.state_dict())
    assert first.encode(probe).tolist() == [0]


def clusters(count: int, each: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    centres = 3 * torch.randn(count, 4, generator=generator)
    return centres, (centres[:, None] + 0.05 * torch.randn(count, each, 4, generator=generator)).flatten(0, 1)


def test_vq_revives_dead_codes() -> None:
    torch.manual_seed(0)
    _, points = clusters(16, 20)
    quantizer = VectorQuantizer(16, 4, decay=0.9)
    quantizer.started.fill_(True)
    with torch.no_grad():  # collapsed: one code is near, the others are far away
        quantizer.codebook.fill_(50.0)
        quantizer.codebook[0] = 0.0
        quantizer.sums.copy_(quantizer.codebook)

    def used() -> float:
        return perplexity(torch.bincount(quantizer(points).codes, minlength=16))

    quantizer.eval()
    assert used() == pytest.approx(1.0)
    quantizer.train()
    for _ in range(400):
        quantizer(points)
    quantizer.eval()
    assert used() > 8


def test_vq_follows_the_mean_of_what_it_stands_for() -> None:
    torch.manual_seed(0)
    centres, points = clusters(2, 50)
    quantizer = VectorQuantizer(2, 4, decay=0.8)
    quantizer.started.fill_(True)
    with torch.no_grad():
        quantizer.codebook.copy_(centres + 0.5)
        quantizer.sums.copy_(quantizer.codebook)
    for _ in range(60):
        quantizer(points)
    torch.testing.assert_close(quantizer.codebook, points.view(2, 50, 4).mean(1), atol=1e-3, rtol=0)


def test_vq_gradient_goes_straight_through_and_commits() -> None:
    torch.manual_seed(0)
    quantizer = VectorQuantizer(8, 4).eval()
    latents = torch.randn(3, 5, 4, requires_grad=True)
    found = quantizer(latents)
    assert torch.equal(
        found.codes, torch.cdist(latents.detach().flatten(0, 1), quantizer.codebook).argmin(-1).view(3, 5)
    )
    torch.testing.assert_close(found.vectors, quantizer.lookup(found.codes))
    (gradient,) = torch.autograd.grad(found.vectors.sum(), latents, retain_graph=True)
    assert torch.equal(gradient, torch.ones_like(gradient))
    expected = 0.25 * (latents - quantizer.lookup(found.codes)).square().mean()
    torch.testing.assert_close(found.loss, expected)


def test_vq_does_not_move_when_it_does_not_learn() -> None:
    quantizer = VectorQuantizer(8, 4).eval()
    before = {key: value.clone() for key, value in quantizer.state_dict().items()}
    quantizer(torch.randn(50, 4))
    assert all(torch.equal(value, before[key]) for key, value in quantizer.state_dict().items())


@pytest.mark.parametrize("levels", [(2,), (3, 5), (8, 6, 5, 5)])
def test_fsq_goes_round(levels: tuple[int, ...]) -> None:
    quantizer = FiniteScalarQuantizer(levels)
    assert quantizer.size == math.prod(levels)
    torch.manual_seed(1)
    latents = torch.randn(40, 7, len(levels), requires_grad=True)
    found = quantizer(latents)
    assert 0 <= int(found.codes.min()) <= int(found.codes.max()) < quantizer.size
    torch.testing.assert_close(quantizer.lookup(found.codes), found.vectors)
    assert found.vectors.abs().max() <= 1 + 1e-6
    (gradient,) = torch.autograd.grad(found.vectors.sum(), latents)
    assert (gradient > 0).all()


def test_fsq_can_say_every_code() -> None:
    quantizer = FiniteScalarQuantizer((4, 3, 5))
    every = torch.arange(60)
    vectors = quantizer.lookup(every)
    assert len(torch.unique(vectors, dim=0)) == 60
    latents = torch.logit((vectors + 1) / 2, eps=1e-6) / 2
    assert torch.equal(quantizer(latents).codes, every)


def test_fsq_refuses_a_dimension_of_one_value() -> None:
    with pytest.raises(ValueError, match=r"fsq levels must be 2 or more, found \(4, 1\)"):
        FiniteScalarQuantizer((4, 1))


def test_perplexity_counts_codes_in_use() -> None:
    assert perplexity(torch.tensor([5, 5, 5, 5, 0, 0])) == pytest.approx(4)
    assert perplexity(torch.tensor([9, 0, 0])) == pytest.approx(1)
