"""The help page of every node names what the node shows, and what it links to exists."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = ROOT / "js" / "docs"
CONTRACT = json.loads((ROOT / "tests" / "contract.json").read_text(encoding="utf-8"))
ENGLISH = json.loads((ROOT / "locales" / "en" / "nodeDefs.json").read_text(encoding="utf-8"))
NAMES = {entry["display_name"] for entry in ENGLISH.values()}


def page(node: str) -> str:
    """The help page of a node."""
    return (PAGES / f"{node}.md").read_text(encoding="utf-8")


def rows(node: str) -> str:
    """The first cells of the tables on a node's page."""
    return "\n".join(re.findall(r"^\| ([^|]+) \|", page(node), re.MULTILINE))


def test_there_is_a_page_for_every_node_and_no_other():
    assert {path.stem for path in PAGES.glob("*.md")} == CONTRACT.keys()


@pytest.mark.parametrize("node", CONTRACT)
def test_the_title_is_what_the_node_is_called(node):
    assert page(node).splitlines()[0] == f"# {ENGLISH[node]['display_name']}"


@pytest.mark.parametrize("node", CONTRACT)
def test_every_input_and_output_has_a_row(node):
    named = rows(node)
    texts = [*ENGLISH[node]["inputs"].values(), *ENGLISH[node]["outputs"].values()]
    missing = [text["name"] for text in texts if not re.search(rf"\b{text['name']}\b", named)]
    assert missing == []


@pytest.mark.parametrize("node", CONTRACT)
def test_a_page_shows_a_picture_says_what_goes_wrong_and_names_the_licences(node):
    assert re.search(r"!\[[^\]]{20,}\]\(\w+\.jpg\)", page(node)), "a picture with words for it"
    headings = re.findall(r"^## (.+)$", page(node), re.MULTILINE)
    assert {"If it goes wrong", "Licences"} <= set(headings)


@pytest.mark.parametrize("node", CONTRACT)
def test_linked_files_exist_and_are_quick_to_show(node):
    for link in re.findall(r"\]\((?!https?:)([^)#]+)\)", page(node)):
        assert (PAGES / link).stat().st_size < 150_000


@pytest.mark.parametrize("node", CONTRACT)
def test_other_nodes_are_called_by_their_names(node):
    """Bold pairs of capitalised words are nodes."""
    bold = re.findall(r"\*\*([A-Z]\w+ [^*]+?)\*\*", page(node))
    called = {" ".join(name.split()) for name in bold}
    called = {name for name in called if name.endswith(("Faces", "Damage", "Back", "Identity"))}
    assert called <= NAMES
