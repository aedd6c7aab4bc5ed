"""Rules about the code: who may import whom, how long things get, what is written down, and a README that is true."""

from __future__ import annotations

import ast
import io
import re
import shlex
import tokenize
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

from app.cli import cli
from app.keymap import BINDINGS
from collectors.games import game_named
from training.overrides import apply_overrides
from training.presets import PRESETS, preset

HOUSE = Path(__file__).resolve().parents[1]
PACKAGES = ("collectors", "models", "training", "app")
RECORDED = {f"collectors.{name}" for name in ("shards", "episode", "games", "manifest")}
ALLOWED = {"collectors": set(), "models": set(), "training": {"models", *RECORDED}, "app": {"models", "collectors"}}
FREE_INSIDE_FUNCTIONS = ("app/cli.py", "app/gym_env.py", "app/commands/")  # these join the packages together
HDF5 = (
    "collectors/shards.py",
    "collectors/writing.py",
    "collectors/strangers.py",
)  # our files, others' files
HOLDERS = {"h5py": HDF5, "pygame": ("app/",), "click": ("app/",)}  # who alone may import it
TOO_VAGUE = {"util", "utils", "helper", "helpers", "common", "misc"}
LONGEST_FILE, LONGEST_FUNCTION = 400, 60  # lines

Rule = Callable[[str, str], list[str]]
"""A path in the repository and the source in it → complaints."""


def imports(source: str) -> Iterator[tuple[str, bool]]:
    """Every imported module with its full name, and whether the import stands inside a function."""

    def walk(node: ast.AST, inside: bool) -> Iterator[tuple[str, bool]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                yield from ((alias.name, inside) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                module = "." * child.level + (child.module or "")
                yield from ((f"{module}.{alias.name}", inside) for alias in child.names)
            yield from walk(child, inside or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda))

    yield from walk(ast.parse(source), False)


def within(module: str, package: str) -> bool:
    """Whether a module's full name is the package or lies in it."""
    return module == package or module.startswith(f"{package}.")


def import_rule(path: str, source: str) -> list[str]:
    """Packages know only those before them; three libraries have one home each; no torch in collectors."""
    package = path.split("/")[0]
    found = []
    for module, inside in imports(source):
        root = module.split(".")[0]
        if root == "":
            found.append(f"{path} imports relatively; write the full name")
        elif root in PACKAGES and root != package:
            free = inside and path.startswith(FREE_INSIDE_FUNCTIONS)
            if not free and not any(within(module, allowed) for allowed in ALLOWED.get(package, {"app"})):
                found.append(f"{path} may not import {module}")
        elif root in HOLDERS and not path.startswith(HOLDERS[root]):
            found.append(f"{path} may not import {root}; only {' '.join(HOLDERS[root])} may")
        elif root == "torch" and package == "collectors":
            found.append(f"{path} may not import torch")
    return found


def length_rule(path: str, source: str) -> list[str]:
    """A file can be read in one sitting, a function on one screen."""
    lines = source.count("\n")
    found = [f"{path} has {lines} lines; split it"] if lines > LONGEST_FILE else []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            length = node.end_lineno - node.lineno + 1
            if length > LONGEST_FUNCTION:
                found.append(f"{path}: {node.name} has {length} lines; split it")
    return found


def docstring_rule(path: str, source: str) -> list[str]:
    """Modules, public classes and public functions say what they are for; `...` of a protocol may stay silent."""

    def walk(node: ast.Module | ast.ClassDef, where: str) -> Iterator[str]:
        if not ast.get_docstring(node):
            yield f"{where} has no docstring"
        for child in node.body:
            if not isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) or child.name[0] == "_":
                continue
            if isinstance(child, ast.ClassDef):
                yield from walk(child, f"{where}: {child.name}")
            elif not ast.get_docstring(child) and ast.unparse(child.body[0]) != "...":
                yield f"{where}: {child.name} has no docstring"

    return list(walk(ast.parse(source), path))


def speech_rule(path: str, source: str) -> list[str]:
    """No `print`; no vague file names; no `type: ignore` without its kind and a reason."""
    calls = [node.func for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    found = [f"{path} calls print" for call in calls if isinstance(call, ast.Name) and call.id == "print"]
    found += [f"{path}: '{part}' says nothing" for part in Path(path).with_suffix("").parts if part in TOO_VAGUE]
    ignored = [text for text in comments(source) if re.match(r"#\s*type:\s*ignore", text)]
    return found + [f"{path}: {text} gives no reason" for text in ignored if not re.search(r"\[.+\].*# \w+", text)]


def shape_rule(path: str, source: str) -> list[str]:
    """Capital letters in bracket comments are in the legend of models/README.md."""
    brackets = [bracket for text in comments(source) for bracket in re.findall(r"\[[^\]]*\]", text)]
    unknown = {(letter, b) for b in brackets for letter in re.findall(r"\b[A-Z]\b", b) if letter not in legend()}
    return [f"{path}: {letter} in {bracket} is not in the legend" for letter, bracket in sorted(unknown)]


def comments(source: str) -> list[str]:
    """Every comment of a source, with its #."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return [token.string for token in tokens if token.type == tokenize.COMMENT]


def legend() -> set[str]:
    """The letters of the legend."""
    text = (HOUSE / "models" / "README.md").read_text(encoding="utf-8")
    return set(re.findall(r"^\| \*\*([A-Z])\*\* \|", text, flags=re.MULTILINE))


RULES: tuple[Rule, ...] = (import_rule, length_rule, docstring_rule, speech_rule, shape_rule)
FILES = ["play.py", *(str(p.relative_to(HOUSE)) for name in PACKAGES for p in sorted((HOUSE / name).rglob("*.py")))]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_code_keeps_the_rule(rule):
    assert len(FILES) > 50
    assert [text for path in FILES for text in rule(path, (HOUSE / path).read_text(encoding="utf-8"))] == []


@pytest.mark.parametrize(
    ("rule", "path", "source", "complaint"),
    [
        (import_rule, "collectors/x.py", "from models import world", "may not import models.world"),
        (import_rule, "collectors/x.py", "def f():\n    import torch.nn", "may not import torch"),
        (import_rule, "models/x.py", "import training", "may not import training"),
        (import_rule, "models/x.py", "from . import world", "relatively"),
        (import_rule, "training/x.py", "from collectors import rollout", "may not import collectors.rollout"),
        (import_rule, "training/x.py", "import h5py", "may not import h5py"),
        (import_rule, "training/x.py", "import click", "may not import click"),
        (import_rule, "app/x.py", "def f():\n    from training import loop", "may not import training.loop"),
        (import_rule, "app/commands/x.py", "from training import loop", "may not import training.loop"),
        (import_rule, "play.py", "import models", "may not import models"),
        (length_rule, "models/x.py", "x = 1\n" * 401, "401 lines"),
        (length_rule, "models/x.py", "def f():\n" + "    x = 1\n" * 60, "f has 61 lines"),
        (docstring_rule, "models/x.py", "x = 1", "models/x.py has no docstring"),
        (docstring_rule, "models/x.py", '"X."\nclass A:\n    "A."\n    def f(self):\n        pass', "A: f has no"),
        (speech_rule, "models/x.py", "print(1)", "calls print"),
        (speech_rule, "models/utils.py", "", "'utils' says nothing"),
        (speech_rule, "models/x.py", "x = 1  # type: ignore[misc]", "no reason"),
        (shape_rule, "models/x.py", "x = 1  # [B, Q·T]", "Q in [B, Q·T]"),
    ],
)
def test_the_rule_notices(rule, path, source, complaint):
    found = rule(path, source)
    assert len(found) == 1
    assert complaint in found[0]


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("training/x.py", "from collectors.shards import Dataset\nfrom models import world"),
        ("app/commands/x.py", "def f():\n    from training import loop"),
        ("app/x.py", "import pygame\nfrom collectors import games"),
        ("collectors/shards.py", "import h5py"),
        ("play.py", "from app.cli import main"),
    ],
)
def test_what_is_allowed_is_allowed(path, source):
    assert import_rule(path, source) == []


def test_the_legend_is_there():
    assert legend() == set("BTNDVAPCHWK")


README = (HOUSE / "README.md").read_text(encoding="utf-8")


def readme_commands() -> list[str]:
    """Command lines in the code blocks and code spans of the README, without prompts and comments."""
    fence = re.compile(r"^```\w*\n(.*?)^```", flags=re.MULTILINE | re.DOTALL)
    lines = [line for block in fence.findall(README) for line in block.replace("\\\n", " ").splitlines()]
    lines += re.findall(r"`([^`\n]+)`", fence.sub("", README))
    bare = (line.strip().removeprefix("$ ") for line in lines)
    return [line for line in bare if line.startswith(("dreamcade", "python play.py", "make "))]


def parse(words: list[str]) -> click.Context:
    """The context of a subcommand with these words behind `dreamcade`, parsed and not run."""
    group = cli.make_context("dreamcade", list(words))
    name, command, rest = cli.resolve_command(group, list(words))
    assert command is not None
    return command.make_context(name, rest, parent=group)


@pytest.mark.parametrize("line", readme_commands())
def test_a_readme_command_can_be_typed(line):
    words = shlex.split(line, comments=True)
    if words[0] == "make":
        targets = re.findall(r"^([a-z]+):", (HOUSE / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
        assert words[1] in targets
        return
    words = words[2:] if words[0] == "python" else words[1:]
    if not words or words[0].startswith("-"):
        return
    context = parse(words)
    if context.info_name in ("collect", "make"):
        game_named(context.params["game"])
    if "preset_name" in context.params:
        name = context.params["preset_name"]
        apply_overrides(preset("maskgit" if name == "auto" else name, "pong", 104, 80), context.params["changes"])


def test_the_readme_shows_every_step():
    shown = {shlex.split(line)[1] for line in readme_commands() if line.startswith("dreamcade ")}
    assert {"collect", "train", "evaluate", "play", "make", "dream", "doctor"} <= shown
    assert {"make play", "make test"} <= set(readme_commands())


@pytest.mark.parametrize("words", [["plya"], ["train", "pong", "--dat", "x"], ["collect"], ["play", "--scale", "0"]])
def test_parsing_notices_a_wrong_command(words):
    with pytest.raises(click.UsageError):
        parse(words)


def test_the_help_of_train_names_every_preset():
    option = next(option for option in parse(["train", "pong"]).command.params if option.name == "preset_name")
    assert isinstance(option, click.Option)
    assert all(name in (option.help or "") for name in PRESETS)


@pytest.mark.parametrize("binding", BINDINGS, ids=lambda binding: binding.does.name + binding.keys[0].shown)
def test_the_readme_knows_the_keys(binding):
    row = next((line for line in README.splitlines() if line.startswith("|") and f"| {binding.text} |" in line), "")
    keys = re.findall(r"<kbd>(.+?)</kbd>", row)
    assert keys == [key.shown for key in binding.keys]


def test_the_readme_names_files_that_exist():
    for named in set(re.findall(r"[\w/]+\.py\b", README)):
        assert (HOUSE / named).is_file() or any(path.endswith(f"/{named}") for path in FILES), named
    assert set(re.findall(r"\]\(((?:docs|models|tests|assets)/[\w/.]+\.(?:md|svg))\)", README)) >= {"docs/idea.svg"}
