"""The pack as the server sees it: what it registers, says and promises to saved workflows."""

from __future__ import annotations

import json
import os
import urllib.request
from pathlib import Path

import pytest
from comfy_server import PACK

ROOT = Path(__file__).resolve().parent.parent.parent
CONTRACT = ROOT / "tests" / "contract.json"
NODES = (
    "KintsugiFaceDetect",
    "KintsugiLandmarkAlign",
    "KintsugiDegradationEstimate",
    "KintsugiRestore",
    "KintsugiIdentityGuard",
    "KintsugiBlend",
)

#: What a saved workflow or another node depends on. Menus of models grow with the zoo and are left
#: out; `advanced` is known to newer cores only.
KEPT = ("input", "input_order", "output", "output_is_list", "output_name", "category")


def contract(info: dict) -> dict:
    """The part of a node's /object_info that must not change by accident."""
    kept = json.loads(json.dumps({key: info[key] for key in KEPT}))
    for section in kept["input"].values():
        for name, entry in section.items():
            options = entry[1] if len(entry) > 1 else {}
            options.pop("tooltip", None)
            options.pop("advanced", None)
            if name in ("model", "detector", "landmarks", "embedder"):
                options["options"] = "models"
    return kept


@pytest.fixture(scope="module")
def info(server):
    """What the server says of every node."""
    return server.get("/object_info")


def test_every_node_is_there(info):
    assert set(NODES) <= info.keys()


def test_the_log_holds_no_complaint_about_us(server):
    lines = server.log().splitlines()
    ours = [line for line in lines if PACK in line or "kintsugi" in line.lower()]
    assert any("seconds" in line for line in ours), "the import is not in the log"
    words = ("warning", "error", "failed", "cannot", "traceback", "unable")
    assert [line for line in ours if any(word in line.lower() for word in words)] == []


@pytest.mark.parametrize("node", NODES)
def test_every_socket_and_widget_explains_itself(info, node):
    entries = {
        name: entry[1] if len(entry) > 1 else {}
        for section in ("required", "optional")
        for name, entry in info[node]["input"].get(section, {}).items()
    }
    assert [name for name, options in entries.items() if not options.get("tooltip")] == []
    assert all(info[node]["output_tooltips"])
    assert info[node]["description"]
    assert info[node]["category"] == "image/face restoration"


@pytest.mark.parametrize("node", NODES)
def test_every_node_has_a_help_page(node):
    page = (ROOT / "js" / "docs" / f"{node}.md").read_text(encoding="utf-8")
    assert page.startswith("# ")


@pytest.mark.parametrize("node", NODES)
def test_the_page_can_fetch_every_help_page(server, node):
    url = f"http://127.0.0.1:{server.port}/extensions/{PACK}/docs/{node}.md"
    with urllib.request.urlopen(url, timeout=60) as answer:
        assert answer.read().startswith(b"# ")


def test_menus_offer_auto_first(info):
    model = info["KintsugiRestore"]["input"]["required"]["model"][1]["options"]
    detector = info["KintsugiFaceDetect"]["input"]["required"]["detector"][1]["options"]
    assert model[0] == detector[0] == "auto"
    assert {"kintsugi-restorer", "gfpgan-1.4", "codeformer"} <= set(model)
    assert "kintsugi-detector" in detector


def test_the_contract_with_saved_workflows(info):
    seen = {node: contract(info[node]) for node in NODES}
    if os.environ.get("UPDATE_CONTRACT"):
        CONTRACT.write_text(json.dumps(seen, indent=1) + "\n", encoding="utf-8")
    agreed = json.loads(CONTRACT.read_text(encoding="utf-8"))
    assert seen == agreed, "if the change is meant, run this test with UPDATE_CONTRACT=1"


def test_model_folders_are_shared_with_other_packs(server):
    assert {"facerestore_models", "facedetection", "kintsugi"} <= set(server.get("/models"))


def test_the_example_is_offered_as_a_template(server):
    assert "restore_photo" in server.get("/workflow_templates").get(PACK, [])
