"""The worlds on this machine: where they are, how one is chosen and opened, what a dream begins from."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from app.places import HOUSE, saves
from models import checkpoint
from models.world import World, WorldSpec

ASSETS = HOUSE / "assets"
LAST = "last_world"  # names of worlds, one a line, the one played last first
REMEMBERED = 12


def roots() -> list[Path]:
    """Folders that hold worlds: the player's own first."""
    return [saves() / "worlds", ASSETS / "worlds"]


def worlds() -> dict[str, Path]:
    """Name → folder of every world there is."""
    return checkpoint.find_worlds(roots())


def pick(name: str | None) -> Path:
    """The folder of a world: by name, by path, or (None) the one played last, else the first."""
    known = worlds()
    if name is None:
        if not known:
            raise FileNotFoundError("there is no world yet; 'dreamcade make pong' records a game and learns it")
        return next((known[played] for played in recent() if played in known), next(iter(known.values())))
    if name in known:
        return known[name]
    if (Path(name) / "config.json").is_file():
        return Path(name)
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean '{near[0]}'?" if near else f"there is {', '.join(known) or 'none yet'}"
    raise FileNotFoundError(f"there is no world '{name}'; {hint}")


def hidden_by(folder: Path) -> Path | None:
    """The shipped world of the same name that a player's own one hides, if there is one."""
    shipped = ASSETS / "worlds" / folder.name
    own = folder.resolve() == (saves() / "worlds" / folder.name).resolve()
    return shipped if own and (shipped / "config.json").is_file() else None


def remember(folder: Path) -> None:
    """Make this the world that opens without a name. Not being able to is no reason to stop."""
    names = [folder.name, *(name for name in recent() if name != folder.name)]
    try:
        saves().mkdir(parents=True, exist_ok=True)
        (saves() / LAST).write_text("".join(f"{name}\n" for name in names[:REMEMBERED]), encoding="utf-8")
    except (OSError, UnicodeEncodeError):
        return


def recent() -> list[str]:
    """Names of the worlds played last, the latest first; some may be gone by now."""
    try:
        lines = (saves() / LAST).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return []
    return [line.strip() for line in lines if line.strip()][:REMEMBERED]


def device(name: str) -> str:
    """`auto` → cuda where there is one, else cpu; another name is checked."""
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        kind = torch.device(name).type
    except RuntimeError:
        kind = ""
    if kind not in ("cpu", "cuda", "mps"):
        raise ValueError(f"there is no device '{name}'; use auto, cpu, cuda or mps")
    if kind == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device cuda needs an NVIDIA GPU and a torch built for it; found none, use --device cpu")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise ValueError("--device mps needs a Mac with Apple silicon; found none, use --device cpu")
    return name


def open_world(folder: Path, where: str) -> World:
    """Load a world onto a device."""
    world: World = checkpoint.load_world(folder, where)
    return world


def starts(
    folder: Path, spec: WorldSpec, prompt: Path | None, *, strict: bool, say: Callable[[str], None]
) -> list[Tensor]:
    """Clips to begin from, uint8 [T, C, H, W]: the world's own, or a picture standing still."""
    return checkpoint.load_starts(folder) if prompt is None else [still(prompt, spec, strict=strict, say=say)]


def still(picture: Path, spec: WorldSpec, *, strict: bool, say: Callable[[str], None]) -> Tensor:
    """Any picture as a start clip of `spec.context` equal frames: uint8 [T, C, H, W].

    Another size than the world's is resized with a notice to `say`, or an error if `strict`.
    """
    from PIL import Image, UnidentifiedImageError

    if not picture.is_file():
        raise FileNotFoundError(f"picture not found: {picture}")
    try:
        with Image.open(picture) as opened:
            image = opened.convert("RGB" if spec.channels == 3 else "L")
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as problem:
        reason = "not a picture" if isinstance(problem, UnidentifiedImageError) else str(problem)
        raise ValueError(f"cannot read picture {picture}: {reason}") from None
    if image.size != (spec.width, spec.height):
        found = f"picture {picture} is {image.size[0]} x {image.size[1]}"
        if strict:
            raise ValueError(
                f"{found} but '{spec.game}' needs {spec.width} x {spec.height}; leave out --strict to resize"
            )
        say(f"{found}: resized to {spec.width} x {spec.height}")
        image = image.resize((spec.width, spec.height), Image.Resampling.BOX)
    pixels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
    frame = pixels.reshape(spec.height, spec.width, -1).permute(2, 0, 1)
    return frame.expand(spec.context, -1, -1, -1).contiguous()
