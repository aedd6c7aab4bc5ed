"""The present frame moved as a whole, and pixel FiLM that draws upon it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from models.dynamics.pixel_film import PixelFiLM, PixelFiLMConfig
from models.dynamics.scroll import Scroll, astray, scrolled, travelled


def scrolling(batch: int, length: int, right: int, down: int) -> Tensor:
    """A window [B, T, 1, 32, 40] on a large soft texture of which the content moves by so many pixels a step."""
    torch.manual_seed(0)
    rough = torch.rand(batch, 1, 24, 24)
    wall = torch.nn.functional.interpolate(rough, size=(96, 96), mode="bilinear")
    places = [(28 - step * down, 28 - step * right) for step in range(length)]
    return torch.stack([wall[..., y : y + 32, x : x + 40] for y, x in places], dim=1)


def film(bias: float | None = None) -> PixelFiLM:
    """Untrained; with a bias, one that thinks that every pixel changes, and takes all from the moved frame."""
    torch.manual_seed(0)
    config = replace(PixelFiLMConfig.sized("tiny"), scrolls=True)
    model = PixelFiLM(config, 1, 3)
    if bias is not None:
        with torch.no_grad():
            model.out.weight.zero_()
            assert model.out.bias is not None
            model.out.bias.copy_(
                torch.tensor([0.0, bias, bias]).repeat_interleave(config.fold**2).repeat(config.future)
            )
    return model


def test_the_last_movement_is_read_off_the_frames_and_goes_on() -> None:
    frames = scrolling(2, 4, right=3, down=-2)
    assert torch.allclose(travelled(frames), torch.tensor([3.0, -2.0]).expand(2, 2), atol=0.3)
    assert torch.equal(travelled(frames[:, :1]), torch.zeros(2, 2))
    scroll = Scroll(8, 5, 3)
    by = scroll(torch.randn(2, 8, 4, 5), torch.randn(2, 5), frames)
    steps = torch.arange(1.0, 4.0)[None, :, None]
    assert torch.allclose(by, travelled(frames)[:, None] * steps, atol=0.1)
    assert float(astray(by.detach(), frames[:, 2:4])) < 0.01  # by as much again
    assert float(astray(by.detach() - 2, frames[:, 2:4])) == pytest.approx(1.75, abs=0.2)


def test_a_frame_is_moved_right_and_down() -> None:
    present = scrolling(2, 1, 0, 0)[:, 0]
    moved = scrolled(present, torch.tensor([[[3.0, 0.0], [0.0, -4.0]]]).expand(2, 2, 2))
    assert torch.allclose(moved[:, 0, :, :, 3:], present[..., :-3], atol=1e-4)
    assert torch.allclose(moved[:, 0, :, :, 0], present[..., 0], atol=1e-4)
    assert torch.allclose(moved[:, 1, :, :-4], present[..., 4:, :], atol=1e-4)


def test_pixel_film_may_take_the_moved_frame_for_the_next() -> None:
    frames, actions = scrolling(2, 7, right=2, down=1), torch.zeros(2, 4, dtype=torch.int64)
    inner = (..., slice(3, None), slice(4, None))
    for bias, near in ((20.0, True), (-20.0, False)):
        told = film(bias).next(frames[:, :4], actions)
        off = (told - frames[:, 4]).abs()[inner].mean()
        copied = (frames[:, 3] - frames[:, 4]).abs()[inner].mean()
        assert (off < 0.1 * copied) == near
    assert torch.equal(told, frames[:, 3])  # where nothing is thought to change


def test_pixel_film_learns_how_far_the_picture_moves() -> None:
    frames, actions = scrolling(4, 8, right=2, down=0), torch.zeros(4, 7, dtype=torch.int64)
    model = film()
    assert model.scroll is not None
    loss, logs = model.loss(frames, actions)
    loss.backward()
    last: Tensor = model.scroll.move[-1].bias  # type: ignore[assignment]  # a Linear's
    assert last.grad is not None
    assert (last.grad != 0).any()
    assert float(logs["missed"]) < 0.1
    with torch.no_grad():
        last += 3.0
    _, logs = model.loss(frames, actions)
    assert float(logs["missed"]) > 1.0


@pytest.mark.parametrize("fold", [1, 2, 4])
@pytest.mark.parametrize("size", [(32, 40), (33, 42), (35, 37)])
def test_pixel_film_sees_frames_of_any_size_as_folded(fold: int, size: tuple[int, int]) -> None:
    config = replace(PixelFiLMConfig.sized("tiny"), fold=fold)
    model = PixelFiLM(config, 1, 3)
    frames = torch.rand(2, 4, 1, *size)
    told = model.logits(frames, torch.zeros(2, config.past_actions + config.future, dtype=torch.int64))
    assert told.shades.shape == (2, config.future, 1, *size)
    torch.testing.assert_close(told.shades[:, 0].sigmoid(), frames[:, 3], atol=0.005, rtol=0)
    with pytest.raises(ValueError, match=r"fold must be one of \[1, 2, 4\], found 3"):
        replace(config, fold=3)


def test_what_scrolls_has_even_sides() -> None:
    with pytest.raises(ValueError, match="even sides, found 33x40"):
        travelled(torch.rand(2, 3, 1, 33, 40))


def test_scrolling_wants_a_frame_to_draw_upon() -> None:
    with pytest.raises(ValueError, match="residual is false"):
        PixelFiLMConfig(scrolls=True)
