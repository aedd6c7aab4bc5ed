"""A world in a folder: whole or not there, and whatever is wrong with it is one line that says what."""

import copy
import json
import os
import resource
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import block_play
import pytest
import torch
from click.testing import CliRunner
from world_faults import FAULTS

from app.cli import explain
from app.commands.play import dream
from models import checkpoint
from models.checkpoint import (
    check_out,
    find_world,
    from_json,
    load_starts,
    load_world,
    read_card,
    save_world,
    update_facts,
)
from models.dynamics.maskgit import MaskGITFamily, MaskGITWorld
from models.world import ActionTable, WorldSpec
from training.presets import Experiment, preset

TABLE = ActionTable(
    real_actions=("NOOP", "UP"),
    counts=(((1, 2), (3, 4), (5, 6)),),
    best_lag=0,
    mutual_information=(0.25,),
    usage=(0.5, 0.3, 0.2),
    moves=({"player": (0.0, 1.5)}, {}, {"player": (-2.0, 0.0)}),
    labels=("DOWN", "STILL", "UP"),
    agreement=(0.9, 1.0, 0.8),
)
SPEC = replace(block_play.SPEC, actions=("a", "b", "c"), table=TABLE)
CLIPS = list(block_play.play(3, 4)[0].frames)


def made(seed: int = 0) -> MaskGITWorld:
    torch.manual_seed(seed)
    tiny = MaskGITFamily.sized("tiny")
    tiny = replace(
        tiny,
        tokenizer=replace(tiny.tokenizer, patch=block_play.PATCH, codes=16),
        latent_actions=replace(tiny.latent_actions, codes=3),
    )
    world = tiny.build(SPEC)
    world.tokenizer.fit(iter(CLIPS))
    world.link()
    return world.eval()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_world(made(), tmp_path / "worlds" / "blocks", {"steps": 7}, CLIPS, "# Blocks\n")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_was_saved_comes_back(folder: Path) -> None:
    world = load_world(folder)
    assert (world.spec, world.config) == (SPEC, made().config)
    for key, value in made().state_dict().items():
        assert torch.equal(world.state_dict()[key], value), key
    assert not any(parameter.requires_grad for parameter in world.parameters())
    assert all(torch.equal(one, two) for one, two in zip(load_starts(folder), CLIPS, strict=True))
    assert (folder / "README.md").read_text() == "# Blocks\n"
    assert read_card(folder)["facts"] == {"steps": 7}
    names = ["README.md", "config.json", "model.safetensors", "starts/00.png", "starts/01.png", "starts/02.png"]
    assert sorted(contents(folder)) == names
    modes = {path.stat().st_mode & 0o777 for path in folder.rglob("*") if path.is_file()}
    assert len(modes) == 1  # who may read the card may read the weights


def test_saved_twice_is_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    again = save_world(made(), tmp_path / "again", {"steps": 7}, CLIPS, "# Blocks\n")
    assert contents(again) == contents(folder)


def test_a_newer_world_replaces_an_older_one_whole(folder: Path) -> None:
    save_world(made(seed=1), folder, {}, CLIPS[:1], "# newer")
    assert len(load_starts(folder)) == 1
    key = "dynamics.place"
    assert torch.equal(load_world(folder).state_dict()[key], made(seed=1).state_dict()[key])
    assert [path.name for path in folder.parent.iterdir()] == ["blocks"]


def files_of_a_player(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "novel.txt").write_text("Chapter one.")
    return folder


@pytest.mark.parametrize("kind", ["files", "folder of worlds", "file"])
def test_only_a_world_is_replaced(folder: Path, tmp_path: Path, kind: str) -> None:
    places = {"files": tmp_path / "home", "folder of worlds": folder.parent, "file": folder / "README.md"}
    files_of_a_player(tmp_path / "home")
    before = contents(tmp_path)
    for refuse in (lambda: check_out(places[kind]), lambda: save_world(made(), places[kind], {}, CLIPS, "# newer")):
        with pytest.raises(ValueError, match=r" is there and is no world; choose another --out") as caught:
            refuse()
        assert one_line(caught.value)
    assert contents(tmp_path) == before


def test_an_empty_folder_may_become_a_world(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for place in (tmp_path / "empty", tmp_path / "nowhere" / "yet", folder):
        check_out(place)
    load_world(save_world(made(), tmp_path / "empty", {}, CLIPS, ""))


def _refuses(*arguments: object, **options: object) -> None:
    raise OSError(28, "No space left on device")


def _breaks_second(times: list[int]) -> Callable[..., None]:
    """os.replace that works once: the old world is aside when the new one cannot take its place."""
    real = os.replace

    def replace_once(one: Path, two: Path) -> None:
        times.append(1)
        if len(times) == 2:
            raise OSError(28, "No space left on device")
        real(one, two)

    return replace_once


@pytest.mark.parametrize("fault", ["weights", "fsync", "first rename", "second rename", "picture"])
def test_an_interrupted_save_leaves_the_old_world_whole(
    folder: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    before = contents(folder)
    place, value = {
        "weights": (checkpoint, _refuses),
        "fsync": (os, _refuses),
        "first rename": (os, _refuses),
        "second rename": (os, _breaks_second([])),
        "picture": (checkpoint, _refuses),
    }[fault]
    name = {"weights": "save", "fsync": "fsync", "picture": "_write_clip"}.get(fault, "replace")
    with monkeypatch.context() as disk:
        disk.setattr(place, name, value)
        with pytest.raises(OSError, match=r"world could not be written to .*blocks: No space left on device"):
            save_world(made(seed=1), folder, {}, CLIPS, "# newer")
    assert contents(folder) == before
    assert [path.name for path in folder.parent.iterdir()] == ["blocks"]
    load_world(folder)


def test_a_disk_that_takes_no_more_is_one_line(folder: Path) -> None:
    """The real thing: the system refuses the bytes, deep in the library that writes the weights."""
    before, limits = contents(folder), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(OSError, match=r"world could not be written to .*blocks: ") as caught:
            save_world(made(seed=1), folder, {}, CLIPS, "# newer")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert one_line(caught.value)
    assert contents(folder) == before


def one_line(error: Exception) -> bool:
    """Whether the program would print one line, and not the name of a Python error."""
    text, status = explain(error)
    return "\n" not in str(error) and status != 0 and type(error).__name__ not in text


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_wrong_with_a_world_is_one_line(folder: Path, fault: str) -> None:
    harm, message = FAULTS[fault]
    harm(folder)
    with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
        _open(folder)
    assert one_line(caught.value)


def _open(folder: Path) -> None:
    load_world(folder)
    load_starts(folder)


@pytest.mark.parametrize("fault", ["no weights", "weights cut", "another format", "start cut"])
def test_the_program_refuses_such_a_world(folder: Path, tmp_path: Path, fault: str) -> None:
    FAULTS[fault][0](folder)
    out = tmp_path / "dream.npz"
    found = CliRunner().invoke(dream, [str(folder), "--frames", "2", "--out", str(out)])
    assert isinstance(found.exception, ValueError | FileNotFoundError)
    assert one_line(found.exception)
    assert not out.exists()


def leaves(data: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in items:
        yield from leaves(value, (*path, key))


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_no_value_in_a_config_gets_past_as_a_python_error(folder: Path) -> None:
    """Every value of config.json, replaced by nonsense: the world opens, or one line says why not."""
    whole = json.loads((folder / "config.json").read_text())
    refused: list[str] = []
    for path in leaves(whole):
        for nonsense in (None, "x", -1, 0, 1.5, [], {}):
            card: Any = copy.deepcopy(whole)
            inner = card
            for key in path[:-1]:
                inner = inner[key]
            if path:
                inner[path[-1]] = nonsense
            (folder / "config.json").write_text(json.dumps(card if path else nonsense))
            try:
                _open(folder)
            except (ValueError, FileNotFoundError) as error:
                refused.append(str(error))
    assert len(refused) > 300
    assert [text for text in refused if "\n" in text] == []


def test_a_missing_world_names_those_that_are_there(folder: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no world at .*pong: config.json is missing; worlds .*: blocks"):
        load_world(folder.parent / "pong")
    with pytest.raises(FileNotFoundError, match="no world called 'pong'; there are: blocks"):
        find_world("pong", (folder.parent,))
    with pytest.raises(FileNotFoundError, match="no world called 'pong'; there are none yet; make one"):
        find_world("pong", (folder / "starts",))
    assert find_world("blocks", (folder.parent,)) == folder
    assert find_world(str(folder), ()) == folder


def test_drafts_are_not_worlds(folder: Path) -> None:
    folder.rename(folder.parent / ".blocks.draft-1")
    assert checkpoint.find_worlds((folder.parent,)) == {}


def test_facts_are_added_and_kept(folder: Path) -> None:
    update_facts(folder, {"scorecard": {"psnr": 40.0}})
    assert read_card(folder)["facts"] == {"steps": 7, "scorecard": {"psnr": 40.0}}
    assert load_world(folder).spec == SPEC


@pytest.mark.parametrize("value", [made().config, SPEC, preset("maskgit", "pong", 104, 80), TABLE])
def test_configs_go_through_json_unchanged(value: object) -> None:
    assert from_json(type(value), json.loads(json.dumps(asdict(value)))) == value


def test_json_is_checked_against_the_fields() -> None:
    good = asdict(preset("maskgit", "pong", 104, 80))
    with pytest.raises(ValueError, match=r"config.family.dynamics has no 'speed'; it knows: width, heads"):
        from_json(Experiment, {**good, "family": {"dynamics": {"speed": 1}}})
    with pytest.raises(ValueError, match=r"config.family must be a table of values, found list"):
        from_json(Experiment, {**good, "family": []})
    with pytest.raises(ValueError, match=r"config.lam.steps must be int, found '2.5'"):
        from_json(Experiment, {**good, "lam": {"steps": 2.5}})
    with pytest.raises(ValueError, match="spec is incomplete"):
        from_json(WorldSpec, {"game": "pong"}, "spec")
