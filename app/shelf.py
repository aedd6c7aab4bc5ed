"""The worlds as a player sees them before any is opened, from their cards alone: nothing heavy is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app import library
from models import checkpoint
from models.registry import family
from models.world import WorldSpec

FIGURES = (  # what a person asks of a dream, and where the scorecard has it
    ("one ball", "ball_exactly_one"),
    ("paddle", "player_visible"),
    ("opponent", "enemy_visible"),
    ("obeys", "obeys_move"),
)
NEARLY_ALWAYS = 0.985  # where the game itself comes to this much, it is not mentioned
LONGEST_WORD, LONGEST_REASON = 48, 240  # letters


@dataclass(frozen=True, kw_only=True, slots=True)
class Tile:
    """One world on the shelf. problem: why it cannot be opened, empty for a whole one; then only name and folder count.

    title: the name as it can be printed; width, height: of its pictures; figures: its scorecard in a few words each.
    """

    name: str
    folder: Path
    title: str
    game: str = ""
    family: str = ""
    width: int = 0
    height: int = 0
    megabytes: float = 0.0
    figures: tuple[str, ...] = ()
    problem: str = ""

    @property
    def facts(self) -> str:
        """`pong, maskgit, 80 x 104 pixels, 12.7 MB`."""
        return f"{self.game}, {self.family}, {self.width} x {self.height} pixels, {self.megabytes:.1f} MB"

    @property
    def score(self) -> str:
        """The scorecard as one line."""
        return ", ".join(self.figures) or "not evaluated yet"


def tiles() -> list[Tile]:
    """Every world there is: those played last first, then by name; what cannot be opened comes at the end."""
    played = {name: place for place, name in enumerate(library.recent())}
    found = [tile(name, folder) for name, folder in library.worlds().items()]
    return sorted(found, key=lambda one: (one.problem != "", played.get(one.name, len(played)), one.name.casefold()))


def tile(name: str, folder: Path) -> Tile:
    """What a world's card says of it. Never raises for a damaged world: that is a tile with a problem."""
    title = printable(name)
    try:
        card = checkpoint.read_card(folder)
        kind = str(card.get("family"))
        family(kind)
        spec: WorldSpec = checkpoint.from_json(WorldSpec, card.get("spec"), "spec")
        if not (folder / "model.safetensors").is_file():
            raise FileNotFoundError("no weights: model.safetensors is missing; copy the world again or train it anew")
        megabytes = _megabytes(folder)
    except (ValueError, OSError) as problem:
        return Tile(name=name, folder=folder, title=title, problem=reason(problem, folder))
    return Tile(
        name=name,
        folder=folder,
        title=title,
        game=printable(spec.game),
        family=printable(kind),
        width=spec.width,
        height=spec.height,
        megabytes=megabytes,
        figures=figures(_mapping(card.get("facts")).get("scorecard")),
    )


def figures(score: Any) -> tuple[str, ...]:
    """A scorecard in a few words each: what is seen in dreams, beside it the game where that is not nearly always."""
    dreams = _mapping(_mapping(score).get("dreams"))
    own = _mapping(_mapping(dreams.get("world")).get("all"))
    game = _mapping(_mapping(dreams.get("real")).get("all"))
    parts = []
    for word, key in FIGURES:
        rate, real = _rate(own.get(key)), _rate(game.get(key))
        if rate is not None:
            beside = f" (game {real:.0%})" if real is not None and real < NEARLY_ALWAYS else ""
            parts.append(f"{word} {rate:.0%}{beside}")
    ended = _mapping(dreams.get("collapse"))
    counts = ended.get("collapsed"), ended.get("of")
    if all(isinstance(count, int) for count in counts):
        parts.append(f"{_short(counts[0])} of {_short(counts[1])} collapsed")
    plain = printable(_scores(score), LONGEST_REASON)
    return tuple(parts) or ((plain,) if plain else ())


def reason(problem: BaseException, folder: Path) -> str:
    """Why a world cannot be opened, in one printable line, without the long way to its folder."""
    text = problem.strerror if isinstance(problem, OSError) and problem.strerror else str(problem)
    text = text.replace(f"{folder}/", "") or type(problem).__name__
    return printable(" ".join(text.split()), LONGEST_REASON)


def printable(text: str, longest: int = LONGEST_WORD) -> str:
    """Text from a file or a folder's name as a font can draw it, and not too long."""
    shown = "".join(letter if letter.isprintable() else "?" for letter in text[: longest + 1])
    return shown if len(shown) <= longest else shown[: longest - 2] + ".."


def describe(name: str, folder: Path) -> list[str]:
    """Lines for `worlds`: name, game, family, sizes; the scorecard; where it is. A broken card is one line."""
    try:
        card = checkpoint.read_card(folder)
    except (ValueError, OSError) as problem:
        return [f"{name}: cannot be read: {problem}"]
    spec, facts = _mapping(card.get("spec")), _mapping(card.get("facts"))
    size = f"{spec.get('width', '?')} x {spec.get('height', '?')}"
    head = f"{name}: {spec.get('game', '?')}, {card.get('family', '?')}, {size} pixels, {_megabytes(folder):.1f} MB"
    score = facts.get("scorecard", {name: value for name, value in facts.items() if not isinstance(value, Mapping)})
    return [head, f"    {', '.join(figures(score)) or 'not evaluated yet'}", f"    {folder}"]


def _scores(score: Any) -> str:
    """`psnr 31.2, ball 0.93`: numbers rounded, nested tables flattened one level deep, a long tail left out."""
    if not isinstance(score, Mapping):
        return str(score) if score else ""
    parts: list[str] = []
    for name, value in score.items():
        inner = value.items() if isinstance(value, Mapping) else [("", value)]
        parts += [
            f"{name} {key} {_short(v)}".replace("  ", " ") for key, v in inner if isinstance(v, (int, float, str))
        ]
    return ", ".join(parts[:8]) + (", .." if len(parts) > 8 else "")


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _rate(figure: Any) -> float | None:
    """The value of a measured share, or None where it was not measured or is none."""
    value = _mapping(figure).get("value")
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0.0 <= value <= 1.0:
        return None
    return float(value)


def _megabytes(folder: Path) -> float:
    """Megabytes of all files of a world."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
