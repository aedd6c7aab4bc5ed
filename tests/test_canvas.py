"""What is remembered around a frame that moves."""

import torch

from models.canvas import Canvas

MARGIN = 4


def frame(seed: int) -> torch.Tensor:
    return torch.rand(2, 3, 16, 24, generator=torch.Generator().manual_seed(seed)) - 0.5


def by(right: float, down: float) -> torch.Tensor:
    return torch.tensor([[right, down]] * 2)


def test_at_first_only_the_frame_has_been_seen() -> None:
    canvas = Canvas.begin(frame(0), MARGIN)
    assert canvas.picture.shape == (2, 3, 24, 32)
    assert canvas.seen.sum() == 2 * 16 * 24
    view, seen = canvas.through(by(0, 0), MARGIN)
    torch.testing.assert_close(view, frame(0), atol=1e-5, rtol=0)
    assert seen.all()


def test_what_comes_into_view_for_the_first_time_has_not_been_seen() -> None:
    canvas = Canvas.begin(frame(0), MARGIN)
    view, seen = canvas.through(by(3, 0), MARGIN)
    assert not seen[..., :3].any()
    assert seen[..., 3:].all()
    torch.testing.assert_close(view[..., 3:], frame(0)[..., :-3], atol=1e-5, rtol=0)


def test_what_left_the_view_comes_back_as_it_was() -> None:
    canvas = Canvas.begin(frame(0), MARGIN).moved(by(0, -3)).with_frame(frame(1))
    view, seen = canvas.through(by(0, 3), MARGIN)
    assert seen.all()
    torch.testing.assert_close(view[:, :, :3], frame(0)[:, :, :3], atol=1e-5, rtol=0)
    torch.testing.assert_close(view[:, :, 3:], frame(1)[:, :, :-3], atol=1e-5, rtol=0)


def test_what_left_the_canvas_is_forgotten() -> None:
    away = Canvas.begin(frame(0), MARGIN).moved(by(0, -10)).moved(by(0, 10))
    _, seen = away.through(by(0, 0), MARGIN)
    assert not seen[:, :6].any()
    assert seen[:, 6:].all()


def test_half_a_pixel_beside_the_unseen_is_unseen() -> None:
    _, seen = Canvas.begin(frame(0), MARGIN).through(by(0.5, 0), MARGIN)
    assert not seen[..., 0].any()
    assert seen[..., 1:].all()


def test_a_canvas_is_not_changed_by_what_is_made_of_it() -> None:
    canvas = Canvas.begin(frame(0), MARGIN)
    before = [part.clone() for part in canvas]
    canvas.with_frame(frame(1))
    canvas.moved(by(1, 1))
    assert all(torch.equal(old, part) for old, part in zip(before, canvas, strict=True))
