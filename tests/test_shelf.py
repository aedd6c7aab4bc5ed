"""The shelf: what a world says of itself before it is opened, in which order, and what is wrong with a broken one."""

from __future__ import annotations

import json
import shutil
import time

import pytest
from test_app_doubles import HEIGHT, WIDTH, card, clips

from app import library, shelf
from app.places import HOUSE
from models import checkpoint


def scorecard(**changes):
    """The figures that the shelf reads, where an evaluation puts them."""

    def share(value):
        return {"value": value, "low": 0.0, "high": 1.0, "n": 9, "clusters": 3}

    own = {"ball_exactly_one": share(0.54), "player_visible": share(0.98), "obeys_move": share(0.94)}
    real = {"ball_exactly_one": share(0.69), "player_visible": share(1.0), "obeys_move": share(0.9998)}
    dreams = {"world": {"all": own}, "real": {"all": real}, "collapse": {"collapsed": 1, "of": 20}}
    return {"format": 1, "game": "block", "dreams": {**dreams, **changes}}


def build(root, name, **changes):
    """A world's folder that the shelf takes for whole."""
    folder = root / name
    (folder / "starts").mkdir(parents=True)
    facts = {"scorecard": scorecard()}
    (folder / "config.json").write_text(json.dumps({**card(), "family": "maskgit", "facts": facts, **changes}))
    (folder / "model.safetensors").write_bytes(bytes(1_500_000))
    for number, clip in enumerate(clips()):
        checkpoint._write_clip(folder / "starts" / f"{number:02d}.png", clip)
    return folder


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Where the player's own worlds are; nothing shipped."""
    monkeypatch.setenv("DREAMCADE_SAVES", str(tmp_path / "saves"))
    monkeypatch.setattr(library, "ASSETS", tmp_path / "assets")
    return tmp_path / "saves" / "worlds"


def test_a_tile_says_what_a_player_asks(own):
    build(own, "block")
    (tile,) = shelf.tiles()
    assert (tile.name, tile.game, tile.family, tile.width, tile.height) == ("block", "block", "maskgit", WIDTH, HEIGHT)
    assert tile.figures == ("one ball 54% (game 69%)", "paddle 98%", "obeys 94%", "1 of 20 collapsed")
    assert tile.score == "one ball 54% (game 69%), paddle 98%, obeys 94%, 1 of 20 collapsed"
    assert tile.facts == f"block, maskgit, {WIDTH} x {HEIGHT} pixels, 1.5 MB"
    assert (tile.folder, tile.problem) == (own / "block", "")


def test_the_shipped_world_has_a_scorecard_for_people():
    tile = shelf.tile("pong", HOUSE / "assets" / "worlds" / "pong")
    assert tile.problem == ""
    assert 5.0 < tile.megabytes < 100.0
    words = [figure.split(" ")[0] for figure in tile.figures]
    assert words[:4] == ["one", "paddle", "opponent", "obeys"]
    assert tile.figures[4].endswith("collapsed")


@pytest.mark.parametrize(
    ("score", "figures"),
    [
        (None, ()),
        ("psnr 31", ("psnr 31",)),
        ({"psnr": 31.2345, "ball": {"present": 0.934}}, ("psnr 31.2, ball present 0.934",)),
        ({"dreams": {"world": {"all": {"obeys_move": {"value": None}}}}}, ()),
        ({"dreams": {"world": {"all": {"obeys_move": {"value": float("nan")}}}}}, ()),
        ({"dreams": {"world": {"all": {"obeys_move": {"value": True}, "player_visible": 3}}}}, ()),
        ({"dreams": {"world": [], "collapse": {"collapsed": 2, "of": 3}}}, ("2 of 3 collapsed",)),
        ({"dreams": 7}, ("dreams 7",)),
    ],
)
def test_an_odd_scorecard_is_read_as_far_as_it_goes(score, figures):
    assert shelf.figures(score) == figures


def test_without_a_scorecard_it_says_so(own):
    build(own, "block", facts={})
    assert shelf.tiles()[0].score == "not evaluated yet"


def test_played_last_comes_first_then_names_then_broken_ones(own):
    for name in ("beta", "Alpha", "gamma", "delta", "aaa"):
        build(own, name)
    (own / "aaa" / "config.json").write_text("{")
    for name in ("aaa", "gone", "beta", "gamma", "beta"):
        library.remember(own / name)
    assert library.recent() == ["beta", "gamma", "gone", "aaa"]
    assert [tile.name for tile in shelf.tiles()] == ["beta", "gamma", "Alpha", "delta", "aaa"]
    assert library.pick(None).name == "beta"
    shutil.rmtree(own / "beta")
    assert library.pick(None).name == "gamma"  # the one played before it


def test_what_an_older_version_remembered_still_counts(own):
    build(own, "one")
    build(own, "two")
    (own.parent / library.LAST).write_text("two\n")
    assert library.recent() == ["two"]
    assert library.pick(None).name == "two"
    library.remember(own / "one")
    assert library.recent() == ["one", "two"]


def test_few_names_are_remembered_and_junk_is_none(own):
    own.mkdir(parents=True)
    for number in range(30):
        library.remember(own / f"world{number}")
    assert library.recent() == [f"world{number}" for number in range(29, 29 - library.REMEMBERED, -1)]
    (own.parent / library.LAST).write_bytes(b"\xff\xfe\x00")
    assert library.recent() == []


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"format": 2}, "config.json has world format 2, this version reads 1"),
        ({"family": "abacus"}, "unsupported family 'abacus'; supported: "),
        ({"spec": None}, "spec must be a table of values, found NoneType"),
        ({"spec": {"game": "x", "height": -1, "width": 8}}, "height of a world must be 1 or more, found -1"),
        ({"spec": {"game": "x", "height": "tall", "width": 8}}, "spec.height must be int, found 'tall'"),
    ],
)
def test_a_card_that_is_wrong_is_a_tile_with_a_problem(own, changes, problem):
    folder = build(own, "odd", **changes)
    (tile,) = shelf.tiles()
    assert (tile.name, tile.folder) == ("odd", folder)
    assert tile.problem.startswith(problem)


def test_damage_to_files_is_named_without_the_long_path(own):
    folder = build(own, "odd")
    (folder / "model.safetensors").unlink()
    assert shelf.tile("odd", folder).problem.startswith("no weights: model.safetensors is missing")
    (folder / "config.json").write_bytes(b"\xff\xff")
    assert shelf.tile("odd", folder).problem.startswith("config.json is damaged")
    (folder / "config.json").write_text("[" * 100_000)
    assert shelf.tile("odd", folder).problem.startswith("config.json is damaged")
    (folder / "config.json").unlink()
    assert shelf.tile("odd", folder).problem.startswith("no world at")


def test_names_from_files_can_be_drawn(own):
    build(own, "odd", spec={"game": "po\0ng\n" + "x" * 200, "height": 48, "width": 40})
    tile = shelf.tiles()[0]
    assert tile.problem == ""
    assert tile.game.startswith("po?ng?xxx")
    assert len(tile.game) == shelf.LONGEST_WORD
    assert shelf.printable("caf\udce9") == "caf?"


def test_ten_worlds_are_listed_in_a_moment(own):
    shipped = HOUSE / "assets" / "worlds" / "pong"
    for number in range(10):
        folder = own / f"pong{number}"
        shutil.copytree(shipped, folder, ignore=shutil.ignore_patterns("*.safetensors"))
        (folder / "model.safetensors").write_bytes(b"")
    times = []
    for _ in range(3):
        began = time.perf_counter()
        found = shelf.tiles()
        times.append(time.perf_counter() - began)
    assert len(found) == 10
    assert all(tile.problem == "" and len(tile.figures) > 3 for tile in found)
    assert min(times) < 0.1
