"""A scorecard for people: a short Markdown table, and contact sheets of real and dreamed frames."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

Row = tuple[str, ...]


def save_sheet(path: Path, rows: Sequence[Sequence[Tensor]], zoom: int = 2, gap: int = 2) -> None:
    """Write rows of frames uint8 [C, H, W] as one PNG, enlarged without smoothing; no file without frames."""
    if not rows or not rows[0]:
        return
    channels, height, width = rows[0][0].shape
    columns = max(len(row) for row in rows)
    board = np.zeros((len(rows) * (height + gap) - gap, columns * (width + gap) - gap, channels), np.uint8)
    for y, row in enumerate(rows):
        for x, frame in enumerate(row):
            top, left = y * (height + gap), x * (width + gap)
            board[top : top + height, left : left + width] = frame.permute(1, 2, 0).cpu().numpy()
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = board[..., 0] if channels == 1 else board
    Image.fromarray(picture.repeat(zoom, 0).repeat(zoom, 1)).save(path)


MOST_BYTES = 2_500_000
"""Of a film; a page with all pictures of a scorecard should be no more than 5 MB."""


def save_film(path: Path, frames: Sequence[NDArray[np.uint8]], fps: float, zoom: int = 2) -> None:
    """Write frames uint8 [H, W, C] as one GIF, enlarged without smoothing, that begins anew at its end.

    Where it would be larger than MOST_BYTES, as with pictures that scroll, it ends earlier.
    """
    if not frames:
        return
    shown = [Image.fromarray(f[..., 0] if f.shape[2] == 1 else f).convert("RGB") for f in frames]
    large = [one.resize((one.width * zoom, one.height * zoom), Image.Resampling.NEAREST) for one in shown]
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        large[0].save(path, save_all=True, append_images=large[1:], duration=round(1000 / fps), loop=0)
        if path.stat().st_size <= MOST_BYTES or len(large) == 1:
            return
        large = large[: len(large) // 2]


def markdown(card: Mapping[str, Any]) -> str:
    """A scorecard of `training.evaluation.evaluate` as Markdown: what is there, in the order of the pipeline."""
    data = card["data"]
    lines = [f"# {card['game']}: {data['frames']} held-out frames in {data['episodes']} episodes, seed {card['seed']}"]
    for name, section in (
        ("tokenizer", _tokenizer),
        ("lam", _codes),
        ("prediction", _prediction),
        ("dreams", _dreams),
        ("motion_probe", _motion_probe),
        ("two_sample", _two_sample),
        ("speed", _speed),
    ):
        if name in card:
            lines += ["", *section(card[name])]
    lines += [""] + [f"- {note}" for note in card["notes"]] if card["notes"] else []
    return "\n".join(lines) + "\n"


def _tokenizer(found: Mapping[str, Any]) -> Iterator[str]:
    metrics = list(found["tokenizer"])
    yield from _table(
        ("tokenizer", *metrics),
        [(row, *(_figure(scores.get(name)) for name in metrics)) for row, scores in found.items()],
    )


def _codes(found: Mapping[str, Any]) -> Iterator[str]:
    rows: list[Row] = [
        ("perplexity", f"{found['perplexity']:.2f} of {found['codes']}"),
        ("codes over 5 %", str(found["codes_over_5_percent"])),
        ("code gain", _figure(found["code_gain"])),
    ]
    for name in ("direction", "direction_away_from_walls", "real_action"):
        if name in found:
            score = found[name]
            accuracy = f"{_figure(score['balanced_accuracy'])}, chance {score['chance']:.2f}, NMI {score['nmi']:.2f}"
            rows.append((f"code → {name.replace('_', ' ')} (lag {score['lag']})", accuracy))
    table = found["table"]
    for code, label in enumerate(table["labels"]):
        rows.append((f"code {code}", f"{label} {table['agreement'][code]:.0%}, used {table['usage'][code]:.0%}"))
    yield from _table(("latent actions", "value"), rows)


def _prediction(found: Mapping[str, Any]) -> Iterator[str]:
    rows: list[Row] = []
    metrics: list[str] = []
    for row in ("world", "copy_last_frame", "tokenizer"):
        for horizon, scores in found.get(row, {}).items():
            metrics = metrics or list(scores)
            rows.append((row, horizon, *(_figure(scores.get(name)) for name in metrics)))
    yield from _table(("prediction", "step", *metrics), rows)
    delta = found["delta4_psnr"]
    yield ""
    pooled = found["delta4_pooled_db"]
    yield f"Δ4 PSNR: {_figure(delta['all'])} dB; where the player moves: {_figure(delta['player_moves'])} dB"
    yield ""
    yield f"Δ4 of pooled errors: {_figure(pooled['all'])} dB; where it moves: {_figure(pooled['player_moves'])} dB"
    early = found.get("first_frames")
    if early is not None:
        shown = "; ".join(
            f"{name.replace('_', ' ')} {_figure(early[name]['psnr'])} dB, SSIM {_figure(early[name]['ssim'])}"
            for name in ("world", "copy_last_frame")
        )
        yield from ("", f"mean over the first {early['frames']} frames: {shown}")


def _dreams(found: Mapping[str, Any]) -> Iterator[str]:
    world, real = found["world"], found["real"]
    last = world["blocks"][-1]
    names = [f"real, {name}" for name in real]
    header = ("dreams", "all", f"frames {last['start']}–{last['stop']}", *names)
    rows = [
        (name, _figure(figure), _figure(last["rates"].get(name)), *(_figure(r.get(name)) for r in real.values()))
        for name, figure in world["all"].items()
    ]
    yield from _table(header, rows)
    yield from _response(found.get("response", {}))
    ended = found["collapse"]
    yield ""
    yield f"{ended['collapsed']} of {ended['of']} dreams collapsed; median {ended['median_frames']:.0f} frames"
    score, walls = found.get("score", {}), found.get("walls", {})
    if score.get("world"):
        told = f"{_figure(score['world'])} of {score['world']['n']} changes of the score are legal"
        yield from ("", f"{told}; in the real game {_figure(score['real'])} of {score['real']['n']}")
    if walls.get("world"):
        told = f"{walls['world']['only_lose']} of {walls['world']['of']} dreams no brick comes back"
        yield from ("", f"in {told}; in real play in {walls['real']['only_lose']} of {walls['real']['of']} episodes")


def _response(found: Mapping[str, Any]) -> Iterator[str]:
    told = {"dreams, to their codes": found.get("world"), "real game, to its buttons": found.get("real")}
    rows = {name: one for name, one in told.items() if one is not None}
    if rows:
        steps = list(next(iter(rows.values())))
        heads = ["1 step", *(f"{step} steps" for step in steps[1:-2]), f"{steps[-2]} steps or more"]
        yield ""
        yield from _table(
            ("goes where it is told, pressed for", *heads, "all"),
            [(name, *(_figure(one[step]) for step in steps)) for name, one in rows.items()],
        )


def _motion_probe(found: Mapping[str, Any]) -> Iterator[str]:
    share = found["within_half_pixel"]
    yield (
        f"the player's steps as the picture tells them, on {share['n']} recorded ones of the real game: within half "
        f"a pixel in {_figure(share)}, median error {found['median_pixels']:.3f} pixels"
    )


def _two_sample(found: Mapping[str, Any]) -> Iterator[str]:
    names = {"world": "dreamed", "real": "real, other clips", "copy": "standing still"}
    rows = [(shown, *(_figure(one) for one in found[name].values())) for name, shown in names.items()]
    yield from _table(("told from real clips", *(f"after {horizon} frames" for horizon in found["world"])), rows)
    yield ""
    yield f"accuracy over {found['clips']} clips of each kind of {found['length']} frames; 0.5 is not at all"
    if apart := found.get("frechet"):
        yield ""
        rows = [(shown, *(f"{one[name]:.3g}" for one in apart.values())) for name, shown in names.items()]
        yield from _table(
            ("Fréchet distance over random kernels", *(f"after {horizon} frames" for horizon in apart)), rows
        )
        yield from ("", "to be compared within this table, and not with FVD")
    if apart := found.get("fvd"):
        yield ""
        rows = [(shown, *(f"{one[name]:.4g}" for one in apart.values())) for name, shown in names.items()]
        yield from _table(("FVD", *(f"after {horizon} frames" for horizon in apart)), rows)
        yield from ("", f"I3D, {found['clips']} clips of {found['length']} frames: more clips give lower figures")


def _speed(found: Mapping[str, Any]) -> Iterator[str]:
    yield (
        f"{found['fps']:.0f} frames/s at batch 1 on {found['device']}, {found['threads']} threads "
        f"(median {found['median_ms']:.1f} ms, p95 {found['p95_ms']:.1f} ms); {found['parameters'] / 1e6:.2f} M "
        f"parameters; peak memory {found['peak_rss_bytes'] / 2**20:.0f} MiB"
    )


def _figure(found: Mapping[str, Any] | None) -> str:
    """`0.72 [0.70, 0.74]`, or a dash where nothing was measured."""
    if found is None or found["value"] is None:
        return "–"
    return f"{found['value']:.4g} [{found['low']:.4g}, {found['high']:.4g}]"


def _table(header: Row, rows: Sequence[Row]) -> Iterator[str]:
    yield f"| {' | '.join(header)} |"
    yield f"|{'---|' * len(header)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"
