"""The present frame moved as a whole, and pixel FiLM that draws upon it."""

from __future__ import annotations

from dataclasses import replace

import block_play
import pytest
import torch
from torch import Tensor

from models.dynamics.pixel_film import PixelFiLM, PixelFiLMConfig
from models.dynamics.scroll import Scroll, astray, scrolled, travelled
from models.pixels import PixelsConfig


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
    assert torch.allclose(travelled(frames)[:, 0], torch.tensor([3.0, -2.0]).expand(2, 2), atol=0.3)
    assert torch.equal(travelled(frames[:, :1], 2), torch.zeros(2, 2, 2))
    scroll = Scroll(8, 5, 3)
    by = scroll(torch.randn(2, 8, 4, 5), torch.randn(2, 5), frames)
    steps = torch.arange(1.0, 4.0)[None, :, None]
    assert torch.allclose(by, travelled(frames) * steps, atol=0.1)
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
    folded = model._folded(frames[:, 0])
    assert folded.shape[1] == fold**2
    whole = torch.nn.functional.pixel_shuffle(folded, fold)
    assert torch.equal(whole[..., : size[0], : size[1]], frames[:, 0])
    assert torch.equal(whole[..., -1, : size[1]], frames[:, 0, :, -1])
    told = model.logits(frames, torch.zeros(2, config.past_actions + config.future, dtype=torch.int64))
    assert told.shades.shape == (2, config.future, 1, *size)
    torch.testing.assert_close(told.shades[:, 0].sigmoid(), frames[:, 3], atol=0.005, rtol=0)
    with pytest.raises(ValueError, match=r"fold must be one of \[1, 2, 4\], found 3"):
        replace(config, fold=3)


@pytest.mark.parametrize("fold", [1, 2, 4])
@pytest.mark.parametrize("skips", [True, False])
@pytest.mark.parametrize("past", [1, 2, 4])
def test_colours_are_moved_or_left(fold: int, skips: bool, past: int) -> None:
    frames = (
        scrolling(2, past, right=2, down=0).expand(-1, -1, 3, -1, -1) * torch.tensor([0.5, 0.7, 0.9])[:, None, None]
    )
    base = replace(
        PixelFiLMConfig.sized("tiny"), scrolls=True, fold=fold, skips=skips, past=past, past_actions=past - 1
    )
    model = PixelFiLM(base, 3, 3)
    asked = torch.zeros(2, past - 1 + base.future, dtype=torch.int64)
    assert model.scroll is not None
    with torch.no_grad():
        model.out.weight.zero_()
        model.scroll.move[-1].bias += 3.0  # type: ignore[operator]  # a Linear's
    moved = scrolled(frames[:, -1], model.logits(frames, asked).by)  # type: ignore[arg-type]  # it scrolls
    for liked, want in ((-9.0, frames[:, -1:]), (9.0, moved)):
        planes = torch.tensor([0.0, 0.0, 0.0, 1.0, liked])
        with torch.no_grad():
            model.out.bias.copy_(planes.repeat_interleave(fold**2).repeat(base.future))  # type: ignore[union-attr]  # it has
        told = model.logits(frames, asked)
        assert told.shades.shape == (2, base.future, 3, 32, 40)
        torch.testing.assert_close(told.shades.sigmoid(), want.expand_as(told.shades), atol=0.005, rtol=0)


def test_every_weight_of_what_scrolls_learns_at_once() -> None:
    torch.manual_seed(0)
    frames = scrolling(4, 8, right=2, down=1)
    frames = frames * (1 + 0.2 * torch.rand_like(frames[:, :1])) / 1.2
    model = film()
    with torch.autocast("cpu", torch.bfloat16):
        loss, _ = model.loss(frames, torch.randint(0, 3, (4, 7)))
    loss.backward()
    assert not [name for name, weight in model.named_parameters() if weight.grad is None or not weight.grad.any()]


def test_what_scrolls_has_even_sides() -> None:
    with pytest.raises(ValueError, match="even sides, found 33x40"):
        travelled(torch.rand(2, 3, 1, 33, 40))
    spec = replace(block_play.SPEC, height=33, width=40)
    config = replace(PixelFiLMConfig.sized("tiny"), scrolls=True)
    with pytest.raises(ValueError, match=r"found 33x40; use --set family.dynamics.scrolls=false"):
        config.build(PixelsConfig().build(spec), 3)
    replace(config, scrolls=False).build(PixelsConfig().build(spec), 3)


def test_where_the_past_is_short_the_picture_went_on_as_it_did() -> None:
    frames = scrolling(2, 4, right=3, down=-2)
    two = travelled(torch.cat([frames[:, :1], frames], dim=1), 4)
    torch.testing.assert_close(two[:, 0], torch.zeros(2, 2))
    assert torch.allclose(two[:, 1:], torch.tensor([3.0, -2.0]).expand(2, 3, 2), atol=0.3)
    assert torch.equal(travelled(frames[:, :2], 3), travelled(frames[:, :2]).expand(2, 3, 2))


def test_scrolling_wants_a_frame_to_draw_upon() -> None:
    with pytest.raises(ValueError, match="residual is false"):
        PixelFiLMConfig(scrolls=True)
