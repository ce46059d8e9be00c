"""What the page finds beside the nodes: languages and help, as the server hands them out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
LANGUAGES = sorted(path.name for path in (ROOT / "locales").iterdir() if path.is_dir())


@pytest.fixture(scope="module")
def translations(server):
    """Everything the server serves of every language, ours and others'."""
    return server.get("/i18n")


@pytest.fixture(scope="module")
def ours(server):
    """/object_info of our nodes."""
    info = server.get("/object_info")
    return {name: entry for name, entry in info.items() if name.startswith("Kintsugi")}


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_server_serves_every_language(translations, language):
    nodes = json.loads((ROOT / "locales" / language / "nodeDefs.json").read_text(encoding="utf-8"))
    served = translations[language]["nodeDefs"]
    assert {name: served[name] for name in nodes} == nodes


def test_english_says_what_the_nodes_say(translations, ours):
    """The page prefers these texts to the nodes' own, so that a difference would hide a change."""
    english = translations["en"]["nodeDefs"]
    for name, node in ours.items():
        said = english[name]
        assert said["display_name"] == node["display_name"]
        assert said["description"] == node["description"]
        inputs = {**node["input"]["required"], **node["input"].get("optional", {})}
        tooltips = {key: entry[1]["tooltip"] for key, entry in inputs.items()}
        assert {key: text["tooltip"] for key, text in said["inputs"].items()} == tooltips
        outputs = [said["outputs"][str(index)] for index in range(len(node["output"]))]
        assert [text["tooltip"] for text in outputs] == node["output_tooltips"]
        assert [text["name"] for text in outputs] == node["output_name"]
