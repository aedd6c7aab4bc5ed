"""A scorecard as one page of HTML that needs nothing else: the report's tables, curves, and pictures chosen by rule."""

from __future__ import annotations

import base64
import html
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from training.report import markdown

Point = tuple[float, Mapping[str, Any]]  # x, and a figure {value, low, high}
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#767676")  # told apart by everybody (Okabe and Ito)
WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 420, 250, 48, 36, 42  # of a curve, and its margins
CAPTIONS = {
    "tokenizer": "Real frames, and below them what the tokenizer makes of them: every twentieth of the first stretch.",
    "prediction": "The first four clips, the real game above the dream, 1, 2, 3, 4, 6, 8, 10, 15, 20, 30, 40 and 50 "
    "frames after the last real one.",
    "dreams": "The first four dreams under random codes that are held for a moment, from the first frame to the last.",
    "film": "The first four dreams, their first frames.",
}
METRICS = {"psnr": "PSNR, dB", "moving_psnr": "PSNR of moving pixels, dB", "ball": "ball within 2 px"}
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; color: #1c1c1c; }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; font-size: 13px; display: block;
  overflow-x: auto; }
th, td { border-bottom: 1px solid #ddd; padding: .25rem .6rem; text-align: left; white-space: nowrap; }
th { background: #f4f4f4; }
img { max-width: 100%; image-rendering: pixelated; display: block; margin: .5rem 0; }
figure { margin: 1.5rem 0; } figcaption { color: #555; }
.curves { display: flex; flex-wrap: wrap; gap: 1rem; }
"""


def page(card: Mapping[str, Any], pictures: Mapping[str, tuple[str, bytes]]) -> str:
    """A scorecard of `evaluation.evaluate` as HTML. pictures: by the names in CAPTIONS, a media type and the bytes."""
    title = f"{card['game']}: scorecard of a dreamed world"
    facts = "".join(f"<li>{_text(f'{name}: {value}')}</li>" for name, value in _facts(card))
    shown = "".join(_figure(name, *pictures[name]) for name in CAPTIONS if name in pictures)
    body = f'<ul>{facts}</ul><div class="curves">{"".join(curves(card))}</div>{shown}{html_of(markdown(card))}'
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{_text(title)}</title>'
        f"<style>{STYLE}</style></head><body>"
        f"{body}</body></html>\n"
    )


def curves(card: Mapping[str, Any]) -> Iterator[str]:
    """Error against horizon, and the habits of dreams over time beside the real game's."""
    rows = card.get("prediction", {})
    names = [name for name in ("world", "copy_last_frame", "tokenizer") if name in rows]
    for metric, unit in (
        ("psnr", "PSNR, dB"),
        ("moving_psnr", "PSNR of moving pixels, dB"),
        ("ball", "ball within 2 px"),
    ):
        series = {
            name.replace("_", " "): [(float(h), scores[metric]) for h, scores in rows[name].items() if metric in scores]
            for name in names
        }
        if any(series.values()):
            yield curve(unit, "frames after the last real one", series, logarithmic=True)
    dreams = card.get("dreams")
    if dreams is None:
        return
    for rate in dreams["world"]["all"]:
        blocks = [((block["start"] + block["stop"]) / 2, block["rates"][rate]) for block in dreams["world"]["blocks"]]
        kind = "sticky" if "sticky" in dreams["real"] else "all"
        game = dreams["real"][kind].get(rate)
        series = {"dreams": blocks}
        if game is not None:
            series[f"real, {kind}"] = [(at, game) for at, _ in blocks]
        if len(blocks) > 1:
            yield curve(rate.replace("_", " "), "frames of the dream", series)


def curve(title: str, below: str, series: Mapping[str, Sequence[Point]], *, logarithmic: bool = False) -> str:
    """Lines with their intervals as SVG; what was not measured is left out."""
    known = {name: [(x, f) for x, f in points if f["value"] is not None] for name, points in series.items()}
    known = {name: points for name, points in known.items() if points}
    xs = [math.log(x) if logarithmic else x for points in known.values() for x, _ in points]
    ys = [f[key] for points in known.values() for _, f in points for key in ("low", "high")]
    if not xs:
        return ""
    low, high = min(ys), max(ys)
    room = 0.08 * (high - low) or max(0.1 * abs(high), 1e-3)
    low, high, first, last = low - room, high + room, min(xs), max(xs)

    def across(x: float) -> float:
        share = ((math.log(x) if logarithmic else x) - first) / max(last - first, 1e-9)
        return LEFT + share * (WIDTH - LEFT - 12)

    def down(y: float) -> float:
        return TOP + (high - y) / (high - low) * (HEIGHT - TOP - BOTTOM)

    parts = [f'<text x="{LEFT}" y="14" font-weight="600">{_text(title)}</text>']
    for mark in (low + room, (low + high) / 2, high - room):
        y = down(mark)
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - 12}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e4e4e4"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{mark:.3g}</text>')
    for x in sorted({x for points in known.values() for x, _ in points}):
        parts.append(f'<text x="{across(x):.1f}" y="{HEIGHT - BOTTOM + 15}" text-anchor="middle">{x:g}</text>')
    parts.append(f'<text x="{(LEFT + WIDTH) / 2:.0f}" y="{HEIGHT - 4}" text-anchor="middle">{_text(below)}</text>')
    for number, (name, points) in enumerate(known.items()):
        colour = COLOURS[number % len(COLOURS)]
        line = " ".join(f"{across(x):.1f},{down(f['value']):.1f}" for x, f in points)
        edge = [(x, f["high"]) for x, f in points] + [(x, f["low"]) for x, f in reversed(points)]
        area = " ".join(f"{across(x):.1f},{down(y):.1f}" for x, y in edge)
        parts.append(f'<polygon points="{area}" fill="{colour}" fill-opacity="0.18" stroke="none"/>')
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        key = LEFT + number * (WIDTH - LEFT) // len(known)
        parts.append(f'<rect x="{key}" y="22" width="9" height="9" fill="{colour}"/>')
        parts.append(f'<text x="{key + 13}" y="30">{_text(name)}</text>')
    size = f'width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-size="11" role="img">{"".join(parts)}</svg>'


def html_of(text: str) -> str:
    """Headings, tables, lists and paragraphs of Markdown as HTML; everything else stays text."""
    out = list[str]()
    for block in re.split(r"\n\s*\n", text.strip()):
        lines = block.splitlines()
        if lines[0].startswith("#"):
            level = len(lines[0]) - len(lines[0].lstrip("#"))
            out.append(f"<h{level}>{_text(lines[0].lstrip('# '))}</h{level}>")
        elif lines[0].startswith("|"):
            rows = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in lines]
            rows = [row for row in rows if not all(re.fullmatch(r"-+", cell) for cell in row)]
            head = "".join(f"<th>{_text(cell)}</th>" for cell in rows[0])
            body = "".join(f"<tr>{''.join(f'<td>{_text(cell)}</td>' for cell in row)}</tr>" for row in rows[1:])
            out.append(f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>")
        elif lines[0].startswith("- "):
            out.append(f"<ul>{''.join(f'<li>{_text(line[2:])}</li>' for line in lines)}</ul>")
        else:
            out.append(f"<p>{_text(' '.join(lines))}</p>")
    return "".join(out)


def _facts(card: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    data = card["data"]
    yield "data", f"{data['frames']} frames in {data['episodes']} episodes that were not trained on"
    yield from card.get("made", {}).items()
    yield "seed", card["seed"]
    yield "intervals", "95 %, bootstrap over clips, blocks of play, or dreams"


def _figure(name: str, kind: str, content: bytes) -> str:
    source = f"data:{kind};base64,{base64.b64encode(content).decode()}"
    caption = _text(CAPTIONS[name])
    return f'<figure><img src="{source}" alt="{caption}"><figcaption>{caption}</figcaption></figure>'


def _text(words: str) -> str:
    return html.escape(words)
