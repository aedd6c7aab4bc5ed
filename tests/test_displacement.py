"""How far a picture moved, on pieces cut from one landscape."""

import pytest
import torch

from models.displacement import REACH, displacement

HEIGHT, WIDTH = 32, 48


def land(seed: int = 0) -> torch.Tensor:
    coarse = torch.rand(1, 3, 20, 28, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(coarse, scale_factor=4, mode="bicubic")[0].clamp(0, 1)


def views(ways: list[tuple[float, float]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Two pieces of a landscape for each way (pixels right, down) in quarters of a pixel."""
    fine = torch.nn.functional.interpolate(land()[None], scale_factor=4, mode="bilinear")[0]
    before, after = [], []
    for right, down in ways:
        for pieces, x, y in ((before, 0.0, 0.0), (after, right, down)):
            top, left = int(4 * (20 - y)), int(4 * (24 - x))
            pieces.append(fine[:, top : top + 4 * HEIGHT : 4, left : left + 4 * WIDTH : 4])
    return tuple((255 * torch.stack(pieces)).to(torch.uint8) for pieces in (before, after))


WAYS = [(0.0, 0.0), (3.0, 0.0), (0.0, -7.0), (-10.0, 9.0), (1.0, 1.0), (-5.0, -4.0)]


def test_whole_pixels() -> None:
    found = displacement(*views(WAYS))
    torch.testing.assert_close(found, torch.tensor(WAYS), atol=0.1, rtol=0)


def test_parts_of_pixels() -> None:
    ways = [(0.5, 0.0), (-0.25, 3.5), (2.75, -6.25)]
    torch.testing.assert_close(displacement(*views(ways)), torch.tensor(ways), atol=0.2, rtol=0)


def test_a_figure_that_goes_its_own_way_does_not_decide() -> None:
    before, after = views(WAYS)
    before[:, :, 10:20, 10:22] = 255
    after[:, :, 10:20, 10:22] = 255
    torch.testing.assert_close(displacement(before, after), torch.tensor(WAYS), atol=0.2, rtol=0)


def test_where_nothing_is_to_be_seen_nothing_moves() -> None:
    flat = torch.full((2, 3, HEIGHT, WIDTH), 90, dtype=torch.uint8)
    assert not displacement(flat, flat).any()


def test_one_by_one_as_together() -> None:
    before, after = views(WAYS)
    together = displacement(before, after)
    for at_once in (1, 4):
        assert torch.equal(displacement(before, after, at_once), together)


@pytest.mark.parametrize("size", [(16, 16), (16, 24), (64, 64)])
def test_any_frame_that_can_be_halved(size: tuple[int, int]) -> None:
    noise = torch.randint(0, 256, (3, 3, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    found = displacement(noise, noise.roll(2, dims=-1))
    torch.testing.assert_close(found, torch.tensor([[2.0, 0.0]] * 3), atol=0.2, rtol=0)
    assert found.abs().max() <= REACH + 2
