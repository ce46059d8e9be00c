"""How people find the pack: search words, the registry's card, what the registry is sent."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent

tomllib = pytest.importorskip("tomllib", reason="tomllib is part of Python since 3.11")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
COMFY = PROJECT["tool"]["comfy"]


def schemas() -> dict[str, dict]:
    """Node id to the literal keywords of its schema; an old ComfyUI drops what it does not know."""
    found = {}
    for path in sorted((ROOT / "nodes").glob("*.py")):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "Schema":
                literal = {}
                for keyword in call.keywords:
                    if keyword.arg in ("node_id", "display_name", "description", "search_aliases"):
                        literal[keyword.arg] = ast.literal_eval(keyword.value)
                found[literal["node_id"]] = literal
    return found


SCHEMAS = schemas()


@pytest.mark.parametrize("node", SCHEMAS)
def test_every_node_can_be_searched_for_by_other_words(node):
    aliases = SCHEMAS[node]["search_aliases"]
    assert len(aliases) >= 4 and "kintsugi" in aliases
    assert len({alias.lower() for alias in aliases}) == len(aliases)
    assert SCHEMAS[node]["display_name"] not in aliases


@pytest.mark.parametrize(
    "words", ["gfpgan", "codeformer", "fix face", "face detailer", "face restore", "find faces"]
)
def test_the_words_people_type_lead_here(words):
    known = {alias.lower() for schema in SCHEMAS.values() for alias in schema["search_aliases"]}
    assert words in known


def shown(url: str) -> Path:
    """The file in this repository that an address on the registry's card shows."""
    repository = PROJECT["project"]["urls"]["Repository"].removeprefix("https://github.com/")
    start = f"https://raw.githubusercontent.com/{repository}/main/"
    assert url.startswith(start)
    return ROOT / url.removeprefix(start)


def test_the_icon_is_a_small_square():
    with Image.open(shown(COMFY["Icon"])) as icon:
        assert icon.width == icon.height <= 400
        assert icon.mode == "RGBA", "its corners are round"


def test_the_banner_has_the_shape_the_registry_asks_for():
    with Image.open(shown(COMFY["Banner"])) as banner:
        assert banner.width * 9 == banner.height * 21


def ignored(path: str) -> bool:
    """Whether the registry's archive leaves a file out."""
    patterns = (ROOT / ".comfyignore").read_text(encoding="utf-8").split()
    return any(
        path.startswith(pattern) if pattern.endswith("/") else Path(path).match(pattern)
        for pattern in patterns
    )


def test_the_archive_holds_what_runs_and_nothing_else():
    tracked = ("tests/conftest.py", "benchmarks/peers.py", "training/restorer.py", "Makefile")
    assert all(ignored(path) for path in tracked)
    needed = ("__init__.py", "pyproject.toml", "requirements.txt", "README.md", "LICENSE")
    folders = ("nodes", "stages", "models", "js", "locales", "example_workflows", "subgraphs")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file()]
    names = {path.relative_to(ROOT).as_posix() for path in files if "__pycache__" not in path.parts}
    kept = {name for name in names if not name.endswith(".svg")}
    assert [name for name in (*needed, *sorted(kept)) if ignored(name)] == []
