"""What the families are to reach before they may be built upon, looked up in the rows of their table.

Figures of the pixel baseline are those that another project reports for gray CoinRun
(github.com/Mayavan/atari_world_model), so they are asked of that game alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from training.family_figures import AT, DRAWN
from training.rollouts import DELTA_STEP

ELSEWHERE = "coinrun-gray"
"""The game that is measured elsewhere."""


@dataclass(frozen=True, slots=True)
class Gate:
    """One thing that is asked of a row. found: None where it was not measured; bar: in words."""

    row: str
    what: str
    bar: str
    found: float | None
    holds: bool | None


def gates(table: Mapping[str, Any]) -> list[Gate]:
    """What is asked of the rows that are there, see `dynamics_table.tabulate`; under each kind of actions by itself."""
    rows: Mapping[str, Any] = table["rows"]
    found: list[Gate] = []
    for kind in ("latent", "real"):
        of = {name.rpartition("-")[0]: row for name, row in rows.items() if name.endswith(f"-{kind}")}
        for family, asked in ASKED.items():
            if family in of:
                found += [Gate(f"{family}-{kind}", *each) for each in asked(of, table["game"])]
    return found


def written(found: list[Gate]) -> str:
    """The same as a Markdown table; an empty text where nothing is asked."""
    if not found:
        return ""
    lines = ["| | | asked | found | |", "| --- | --- | --- | --- | --- |"]
    for gate in found:
        value = "–" if gate.found is None else f"{gate.found:.4g}"
        verdict = {True: "holds", False: "short", None: "not measured"}[gate.holds]
        lines.append(f"| {gate.row.replace('_', ' ')} | {gate.what} | {gate.bar} | {value} | {verdict} |")
    return "\n".join(lines)


Asked = tuple[str, str, float | None, bool | None]
Rows = Mapping[str, Any]


def _at_least(what: str, found: float | None, bar: float) -> Asked:
    return what, f"≥ {bar:g}", found, None if found is None else found >= bar


def _at_most(what: str, found: float | None, bar: float | None, of: str) -> Asked:
    shown = "–" if bar is None else f"{bar:.4g}"
    return what, f"≤ {of}'s {shown}", found, None if found is None or bar is None else found <= bar


def _value(row: Any, *path: str) -> float | None:
    for key in path:
        row = row.get(key) if isinstance(row, Mapping) else None
    return None if row is None else float(row)


def _error(of: Rows, family: str, horizon: int) -> float | None:
    return _value(of.get(family), "card", "prediction", "world", str(horizon), "mse", "value")


def _autoencoder(of: Rows, game: str) -> Iterator[Asked]:
    row = of["latent_predictor"]
    yield _at_least("autoencoder, PSNR, dB", _value(row, "autoencoder", "frames", "tokenizer", "psnr", "value"), 30.0)
    variance = _value(row, "autoencoder", "latents", "variance")
    yield "variance of its latents", "0.5 to 2", variance, None if variance is None else 0.5 <= variance <= 2
    yield _at_most("MSE @1", _error(of, "latent_predictor", 1), _error(of, "pixel_film", 1), "pixel film")


def _flow(of: Rows, game: str) -> Iterator[Asked]:
    row = of["latent_flow"]
    best, bar = _value(row, "drawn", "best", "value"), _value(of.get("latent_predictor"), "drawn", "each", "value")
    yield _at_most(f"best of {DRAWN}, MSE @{AT}", best, bar, "latent predictor")
    spread = _value(row, "drawn", "diversity", "value")
    yield "diversity", "> 0", spread, None if spread is None else spread > 0


def _pixels(of: Rows, game: str) -> Iterator[Asked]:
    if game != ELSEWHERE:
        return
    now, row = ("card", "prediction", "world", "1"), of["pixel_film"]
    yield _at_least("PSNR @1, dB", _value(row, *now, "psnr", "value"), 26.9)
    yield _at_least("SSIM @1", _value(row, *now, "ssim", "value"), 0.86)
    yield _at_least("PSNR over 1–32, dB", _value(row, "whole", "world", "psnr", "value"), 23.9)


def _regression(of: Rows, game: str) -> Iterator[Asked]:
    row = of["regression"]
    yield _at_least("vectors, squared error below the copied ones'", _value(row, "regressed", "below_copy"), 0.3)
    delta = _value(row, "card", "prediction", "delta4_pooled_db", "all", "value")
    yield f"Δ{DELTA_STEP}, dB", "> 0.5", delta, None if delta is None else delta > 0.5


ASKED: Mapping[str, Callable[[Rows, str], Iterator[Asked]]] = {
    "regression": _regression,
    "pixel_film": _pixels,
    "latent_predictor": _autoencoder,
    "latent_flow": _flow,
}
