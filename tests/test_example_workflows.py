"""The example workflows and blueprints fit the nodes' agreed sockets and widgets; no ComfyUI."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path

import pytest
from PIL import Image
from workflow import NOTES, opened, widget_names

ROOT = Path(__file__).resolve().parent.parent
CONTRACT = json.loads((ROOT / "tests" / "contract.json").read_text(encoding="utf-8"))
EXAMPLES = sorted((ROOT / "example_workflows").glob("*.json"))
BLUEPRINTS = sorted((ROOT / "subgraphs").glob("*.json"))
TITLE = 30


def read(path: Path) -> dict:
    """A workflow as the page stores it."""
    return json.loads(path.read_text(encoding="utf-8"))


def graphs(workflow: dict) -> list[dict]:
    """The workflow itself and the inside of its subgraphs."""
    return [workflow, *workflow.get("definitions", {}).get("subgraphs", [])]


def ours(workflow: dict) -> list[dict]:
    """Our nodes in it, wherever they are."""
    nodes = [node for graph in graphs(workflow) for node in graph["nodes"]]
    return [node for node in nodes if node["type"].startswith("Kintsugi")]


@pytest.fixture(params=[*EXAMPLES, *BLUEPRINTS], ids=lambda path: path.stem)
def workflow(request):
    """One example or blueprint."""
    return read(request.param)


@pytest.fixture(params=EXAMPLES, ids=lambda path: path.stem)
def example(request):
    """One example, which people open and look at."""
    return read(request.param)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_has_a_thumbnail_that_is_quick_to_show(path):
    thumbnail = path.with_suffix(".jpg")
    assert thumbnail.stat().st_size < 120_000
    with Image.open(thumbnail) as picture:
        assert picture.format == "JPEG"
        assert 480 <= picture.width <= 1024 and picture.height >= 240
        picture.load()


def test_no_thumbnail_is_left_over():
    pictures = {path.stem for path in (ROOT / "example_workflows").glob("*.jpg")}
    assert pictures == {path.stem for path in EXAMPLES}


def test_what_was_done_to_faces_reaches_the_blend(workflow):
    """Else neither its report nor the saved picture could tell of it."""
    for graph in graphs(workflow):
        types = {node["id"]: node["type"] for node in graph["nodes"]}
        links = [link.values() if isinstance(link, dict) else link for link in graph["links"]]
        origins = {number: types.get(origin) for number, origin, *_ in links}
        for node in graph["nodes"]:
            if node["type"] == "KintsugiBlend":
                (faces,) = (slot["link"] for slot in node["inputs"] if slot["name"] == "faces")
                assert origins[faces] in ("KintsugiRestore", "KintsugiIdentityGuard")


def test_our_nodes_store_what_their_widgets_expect(workflow):
    nodes = ours(workflow)
    assert nodes
    for node in nodes:
        names = widget_names(CONTRACT[node["type"]])
        assert len(node["widgets_values"]) == len(names), (node["type"], names)
        assert node["properties"]["cnr_id"] == "kintsugi-faces"
        assert node["properties"]["ver"]


def test_our_widgets_hold_values_that_they_allow(workflow):
    for node in ours(workflow):
        info = CONTRACT[node["type"]]
        sections = [info["input"].get(name, {}) for name in ("required", "optional")]
        entries = {name: entry for section in sections for name, entry in section.items()}
        names = widget_names(info)
        for name, value in zip(names, node["widgets_values"], strict=True):
            if name is None:
                continue
            kind, options = entries[name]
            if kind in ("INT", "FLOAT"):
                low, high = options.get("min", value), options.get("max", value)
                assert low <= value <= high, (node["type"], name, value)
            elif isinstance(options.get("options"), list):
                assert value in options["options"], (node["type"], name, value)


def test_our_sockets_are_those_of_the_contract(workflow):
    for node in ours(workflow):
        known = CONTRACT[node["type"]]
        sections = [known["input"].get(name, {}) for name in ("required", "optional")]
        types = {name: entry[0] for section in sections for name, entry in section.items()}
        for socket in node["inputs"]:
            assert types[socket["name"]] == socket["type"], (node["type"], socket)
        named = [(socket["name"], socket["type"]) for socket in node["outputs"]]
        assert named == list(zip(known["output_name"], known["output"], strict=True))


def test_links_join_sockets_of_one_type(workflow):
    for graph in graphs(workflow):
        nodes = {node["id"]: node for node in graph["nodes"]}
        for link in graph["links"]:
            if isinstance(link, dict):
                keys = ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")
                number, source, output, target, socket, kind = (link[key] for key in keys)
            else:
                number, source, output, target, socket, kind = link
            if source in nodes:
                out = nodes[source]["outputs"][output]
                assert number in out["links"] and out["type"] == kind
            else:
                out = graph["inputs"][output]
                assert number in out["linkIds"] and out["type"] == kind
            if target in nodes:
                into = nodes[target]["inputs"][socket]
                assert into["link"] == number and into["type"] in (kind, "*")
            else:
                into = graph["outputs"][socket]
                assert number in into["linkIds"] and into["type"] == kind


def test_an_example_explains_itself_in_a_note(example):
    notes = [node for node in example["nodes"] if node["type"] in NOTES]
    assert notes
    assert all(len(note["widgets_values"][0]) > 100 for note in notes)


def bounds(node: dict) -> tuple[float, float, float, float]:
    """x0, y0, x1, y1 of a node with its title."""
    (x, y), (width, height) = node["pos"], node["size"]
    return x, y - TITLE, x + width, y + height


def test_no_node_covers_another(example):
    for first, second in combinations(example["nodes"], 2):
        a, b = bounds(first), bounds(second)
        apart = a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]
        assert apart, (first["type"], first["pos"], second["type"], second["pos"])


def test_every_node_lies_in_one_group_and_no_two_groups_meet(example):
    boxes = []
    for group in example["groups"]:
        x, y, width, height = group["bounding"]
        boxes.append((x, y, x + width, y + height))
    for node in example["nodes"]:
        x0, y0, x1, y1 = bounds(node)
        inside = [box[0] <= x0 and box[1] <= y0 and x1 <= box[2] and y1 <= box[3] for box in boxes]
        assert sum(inside) == 1, (node["type"], node["pos"])
    for a, b in combinations(boxes, 2):
        assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]


def test_everything_that_runs_is_wired(workflow):
    for scope, node in opened(workflow).running():
        if node["type"] in CONTRACT:
            required = CONTRACT[node["type"]]["input"]["required"]
            for socket in node["inputs"]:
                if socket["name"] in required:
                    given = socket["link"] is not None and scope.link(socket["link"])
                    assert given, (node["type"], socket["name"])


def test_ids_are_unique():
    ids = [read(path)["id"] for path in [*EXAMPLES, *BLUEPRINTS]]
    assert len(set(ids)) == len(ids)
