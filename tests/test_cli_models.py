"""`kintsugi models`, against a Hub on 127.0.0.1 and folders that are made and thrown away."""

from __future__ import annotations

import argparse
import hashlib
from dataclasses import replace

import pytest
from fakehub import FakeHub

from kintsugi.cli_models import add_models_command
from kintsugi.models import hub, store
from kintsugi.models.cards import CARDS

BODY = b"weights " * 4000
NAME = "sface"


@pytest.fixture
def card(monkeypatch, tmp_path):
    """A card of the zoo as if its file were BODY, on a Hub of our own, in empty folders."""
    card = replace(CARDS[NAME], sha256=hashlib.sha256(BODY).hexdigest(), size=len(BODY))
    monkeypatch.setitem(CARDS, NAME, card)
    monkeypatch.setenv("KINTSUGI_MODELS", str(tmp_path))
    monkeypatch.setattr(hub, "SPARE", 1 << 20)
    for key in ("COMFYUI_PATH", "HF_TOKEN", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(key, raising=False)
    with FakeHub() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        server.publish(card.sources[0], BODY)
        yield card


def run(*options: str) -> int:
    parser = argparse.ArgumentParser()
    add_models_command(parser.add_subparsers())
    args = parser.parse_args(["models", *options])
    return args.run(args)


def row(text: str, name: str) -> list[str]:
    return next(line.split() for line in text.splitlines() if line.startswith(name + " "))


def test_the_list_names_every_model_its_licence_and_whether_it_is_there(card, capsys):
    assert run() == 0
    said = capsys.readouterr().out
    assert all(name in said for name in CARDS)
    assert row(said, NAME)[2:6] == ["0.0", "MB", "no", "yes"]
    assert "no, by hand" in next(line for line in said.splitlines() if "hifacegan" in line)
    run("--download", NAME)
    run()
    assert row(capsys.readouterr().out.split("on disk")[1], NAME)[4] == "yes"


def test_the_list_can_leave_out_what_is_not_commercial(card, capsys):
    run("--commercial-only")
    said = capsys.readouterr().out
    assert NAME in said and "codeformer" not in said and "gfpgan" not in said


def test_download_puts_the_file_there_and_says_where_and_under_which_licence(
    card, capsys, tmp_path
):
    assert run("--download", NAME) == 0
    path = tmp_path / "kintsugi" / card.file
    assert path.read_bytes() == BODY
    said = capsys.readouterr().out
    assert str(path) in said and card.weights_license in said


def test_one_that_fails_does_not_keep_the_others_and_the_status_says_so(card, capsys, tmp_path):
    assert run("--download", "nonsense", "hifacegan", NAME) == 1
    said = capsys.readouterr().err
    assert "no model 'nonsense'" in said and CARDS["hifacegan"].page in said
    assert (tmp_path / "kintsugi" / card.file).is_file()


def test_the_licence_filter_refuses_before_anything_is_fetched(card, capsys):
    assert run("--commercial-only", "--download", "codeformer") == 1
    assert "S-Lab" in capsys.readouterr().err


def test_verify_reads_the_files(card, capsys, tmp_path):
    assert run("--verify") == 0
    run("--download", NAME)
    capsys.readouterr()
    assert run("--verify") == 0
    assert f"{NAME}: ok" in capsys.readouterr().out
    path = tmp_path / "kintsugi" / card.file
    path.write_bytes(BODY[:-1] + b"?")
    assert run("--verify") == 1
    assert "expected; delete it" in capsys.readouterr().out
    path.write_bytes(BODY[:9])
    assert run("--verify") == 1
    assert "9 bytes, 32000 expected" in capsys.readouterr().out


def test_remove_deletes_what_was_fetched_and_nothing_else(card, capsys, tmp_path):
    run("--download", NAME)
    other = tmp_path / "kintsugi" / "somebody-elses.onnx"
    other.write_bytes(b"other")
    assert run("--remove", NAME) == 0
    assert not (tmp_path / "kintsugi" / card.file).exists() and other.is_file()
    capsys.readouterr()
    assert run("--remove", NAME) == 0
    assert "not on disk" in capsys.readouterr().out
    other.write_bytes(BODY)
    assert run("--remove", NAME) == 1
    assert other.is_file() and "delete it yourself" in capsys.readouterr().err


def test_what_is_built_in_stays(card, capsys):
    assert run("--remove", "kintsugi-detector") == 1
    assert "part of the package" in capsys.readouterr().err


def test_the_table_is_markdown_with_a_row_for_every_model(card, capsys):
    assert run("--table") == 0
    lines = capsys.readouterr().out.strip().splitlines()
    assert len(lines) == len(CARDS) + 2
    assert {line.count("|") for line in lines} == {lines[0].count("|")}
    assert all(f"| `{name}` |" in "\n".join(lines) for name in CARDS)


@pytest.mark.parametrize("size, text", [(None, "?"), (232589, "0.2 MB"), (348632874, "349 MB")])
def test_sizes_are_for_people(size, text):
    assert store.megabytes(size) == text
