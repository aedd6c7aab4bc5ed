"""Which experiment the options of `train` and `make` name."""

from __future__ import annotations

from typing import Any

import click


def chosen_experiment(
    options: dict[str, Any], game: str, height: int, width: int, datasets: list[Any] | None = None
) -> Any:
    """The preset that the options name, for frames of this size, with what --set changes.

    Which one `auto` is depends on the data; without any it is maskgit.
    """
    from dataclasses import replace

    from training.overrides import apply_overrides
    from training.presets import preset

    name = options["preset_name"]
    if options.get("family") or options.get("actions") == "real":
        return _family_experiment(options, game, height, width, datasets)
    if name == "auto" and datasets:
        from training.choice import fitting_preset
        from training.windows import Windows

        name, why = fitting_preset(Windows(datasets, "train"))
        click.echo(f"preset {name}: {why}")
    named = preset("maskgit" if name == "auto" else name, game, height, width, options["size"])
    if options["preset_name"] == "auto" and datasets:
        named = _with_patch(named, datasets)
    return apply_overrides(_timed(replace(named, seed=options["seed"]), options), options["changes"])


def _family_experiment(options: dict[str, Any], game: str, height: int, width: int, datasets: list[Any] | None) -> Any:
    """The experiment of the family, or of the preset under real actions, that the options name."""
    from dataclasses import replace

    from models.registry import alone
    from training.families import Look, family_experiment, with_real_actions
    from training.overrides import apply_overrides
    from training.presets import best_patch
    from training.windows import Windows

    if options["family"]:
        if datasets:
            look = Look.of(Windows(datasets, "train"))
        else:
            look = Look(height=height, width=width, scrolls=False, gray=False, patch=best_patch(height, width))
        found = family_experiment(options["family"], game, look, options["size"], options["actions"])
        found = replace(found, seed=options["seed"])
        if alone(options["family"]):  # all of the time is for the one part
            found = replace(found, tokenizer=replace(found.tokenizer, minutes=options.get("minutes") or 0.0))
        else:
            found = _timed(found, options)
        found = apply_overrides(found, options["changes"])
        kind = "scrolls" if look.scrolls else "patches come again"
        click.echo(f"family {options['family']}, {options['actions']} actions: {kind}{', gray' if look.gray else ''}")
        return found
    plain = chosen_experiment(
        {**options, "actions": "latent", "minutes": None, "changes": ()}, game, height, width, datasets
    )
    return apply_overrides(_timed(with_real_actions(plain), options), options["changes"])


def _with_patch(experiment: Any, datasets: list[Any]) -> Any:
    """The experiment with the size of patch that suits these frames, where it is a world of patches."""
    from training.choice import with_fitting_patch
    from training.windows import Windows

    fitting = with_fitting_patch(experiment, Windows(datasets, "train"))
    if fitting is not experiment:
        tokenizer: Any = fitting.family.tokenizer
        click.echo("patches of {}x{} pixels".format(*tokenizer.patch))
    return fitting


def _timed(experiment: Any, options: dict[str, Any]) -> Any:
    """The experiment within the minutes that the options give it, if they give any."""
    minutes = options.get("minutes")
    return experiment if minutes is None else experiment.within(minutes)


def going_on(options: dict[str, Any], game: str, family: Any) -> Any:
    """The experiment of dynamics that go on learning, with what --set changes."""
    from dataclasses import replace

    from training.overrides import apply_overrides
    from training.presets import further

    return apply_overrides(_timed(replace(further(game, family), seed=options["seed"]), options), options["changes"])
