"""Every language says everything the nodes show, and nothing that they no longer have."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LOCALES = ROOT / "locales"
LANGUAGES = ("en", "zh", "ja", "ko", "fr", "de", "es", "ru")
CONTRACT = json.loads((ROOT / "tests" / "contract.json").read_text(encoding="utf-8"))

#: vue-i18n reads these as links, interpolation and plurals, and shows something else.
SPECIAL = re.compile(r"[@{}|]")

#: Letters that a text of the language cannot do without.
SCRIPTS = {
    "zh": r"[\u4e00-\u9fff]",
    "ja": r"[\u3040-\u30ff\u4e00-\u9fff]",
    "ko": r"[\uac00-\ud7a3]",
    "ru": r"[\u0400-\u04ff]",
}


def read(language: str, name: str) -> dict:
    """One file of a language."""
    return json.loads((LOCALES / language / f"{name}.json").read_text(encoding="utf-8"))


def flat(tree: dict, path: str = "") -> dict[str, str]:
    """Dotted keys and their texts."""
    texts = {}
    for key, value in tree.items():
        texts |= flat(value, f"{path}{key}.") if isinstance(value, dict) else {path + key: value}
    return texts


def expected() -> set[str]:
    """Every key that the agreed sockets and widgets need."""
    keys = set()
    for node, entry in CONTRACT.items():
        keys |= {f"{node}.display_name", f"{node}.description"}
        names = [name for kind in ("required", "optional") for name in entry["input"].get(kind, {})]
        slots = [f"inputs.{name}" for name in names]
        slots += [f"outputs.{index}" for index in range(len(entry["output"]))]
        keys |= {f"{node}.{slot}.{part}" for slot in slots for part in ("name", "tooltip")}
    return keys


def test_the_languages_are_these_and_no_others():
    assert {path.name for path in LOCALES.iterdir() if path.is_dir()} == set(LANGUAGES)


@pytest.mark.parametrize("language", LANGUAGES)
def test_nothing_is_missing_or_stale(language):
    seen = set(flat(read(language, "nodeDefs")))
    assert {"missing": sorted(expected() - seen), "stale": sorted(seen - expected())} == {
        "missing": [],
        "stale": [],
    }


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_has_the_files_and_general_texts_of_english(language):
    names = {path.name for path in (LOCALES / language).iterdir()}
    assert names == {path.name for path in (LOCALES / "en").iterdir()}
    for name in sorted(names - {"nodeDefs.json"}):
        stem = name.removesuffix(".json")
        assert flat(read(language, stem)).keys() == flat(read("en", stem)).keys()


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_category_and_the_wire_type_have_names(language):
    texts = flat(read(language, "main"))
    categories = {part for entry in CONTRACT.values() for part in entry["category"].split("/")[1:]}
    assert {f"nodeCategories.{name}" for name in categories} <= texts.keys()
    assert texts["dataTypes.KINTSUGI_FACES"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_texts_are_filled_and_shown_as_written(language):
    for name in ("nodeDefs", "main"):
        for key, text in flat(read(language, name)).items():
            assert text and text == text.strip(), key
            assert not SPECIAL.search(text), (key, text)


@pytest.mark.parametrize("language", [name for name in LANGUAGES if name != "en"])
def test_explanations_are_translated(language):
    texts, english = flat(read(language, "nodeDefs")), flat(read("en", "nodeDefs"))
    explained = [key for key in texts if key.endswith((".tooltip", ".description"))]
    assert [key for key in explained if texts[key] == english[key]] == []
    if script := SCRIPTS.get(language):
        assert [key for key in explained if not re.search(script, texts[key])] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_values_of_menus_are_named_as_the_menu_shows_them(language):
    """ComfyUI shows a menu's values untranslated, so texts must not translate them either."""
    english, texts = flat(read("en", "nodeDefs")), flat(read(language, "nodeDefs"))
    for node, entry in CONTRACT.items():
        for section in ("required", "optional"):
            for name, (_, *rest) in entry["input"].get(section, {}).items():
                key = f"{node}.inputs.{name}.tooltip"
                values = rest[0].get("options") if rest else None
                for value in values if isinstance(values, list) else []:
                    if re.match(rf".*\b{re.escape(str(value))}:", english[key]):
                        assert str(value) in texts[key], (key, value)


#: How a language quotes the name of a node.
QUOTED = {
    "de": "„([^“]+)“",
    "fr": "« ([^»]+) »",
    "es": "«([^»]+)»",
    "ru": "«([^»]+)»",
    "zh": "“([^”]+)”",
    "ja": "「([^」]+)」",
    "ko": "‘([^’]+)’",
}


@pytest.mark.parametrize("language", QUOTED)
def test_nodes_are_called_by_the_names_they_carry(language):
    entries = read(language, "nodeDefs")
    names = {entry["display_name"] for entry in entries.values()}
    assert len(names) == len(entries)
    for key, text in flat(entries).items():
        for name in re.findall(QUOTED[language], text):
            assert name.strip("\u00a0 ") in names, (key, name)
