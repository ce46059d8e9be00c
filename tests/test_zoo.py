"""The table of models: complete, consistent, honest about licences."""

from __future__ import annotations

import hashlib
import inspect
import re
import subprocess
import sys
import typing
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from checkpoints import retinaface, saved

from kintsugi.models import loader, zoo
from kintsugi.models.card import ModelCard
from kintsugi.models.library import WEIGHTS, Library
from kintsugi.models.zoo import CARDS, HubError, WeightsError

every_card = pytest.mark.parametrize("card", CARDS.values(), ids=CARDS)


@every_card
def test_a_card_is_complete(card):
    assert CARDS[card.name] is card
    assert re.fullmatch(r"[a-z0-9.+-]+", card.name)
    assert card.title and card.code_license and card.weights_license
    assert card.reason.endswith(".") and "\n" not in card.reason
    assert card.builtin or card.page.startswith("https://")
    assert 0 < card.memory < 10_000
    assert card.dtypes[0] == "float32"
    assert set(card.dtypes) <= {"float32", "bfloat16", "float16"}


@every_card
def test_a_card_pins_what_it_fetches(card):
    for source in card.sources:
        assert re.fullmatch(r"[0-9a-f]{40}", source.revision)
        assert re.fullmatch(r"[\w.-]+/[\w.-]+", source.repo)
        assert not source.file.startswith("/") and ".." not in source.file
    assert len(set(card.sources)) == len(card.sources)
    if card.sha256 is not None:
        assert re.fullmatch(r"[0-9a-f]{64}", card.sha256)
    assert card.size is None or card.size > 1000
    if len(card.sources) > 1:
        assert card.sha256, "a second source must be held to the first one's bytes"


@every_card
def test_a_card_names_a_network_that_is_there(card):
    if card.architecture == "onnx":
        assert card.file.endswith(".onnx")
    elif not card.builtin:
        assert card.architecture in {known.name for known in loader.ARCHITECTURES}


@every_card
def test_a_card_says_how_its_crop_is_cut(card):
    assert (card.template is None) == (card.crop is None) == (card.kind == "detector")


@pytest.mark.parametrize("name", [n for n, card in CARDS.items() if card.kind == "restorer"])
def test_a_control_of_a_restorer_is_an_argument_of_its_network(name):
    card = CARDS[name]
    known = {architecture.name: architecture for architecture in loader.ARCHITECTURES}
    network = typing.get_type_hints(known[card.architecture].construct)["return"]
    arguments = set(inspect.signature(network.forward).parameters)
    spelled = {"seed": "noise"}  # stages draw the noise, networks take it
    for control in card.controls:
        assert spelled.get(control, control) in arguments
    assert ("fidelity" in arguments) == ("fidelity" in card.controls)


def test_file_names_are_unique_and_lead_nowhere():
    names = Counter(name.casefold() for card in CARDS.values() for name in card.names)
    assert max(names.values()) == 1, names.most_common(3)
    assert not any("/" in name or "\\" in name or name.startswith(".") for name in names)


def test_licences_are_read_strictly():
    assert CARDS["codeformer"].commercial == "no"
    assert CARDS["gfpgan-1.4"].commercial == "unclear"
    assert CARDS["sface"].commercial == "yes"
    assert zoo.allowed(CARDS["sface"], commercial_only=True)
    assert not zoo.allowed(CARDS["gfpgan-1.4"], commercial_only=True)
    assert not zoo.allowed(CARDS["codeformer"], commercial_only=True)
    assert zoo.allowed(CARDS["codeformer"])


def test_what_is_ours_is_free_to_use():
    ours = [card for card in CARDS.values() if card.builtin]
    assert ours and all(card.commercial == "yes" and not card.sources for card in ours)


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "wizard"},
        {"pixels": "sRGB"},
        {"template": "mona lisa"},
        {"folder": "checkpoints"},
        {"commercial": "maybe"},
        {"controls": frozenset({"magic"})},
        {"controls": frozenset({"fidelity"}), "fidelity": ""},
        {"file": "../weights.pth"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_wrong_card_does_not_get_into_the_table(change):
    with pytest.raises(ValueError, match="gfpgan-1.4"):
        replace(CARDS["gfpgan-1.4"], **change)


@pytest.mark.parametrize("change", [{"revision": "main"}, {"repo_type": "bucket"}])
def test_a_source_without_a_commit_is_refused(change):
    with pytest.raises(ValueError, match=next(iter(change.values()))):
        replace(CARDS["sface"].sources[0], **change)


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(KeyError, match="'gfpgan'.*gfpgan-1.4"):
        zoo.load("gfpgan")


@pytest.fixture
def library(tmp_path):
    return Library({name: [tmp_path / name] for name in ("facerestore_models", "facedetection")})


@pytest.fixture
def table(monkeypatch):
    """The zoo with RetinaFace's card for a checkpoint made of numbers."""
    body = saved(retinaface())
    facts = {"sha256": hashlib.sha256(body).hexdigest(), "size": len(body)}
    changed = replace(CARDS["retinaface-mobilenet0.25"], **facts)
    monkeypatch.setitem(CARDS, changed.name, changed)
    return changed, body


def place(library: Library, card: ModelCard, body: bytes) -> Path:
    path = library.destination(card) / card.file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(body)
    return path


def test_a_name_becomes_a_network(library, table):
    card, body = table
    place(library, card, body)
    network = zoo.load(card.name, library=library)
    assert type(network).__name__ == "RetinaFace" and not network.training


def test_a_file_of_another_network_is_refused_by_name(library, table):
    card, body = table
    path = place(library, CARDS["hifacegan"], body)
    with pytest.raises(WeightsError, match="is a retinaface file, HiFaceGAN expected") as caught:
        zoo.load("hifacegan", library=library)
    assert str(path) in str(caught.value) and card.page not in str(caught.value)


def test_a_file_that_fits_no_network_names_path_and_key(library):
    state = retinaface()
    del state["module.ssh1.conv3X3.0.weight"]
    path = place(library, CARDS["yunet"], saved(state))
    with pytest.raises(WeightsError, match="is a retinaface file"):
        zoo.load("yunet", library=library)
    path.write_bytes(saved({"encoder.weight": state["module.BboxHead.0.conv1x1.weight"]}))
    with pytest.raises(WeightsError, match="encoder.weight.*tried") as caught:
        zoo.load("yunet", library=library)
    assert str(path) in str(caught.value)


def test_an_onnx_model_says_what_runs_it(tmp_path):
    library = Library({"kintsugi": [tmp_path]})
    card = CARDS["sface"]
    (tmp_path / card.file).write_bytes(bytes(8))
    with pytest.raises(HubError, match="8 bytes"):
        zoo.load("sface", library=library)
    with open(tmp_path / card.file, "wb") as file:
        file.truncate(card.size)
    with pytest.raises(WeightsError, match="onnxruntime"):
        zoo.load("sface", library=library)


def test_available_is_what_lies_on_disk(library, table):
    card, body = table
    assert not any(found.folder for found in zoo.available(library=library))
    place(library, card, body)
    assert card in zoo.available("detector", library)
    assert card not in zoo.available("restorer", library)
    place(library, CARDS["gfpgan-1.4"], b"unfinished")
    assert CARDS["gfpgan-1.4"] not in zoo.available("restorer", library)


def test_auto_takes_the_best_on_disk_and_fetches_nothing(library, monkeypatch):
    def on_disk(*names):
        found = [CARDS[name] for name in names]
        monkeypatch.setattr(zoo, "available", lambda *_, **__: found)

    on_disk("kintsugi-restorer", "gfpgan-1.4", "restoreformer++")
    assert zoo.best_restorer(library).name == "restoreformer++"
    assert zoo.best_restorer(library, commercial_only=True).name == "kintsugi-restorer"
    on_disk()
    with pytest.raises(HubError, match="no restorer is on disk"):
        zoo.best_restorer(library)


def test_auto_knows_every_restorer():
    restorers = {name for name, card in CARDS.items() if card.kind == "restorer"}
    assert set(zoo.RESTORERS_BY_PREFERENCE) == restorers


def test_importing_the_zoo_touches_neither_network_nor_disk():
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import conftest\n"
        "import socket, hashlib\n"
        "def no(*a, **k): raise SystemExit('the network was touched')\n"
        "socket.socket.connect = socket.getaddrinfo = no\n"
        "import kintsugi.models.zoo\n"
        "assert 'huggingface_hub' not in sys.modules\n"
    )
    tests = str(Path(__file__).parent)
    done = subprocess.run(
        [sys.executable, "-c", code, tests], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", [n for n, card in CARDS.items() if card.builtin])
def test_a_built_in_model_loads(name):
    if not (WEIGHTS / CARDS[name].file).is_file():
        pytest.skip(f"models/weights/{CARDS[name].file} is not trained yet")
    network = zoo.load(name)
    assert sum(parameter.numel() for parameter in network.parameters()) > 1000
