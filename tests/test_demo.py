"""The demo: the built-in models on the sample picture, with nothing fetched."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from PIL import Image

from kintsugi import cli, samples


def test_the_sample_picture_is_the_same_every_time():
    one, two = samples.album(seed=3), samples.album(seed=3)
    assert one.size == samples.SIZE and one.tobytes() == two.tobytes()
    assert one.tobytes() != samples.album(seed=4).tobytes()
    clean = np.asarray(samples.album(damage=False)).astype(int)
    assert 3 < np.abs(np.asarray(one) - clean).mean() < 30


def test_without_the_portraits_it_says_what_to_install(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "skimage", None)
    assert cli.main(["demo", "-o", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert "skimage" in error and 'pip install "kintsugi-faces[demo]"' in error
    assert list(tmp_path.iterdir()) == []


def test_a_seed_below_0_is_wrong_usage(tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["demo", "-o", str(tmp_path), "--seed", "-1"])
    assert stopped.value.code == 2 and "not a whole number in 0" in capsys.readouterr().err


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """A finished demo; the Hub is out of reach."""
    folder = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("socket.socket.connect", None)
        assert cli.main(["demo", "-o", str(folder)]) == 0
    return folder


def test_the_demo_finds_every_face(demo):
    names = sorted(path.name for path in demo.iterdir())
    assert names == ["before_after.jpg", "photo.png", "report.json", "restored.png"]
    # The README shows this picture.
    assert (demo / "before_after.jpg").stat().st_size < 400_000
    report = json.loads((demo / "report.json").read_text())
    centres = {(round(x / 40), round(y / 40)) for x, y in map(_centre, report["faces"])}
    assert len(centres) == len(report["faces"]) == 5
    assert {face["model"] for face in report["faces"]} == {"kintsugi-restorer"}
    # One of the photographs is scratched.
    assert sum(face["filled"] for face in report["faces"]) == 1


def _centre(face):
    x0, y0, x1, y1 = face["box"]
    return (x0 + x1) / 2, (y0 + y1) / 2


def test_the_demo_changes_faces_alone_and_for_the_better(demo):
    before, after = (
        np.asarray(Image.open(demo / name)).astype(int) for name in ("photo.png", "restored.png")
    )
    clean = np.asarray(samples.album(damage=False)).astype(int)
    changed = (before != after).any(-1)
    assert 0.02 < changed.mean() < 0.2
    # The print that is out of focus: the old one has lost its colours and would not come nearer.
    report = json.loads((demo / "report.json").read_text())
    largest = max(report["faces"], key=lambda face: face["box"][2] - face["box"][0])
    x0, y0, x1, y1 = (round(value) for value in largest["box"])
    face = (slice(y0, y1), slice(x0, x1))
    assert ((after[face] - clean[face]) ** 2).mean() < ((before[face] - clean[face]) ** 2).mean()
