"""The scorecard as a page: whole, readable, and harmless whatever stands in the card."""

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training import report
from training.page import curve, html_of, page

VOID = {"meta", "img", "line", "polyline", "polygon", "rect"}
FIGURE = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 9, "clusters": 9}
CARD = {
    "game": "pong <b>",
    "seed": 7,
    "data": {"frames": 100, "episodes": 2},
    "made": {"commit": "abc1234"},
    "notes": ["one note & another"],
    "prediction": {
        row: {h: {"psnr": FIGURE, "moving_psnr": FIGURE} for h in ("1", "4", "10")}
        for row in ("world", "copy_last_frame")
    }
    | {name: {"all": FIGURE, "player_moves": FIGURE} for name in ("delta4_psnr", "delta4_pooled_db")},
    "dreams": {
        "world": {
            "all": {"ball_none": FIGURE},
            "blocks": [{"start": at, "stop": at + 200, "rates": {"ball_none": FIGURE}} for at in (0, 200)],
        },
        "real": {"all": {"ball_none": FIGURE}},
        "collapse": {"collapsed": 0, "of": 20, "median_frames": 1000},
    },
}


class Balanced(HTMLParser):
    """Every tag that opens closes."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag


def parsed(text):
    parser = Balanced()
    parser.feed(text)
    assert parser.open == []
    return parser.seen


def test_a_page_needs_nothing_from_elsewhere():
    text = page(CARD, {"dreams": ("image/png", b"abc"), "film": ("image/gif", b"def"), "other": ("image/png", b"x")})
    seen = parsed(text)
    assert seen.count("img") == 2
    assert seen.count("svg") == 3  # two metrics that are there, one rate of the dreams
    assert "table" in seen
    assert re.findall(r'(?:src|href)="(?!data:)', text) == []
    assert "pong &lt;b&gt;" in text
    assert "one note &amp; another" in text
    assert "abc1234" in text


def test_a_card_with_little_in_it():
    seen = parsed(page({"game": "x", "seed": 0, "data": {"frames": 1, "episodes": 1}, "notes": []}, {}))
    assert "svg" not in seen


def test_a_curve_puts_large_above_small_and_late_right_of_early():
    points = [(1.0, {"value": 30.0, "low": 29.0, "high": 31.0}), (50.0, {"value": 10.0, "low": 9.0, "high": 11.0})]
    drawn = curve("t", "b", {"world": points}, logarithmic=True)
    (x1, y1), (x2, y2) = (
        tuple(map(float, pair.split(","))) for pair in re.search(r'<polyline points="([^"]+)"', drawn)[1].split()
    )
    assert x1 < x2
    assert y1 < y2  # pixels count downwards
    parsed(drawn)


def test_what_was_not_measured_is_left_out():
    missing = {"value": None, "low": None, "high": None}
    assert curve("t", "b", {"world": [(1.0, missing)]}) == ""
    assert "copy" not in curve("t", "b", {"world": [(1.0, FIGURE)], "copy": [(1.0, missing)]})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("# A\n\nb\nc", "<h1>A</h1><p>b c</p>"),
        ("- a\n- <i>", "<ul><li>a</li><li>&lt;i&gt;</li></ul>"),
        (
            "| a | b |\n|---|---|\n| 1 | 2 |",
            "<table><thead><tr><th>a</th><th>b</th></tr></thead><tbody><tr><td>1</td><td>2</td></tr></tbody></table>",
        ),
    ],
)
def test_markdown_becomes_html(text, expected):
    assert html_of(text) == expected


def test_a_film_that_would_be_too_large_ends_earlier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = list(np.random.default_rng(0).integers(0, 256, (16, 24, 24, 3), dtype=np.uint8))
    counts = []
    for most in (10_000_000, 40_000, 1):
        monkeypatch.setattr(report, "MOST_BYTES", most)
        report.save_film(tmp_path / "film.gif", noise, 15.0)
        with Image.open(tmp_path / "film.gif") as film:
            counts.append(getattr(film, "n_frames", 1))
        assert counts[-1] == 1 or (tmp_path / "film.gif").stat().st_size <= most
    assert counts[0] == 16 > counts[1] > counts[2] == 1
