"""The example workflows fit the nodes' agreed sockets and widgets; no ComfyUI needed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from workflow import widget_names

ROOT = Path(__file__).resolve().parent.parent
CONTRACT = json.loads((ROOT / "tests" / "contract.json").read_text(encoding="utf-8"))
EXAMPLES = sorted((ROOT / "example_workflows").glob("*.json"))


@pytest.fixture(params=EXAMPLES, ids=lambda path: path.stem)
def workflow(request):
    """One example as the page stores it."""
    return json.loads(request.param.read_text(encoding="utf-8"))


def test_there_are_examples_with_thumbnails():
    assert EXAMPLES
    assert [path.name for path in EXAMPLES if not path.with_suffix(".jpg").is_file()] == []


def test_our_nodes_store_what_their_widgets_expect(workflow):
    ours = [node for node in workflow["nodes"] if node["type"].startswith("Kintsugi")]
    assert ours
    for node in ours:
        names = widget_names(CONTRACT[node["type"]])
        assert len(node["widgets_values"]) == len(names), (node["type"], names)
        assert node["properties"]["cnr_id"] == "kintsugi-faces"
        assert node["properties"]["ver"]


def test_links_join_sockets_of_one_type(workflow):
    nodes = {node["id"]: node for node in workflow["nodes"]}
    for number, source, output, target, socket, kind in workflow["links"]:
        out, into = nodes[source]["outputs"][output], nodes[target]["inputs"][socket]
        assert number in out["links"] and into["link"] == number
        assert out["type"] == into["type"] == kind
        for node, name, direction in ((source, out["name"], 0), (target, into["name"], 1)):
            known = CONTRACT.get(nodes[node]["type"])
            if known:
                inputs = {key for section in known["input"].values() for key in section}
                assert name in (inputs if direction else known["output_name"])
