"""What is asked of families is answered by their figures, and by nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from training.dynamics_table import KINDS, ROWS, details
from training.dynamics_table import table as table_of
from training.exit_gates import Gate, gates, written

KEPT = Path(__file__).parents[1] / "docs" / "dynamics"


def row(mse: float = 0.001, **more: Any) -> dict[str, Any]:
    now = {"mse": {"value": mse}, "psnr": {"value": 27.0}, "ssim": {"value": 0.9}}
    card = {"prediction": {"world": {"1": now}, "delta4_pooled_db": {"all": {"value": 0.6}}}}
    return {"card": card, "whole": {"world": {"psnr": {"value": 23.0}}}, **more}


def table(game: str = "coinrun-gray") -> dict[str, Any]:
    frames = {"tokenizer": {"psnr": {"value": 33.0}}}
    autoencoder = {"frames": frames, "latents": {"variance": 2.5}}
    return {
        "game": game,
        "rows": {
            "pixel_film-real": row(0.002),
            "latent_predictor-real": row(0.001, autoencoder=autoencoder, drawn={"each": {"value": 0.004}}),
            "latent_flow-real": row(drawn={"best": {"value": 0.005}, "diversity": {"value": 0.001}}),
            "regression-latent": row(regressed={"below_copy": 0.31}),
        },
    }


def verdicts(found: list[Gate]) -> dict[tuple[str, str], bool | None]:
    return {(gate.row, gate.what): gate.holds for gate in found}


def test_every_gate_says_what_was_found() -> None:
    assert verdicts(gates(table())) == {
        ("regression-latent", "vectors, squared error below the copied ones'"): True,
        ("regression-latent", "Δ4, dB"): True,
        ("pixel_film-real", "PSNR @1, dB"): True,
        ("pixel_film-real", "SSIM @1"): True,
        ("pixel_film-real", "PSNR over 1–32, dB"): False,
        ("latent_predictor-real", "autoencoder, PSNR, dB"): True,
        ("latent_predictor-real", "variance of its latents"): False,
        ("latent_predictor-real", "MSE @1"): True,
        ("latent_flow-real", "best of 8, MSE @10"): False,
        ("latent_flow-real", "diversity"): True,
    }


@pytest.mark.parametrize("gone", ["pixel_film-real", "latent_predictor-real"])
def test_a_row_to_be_compared_with_may_be_missing(gone: str) -> None:
    found = table()
    del found["rows"][gone]
    unknown = [gate for gate in gates(found) if gate.holds is None]
    assert len(unknown) == 1
    assert "– | " in written(unknown) or "'s – |" in written(unknown)
    assert "not measured" in written(unknown)


def test_what_is_reported_of_one_game_is_not_asked_of_another() -> None:
    assert not [gate for gate in gates(table("pong")) if gate.row == "pixel_film-real"]
    assert written([]) == ""
    assert gates({"game": "pong", "rows": {"maskgit-real": row()}}) == []


def test_the_text_has_a_line_a_gate() -> None:
    lines = written(gates(table())).splitlines()
    assert len(lines) == 2 + 10
    assert "| latent predictor-real | MSE @1 | ≤ pixel film's 0.002 | 0.001 | holds |" in lines
    assert "| latent predictor-real | variance of its latents | 0.5 to 2 | 2.5 | short |" in lines


def tables_kept() -> list[tuple[Path, dict[str, Any]]]:
    """The pages of the documentation, and the rows that are kept with each, by game."""
    found = []
    for page in sorted(KEPT.rglob("*.md")):
        names = [f"{family}-{kind}" for family in ROWS for kind in KINDS]
        paths = {name: page.with_suffix("") / f"{name}.json" for name in names}
        rows = {name: json.loads(path.read_text()) for name, path in paths.items() if path.is_file()}
        found.append((page, {"game": page.stem, "rows": rows}))
    return found


def test_the_tables_that_are_shown_are_those_of_the_rows_that_are_kept() -> None:
    assert {path.parent for path in KEPT.rglob("*.json")} == {page.with_suffix("") for page, _ in tables_kept()}
    for page, found in tables_kept():
        assert page.read_text() == "\n\n".join((table_of(found), details(found), written(gates(found)))) + "\n"
        assert len({json.dumps(row["terms"], sort_keys=True) for row in found["rows"].values()}) == 1


def test_the_first_tables_are_those_of_the_readme_too() -> None:
    shown = (KEPT.parents[1] / "README.md").read_text()
    for page, found in tables_kept():
        assert page.parent != KEPT or table_of(found) in shown
