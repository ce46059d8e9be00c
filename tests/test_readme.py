"""The README: what it links to exists, and its table of models is the zoo's."""

from __future__ import annotations

import re
from pathlib import Path

from kintsugi import cli
from kintsugi.models import store

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_linked_files_exist():
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", README)
    assert links and [link for link in links if not (ROOT / link).exists()] == []


def test_the_picture_is_small_enough_to_be_shown():
    assert (ROOT / "js/docs/before_after.jpg").stat().st_size < 400_000


def test_the_table_of_models_is_the_zoos():
    assert store.table().strip() in README, "paste what `kintsugi models --table` prints"


def test_options_named_in_the_readme_exist():
    known = cli.photo_parser().format_help() + "--help --download --table"
    for option in re.findall(r"(?<![\w-])--[a-z][a-z-]*", README):
        assert option in known, option
