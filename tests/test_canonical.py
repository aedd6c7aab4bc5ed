"""Published metrics: what LPIPS and FVD make of weights that are handed to them, and which files they refuse."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from toy_pong import ToyPlay, ToyPong

from training import canonical as module
from training.canonical import ALEXNET, CONVOLUTIONS, HEADS, I3D, NAMES, Lpips, canonical
from training.evaluation import EvaluationOptions, evaluate
from training.report import markdown
from training.two_sample import JudgeConfig, two_sample


def weights() -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Weights of the right shapes, and something that LPIPS has no use for."""
    torch.manual_seed(0)
    alexnet = {"classifier.1.weight": torch.zeros(2, 2)}
    heads = {}
    for index, (inside, outside, size, _, _) in enumerate(CONVOLUTIONS):
        scale = (inside * size * size) ** -0.5
        alexnet[f"features.{NAMES[index]}.weight"] = scale * torch.randn(outside, inside, size, size)
        alexnet[f"features.{NAMES[index]}.bias"] = 0.1 * torch.randn(outside)
        heads[f"lin{index}.model.1.weight"] = torch.rand(1, outside, 1, 1)
    return alexnet, heads


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Files as the names say, but for the digest, which these weights cannot have."""
    alexnet, heads = weights()
    torch.save(alexnet, tmp_path / ALEXNET)
    torch.save(heads, tmp_path / HEADS)
    real = module._digest
    monkeypatch.setattr(module, "_digest", lambda path: "7be5be79" if path.name == ALEXNET else real(path))
    return tmp_path


class Mean(torch.nn.Module):
    """Stands for the I3D: what it is asked for and how it is called, with the mean of each eighth of a clip."""

    def forward(self, x: torch.Tensor, rescale: bool = False, resize: bool = False, return_features: bool = False):
        assert (rescale, resize, return_features) == (True, True, True)
        return x.flatten(1).unfold(1, x[0].numel() // 8, x[0].numel() // 8).mean(-1)


def test_lpips_is_nothing_for_the_same_and_grows_with_the_difference() -> None:
    lpips = Lpips(*weights())
    frames = torch.randint(0, 256, (3, 3, 104, 80), dtype=torch.uint8)
    noise = torch.randint(-40, 40, frames.shape)
    near, far = (((frames + scale * noise).clamp(0, 255)).to(torch.uint8) for scale in (0.2, 1.0))
    assert torch.equal(lpips(frames, frames), torch.zeros(3))
    assert (lpips(frames, near) > 0).all()
    assert (lpips(frames, far) > lpips(frames, near)).all()
    torch.testing.assert_close(lpips(frames, far)[1:2], lpips(frames[1:2], far[1:2]))


def test_lpips_is_the_published_formula() -> None:
    """Written out once more, a layer and a place at a time, in doubles."""
    alexnet, heads = weights()
    pair = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    x = pair.double() / 255 * 2 - 1
    for channel, (shift, scale) in enumerate(((-0.030, 0.458), (-0.088, 0.448), (-0.188, 0.450))):
        x[:, channel] = (x[:, channel] - shift) / scale
    total = 0.0
    for index, (_, _, _, stride, padding) in enumerate(CONVOLUTIONS):
        if index in (1, 2):
            x = torch.nn.functional.max_pool2d(x, 3, 2)
        name = f"features.{NAMES[index]}"
        kernel, bias = alexnet[f"{name}.weight"].double(), alexnet[f"{name}.bias"].double()
        x = torch.nn.functional.conv2d(x, kernel, bias, stride, padding).relu()
        head = heads[f"lin{index}.model.1.weight"].double().flatten()
        places = []
        for row in range(x.shape[2]):
            for column in range(x.shape[3]):
                one, two = (part[:, row, column] / (part[:, row, column].norm() + 1e-10) for part in x)
                places.append(float(head @ (one - two) ** 2))
        total += sum(places) / len(places)
    found = Lpips(alexnet, heads)(pair[:1], pair[1:])
    assert float(found) == pytest.approx(total, rel=1e-4)


def test_files_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"has no alexnet-owt-7be5be79.pth for LPIPS"):
        canonical(tmp_path)
    alexnet, heads = weights()
    torch.save(alexnet, tmp_path / ALEXNET)
    with pytest.raises(ValueError, match=r"LPIPS needs its heads, alex.pth of version 0.1"):
        canonical(tmp_path)
    torch.save(heads, tmp_path / HEADS)
    digest = hashlib.sha256((tmp_path / ALEXNET).read_bytes()).hexdigest()
    with pytest.raises(ValueError, match=f"damaged or another file: its SHA-256 begins with {digest[:8]}"):
        canonical(tmp_path)
    with pytest.raises(ValueError, match=r"FVD needs .*i3d_torchscript.pt, which is not there"):
        canonical(tmp_path / "elsewhere", fvd=True)
    del alexnet["features.3.weight"]
    with pytest.raises(ValueError, match=r"not the weights of LPIPS over AlexNet: 'features.3.weight'"):
        Lpips(alexnet, heads)


def test_what_is_no_weights_and_no_script_is_said_so(folder: Path) -> None:
    (folder / I3D).write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"i3d_torchscript.pt is no TorchScript"):
        canonical(folder, fvd=True)
    (folder / HEADS).write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"alex.pth holds no weights"):
        canonical(folder)


def test_a_scorecard_has_lpips_and_says_by_which_files(folder: Path) -> None:
    options = EvaluationOptions(
        clips=4, gain_clips=4, dreams=2, dream_frames=8, judged=0, speed_frames=2, published=canonical(folder)
    )
    card = evaluate(ToyPong(), ToyPlay(steps=120), options)
    for horizon in ("1", "100"):
        assert card["prediction"]["world"][horizon]["lpips"]["value"] == 0  # which makes no error
        assert card["prediction"]["copy_last_frame"][horizon]["lpips"]["value"] > 0
    assert set(card["weights"]) == {ALEXNET, HEADS}
    assert "lpips" in markdown(card)


def test_fvd_stands_beside_its_controls(folder: Path) -> None:
    torch.jit.script(Mean()).save(str(folder / I3D))
    published = canonical(folder, fvd=True)
    assert published.i3d is not None
    assert set(published.files) == {ALEXNET, HEADS, I3D}
    clips = torch.randint(0, 256, (5, 16, 3, 8, 8), dtype=torch.uint8)
    expected = clips.transpose(1, 2).double().flatten(1).reshape(5, 8, -1).mean(-1)
    np.testing.assert_allclose(published.i3d.look(clips, batch=2), expected, rtol=1e-5)
    play, small = ToyPlay(episodes=8, steps=120), JudgeConfig(kernels=8, stride=4)
    worlds = {
        fault: two_sample(ToyPong(fault), play, clips=16, horizons=(4,), config=small, i3d=published.i3d.look)
        for fault in ("", "snow")
    }
    apart = {fault: found["fvd"]["4"] for fault, found in worlds.items()}
    assert apart[""]["world"] == pytest.approx(0, abs=1e-6)
    assert apart["snow"]["world"] > 10
    assert apart["snow"]["world"] > 100 * max(apart["snow"]["real"], apart["snow"]["copy"])
