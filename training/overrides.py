"""`--set dynamics.width=128`: typed changes to a frozen experiment. An unknown key lists the known ones."""

from __future__ import annotations

import ast
import difflib
from collections.abc import Iterable
from dataclasses import asdict, fields, is_dataclass, replace
from typing import Any, TypeVar, cast

from models.checkpoint import from_json

T = TypeVar("T")


def apply_overrides(config: T, changes: Iterable[str]) -> T:
    """Each change is `path.to.field=value`, the value a Python literal or a plain word."""
    for change in changes:
        path, equals, text = change.partition("=")
        if not equals:
            raise ValueError(f"--set wants key=value, found {change!r}")
        try:
            config = _replaced(config, path.strip().split("."), _literal(text.strip()), path)
        except (TypeError, ArithmeticError) as error:
            raise ValueError(f"--set {change}: cannot be: {error}") from error
        config = from_json(type(config), asdict(cast(Any, config)), "experiment")
    return config


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return {"true": True, "false": False}.get(text.lower(), text)


def _replaced(config: Any, path: list[str], value: Any, whole: str) -> Any:
    known = [item.name for item in fields(config)] if is_dataclass(config) else []
    if path[0] not in known:
        near = difflib.get_close_matches(path[0], known, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(f"--set {whole}: no {path[0]!r} here; {hint}known: {', '.join(known) or 'nothing'}")
    old = getattr(config, path[0])
    if len(path) > 1:
        return replace(config, **{path[0]: _replaced(old, path[1:], value, whole)})
    if is_dataclass(old):
        inner = ", ".join(f"{whole}.{item.name}" for item in fields(old))
        raise ValueError(f"--set {whole}: is a group of values; set one of {inner}")
    return replace(config, **{path[0]: _fitting(old, value, whole)})


def _fitting(old: Any, value: Any, whole: str) -> Any:
    if isinstance(old, bool) != isinstance(value, bool):
        raise ValueError(f"--set {whole}: expected {type(old).__name__}, found {value!r}")
    if isinstance(old, float) and isinstance(value, int):
        return float(value)
    if isinstance(old, tuple) and isinstance(value, list | tuple):
        return tuple(value)
    if old is not None and not isinstance(value, type(old)):
        raise ValueError(f"--set {whole}: expected {type(old).__name__}, found {value!r}")
    return value
