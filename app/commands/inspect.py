"""`dreamcade inspect` says what is in a data set: size, returns, actions, coverage, and what is wrong with frames."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from app.progress import Bar

BAR, LINE = 28, 24  # letters of a bar and of a line from the lowest to the highest return
EIGHTHS = " ▏▎▍▌▋▊▉"
MOST_EPISODES = 12  # with findings, that are listed


@click.command()
@click.argument("dataset")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--verify", is_flag=True, help="Compare every shard with its sha256 first and name those that differ.")
@click.option("--repair", "mend", is_flag=True, help="Set damaged shards aside, into the folder damaged/ beside them.")
@click.option("--sheet", type=click.Path(path_type=Path), help="Also write a PNG with frames of some episodes.")
@click.option("--coverage/--no-coverage", default=True, show_default=True, help="Count different patches and states.")
@click.option("--quality", is_flag=True, help="Look for frames that are black, frozen, of a menu, or cut.")
def inspect(
    dataset: str, as_json: bool, verify: bool, mend: bool, sheet: Path | None, coverage: bool, quality: bool
) -> None:
    """Say what is in the data set in folder DATASET, or behind a URL.

    A recorded data set that was repaired becomes whole again by the command that recorded it.
    """
    from collectors import inspection
    from collectors.coverage import coverage_of
    from collectors.shards import Dataset

    if verify or mend:
        _check(dataset, mend)
    with Dataset.open(dataset) as data:
        facts = inspection.inspect_dataset(data) | ({"verified": True} if verify or mend else {})
        if data.manifest.lost:
            facts["lost"] = [shard.file for shard in data.manifest.lost]
        if coverage:
            with Bar("coverage", "frame") as bar:
                facts["coverage"] = coverage_of(data, bar.show).to_json()
        if quality:
            with Bar("quality", "episode") as bar:
                facts["quality"] = inspection.quality(data, bar.show)
        if sheet:
            inspection.write_sheet(data, sheet)
    if as_json:
        click.echo(json.dumps(facts, indent=1))
    else:
        for line in _lines(facts):
            click.echo(line)


def _check(dataset: str, mend: bool) -> None:
    """Compare every shard with its sha256; damaged ones are an error, or with `mend` set aside."""
    from collectors.remote import folder_of, is_remote, local_folder
    from collectors.verify import check_dataset, repair

    if mend and is_remote(dataset):
        raise ValueError(f"{dataset} is repaired where it lies; copy the damaged shards there again")
    folder = folder_of(dataset) if mend else local_folder(dataset)
    if mend:
        for damage in repair(folder):
            click.echo(f"set aside: {damage}", err=True)
    check_dataset(folder)


def _lines(facts: dict[str, Any]) -> Iterator[str]:
    """All that is known, for a person."""
    yield from _head(facts)
    if not facts["knows_actions"]:
        yield "actions, rewards and ends: not known"
    else:
        yield "returns:"
        yield from _returns(facts["returns"])
        if facts["actions"]:
            yield "actions:"
            yield from _histogram(facts["actions"], facts["steps"])
    if facts["controls"]:
        yield "actions, mean and spread:"
        yield from (f"  {name:<18} {row['mean']:+6.2f}  ± {row['std']:.2f}" for name, row in facts["controls"].items())
    if facts["latents"]:
        yield "latent actions:"
        yield from _histogram(facts["latents"], facts["steps"])
    if facts.get("coverage"):
        yield "coverage:"
        yield from _coverage(facts["coverage"], bool(facts["controls"]))
    if "quality" in facts:
        yield "quality:"
        yield from _quality(facts["quality"])
    if facts.get("verified"):
        yield "every shard matches its sha256"


def _head(facts: dict[str, Any]) -> Iterator[str]:
    height, width = facts["size"]
    name = click.style(facts["game"], bold=True)
    yield f"{name}  {height}x{width} at {facts['fps']:g} fps, {facts['behaviour']}, seed {facts['seed']}"
    progress = "complete" if facts["complete"] else f"unfinished, {facts['steps_requested']} requested"
    counts = f"{facts['steps']} transitions ({progress}), {facts['frames']} frames, {facts['episodes']} episodes"
    yield f"{counts}: {_duration(facts['steps'] / facts['fps'])} of play"
    if facts["sources"]["dream"]:
        who = ", ".join(facts["worlds"]) or "of unknown weights"
        yield f"{facts['sources']['dream']} of {facts['episodes']} episodes were dreamed, by world {who}"
    packed, raw = facts["bytes"], facts["raw_bytes"]
    shards = f"{facts['shards']} shard{'' if facts['shards'] == 1 else 's'}"
    yield f"{packed / 1e6:.1f} MB in {shards}, {raw / packed:.0f} times less than unpacked"
    lengths = facts["lengths"]
    each = f"{lengths['mean']:.0f} steps each, {lengths['low']:g} to {lengths['high']:g}"
    yield "episodes: " + ", ".join(f"{name} {count}" for name, count in facts["splits"].items()) + f"; {each}"
    for note in facts["notes"]:
        yield f"note: {note}"
    if facts["dropped"]["episodes"]:
        yield "dropped by hand: episodes {episodes}, transitions {steps}".format(**facts["dropped"])
    if facts.get("lost"):
        yield f"damaged and set aside: {', '.join(facts['lost'])}; the same collect command records them again"


def _duration(seconds: float) -> str:
    """`2 h 13 min`, `4 min 10 s`, `9.5 s`."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 60} min {whole % 60} s" if whole >= 60 else f"{seconds:.1f} s"


def _returns(rows: dict[str, dict[str, Any]]) -> Iterator[str]:
    """One line a behaviour: from the lowest to the highest return, all on one scale, with the mean as a dot."""
    low, high = (pick(row[key] for row in rows.values()) for pick, key in ((min, "low"), (max, "high")))
    wide = max(len(name) for name in rows)
    for name, row in rows.items():
        spread = f"mean {row['mean']:8.2f}, {row['low']:g} to {row['high']:g}"
        drawn = f"  {_span(row, low, high)}" if high > low else ""
        yield f"  {name:<{wide}}  {row['episodes']:>5} episodes{drawn}  {spread}"


def _span(row: dict[str, Any], low: float, high: float) -> str:
    first, mean, last = (round((row[key] - low) / (high - low) * (LINE - 1)) for key in ("low", "mean", "high"))
    marks = ["━" if first <= place <= last else "·" for place in range(LINE)]
    marks[min(max(mean, 0), LINE - 1)] = "●"
    return click.style("".join(marks), fg="cyan")


def _histogram(counts: dict[str, int], steps: int) -> Iterator[str]:
    """One line a name: its share, and a bar as long as that is beside the largest one."""
    most, wide = max(*counts.values(), 1), max(14, *(len(name) for name in counts))
    for name, count in counts.items():
        eighths = round(8 * BAR * count / most)
        bar = "█" * (eighths // 8) + EIGHTHS[eighths % 8].strip()
        yield f"  {name:<{wide}} {100 * count / steps:5.1f} %  {click.style(bar, fg='cyan')}".rstrip()


def _coverage(found: dict[str, Any], numbers: bool) -> Iterator[str]:
    about = "" if found["exact"] else "about "
    yield (
        f"  {about}{found['patches']:,} different patches of 8x8, {found['coarse_states']:,} coarse states,"
        f" {found['states']:,} fine ones"
    )
    share = f"nothing changes in {100 * found['still']:.1f} % of the steps"
    yield f"  {about}{found['distinct_frames']:,} different frames of {found['frames']:,}; {share}"
    if found["actions"] > 1:
        even = f"{found['action_perplexity']:.1f} of {found['actions']}"
        what = "ranges of each number were reached" if numbers else "were pressed"
        yield f"  actions are as balanced as if {even} {what} equally often"


def _quality(found: dict[str, Any]) -> Iterator[str]:
    from collectors.quality import DROPPED, Finding, Report
    from collectors.quality import found_lines as told

    bad = ", ".join(f"{found[kind]} {kind}" for kind in DROPPED)
    yield f"  of {found['frames']} frames {bad}; {found['cut']} cuts"
    for row in found["episodes"][:MOST_EPISODES]:
        findings = tuple(Finding(kind=kind, start=start, stop=stop) for kind, start, stop in row["findings"])
        for line in told(Report(frames=row["frames"], findings=findings), False):
            yield f"  episode {row['episode']}: {line}"
    if len(found["episodes"]) > MOST_EPISODES:
        yield f"  and {len(found['episodes']) - MOST_EPISODES} more episodes; --json has them all"


COMMANDS = [inspect]
