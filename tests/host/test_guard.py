"""IdentityGuard in a real graph: what it lets through, shows, and writes into saved pictures."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from pictures import damaged_portrait, no_face, pixels
from PIL import Image


@pytest.fixture(scope="module")
def inputs(server):
    """The server's input folder with a damaged portrait and a picture without a face."""
    folder = server.base / "input"
    damaged_portrait().save(folder / "guarded.png")
    no_face().save(folder / "nobody_guarded.png")
    return folder


@pytest.fixture(scope="module")
def info(server):
    """What the server says of every node."""
    return server.get("/object_info")


def filled(info: dict, kind: str, **inputs) -> dict:
    """A node of a prompt, widgets that are not named at their defaults."""
    entry = {"class_type": kind, "inputs": {}}
    for name, (type_, *rest) in info[kind]["input"].get("required", {}).items():
        options = rest[0] if rest else {}
        if "default" in options:
            entry["inputs"][name] = options["default"]
        elif isinstance(type_, list):
            entry["inputs"][name] = type_[0]
    entry["inputs"].update(inputs)
    return entry


def graph(info: dict, picture: str = "guarded.png", after=("restore", 0), **settings) -> dict:
    """Detect, align, restore, guard, blend, save; the guard's outputs shown."""

    def shown(output: int) -> dict:
        return {"class_type": "PreviewAny", "inputs": {"source": ["guard", output]}}

    return {
        "load": {"class_type": "LoadImage", "inputs": {"image": picture}},
        "detect": filled(info, "KintsugiFaceDetect", image=["load", 0]),
        "align": filled(info, "KintsugiLandmarkAlign", image=["load", 0], faces=["detect", 0]),
        "restore": filled(
            info,
            "KintsugiRestore",
            crops=["align", 0],
            faces=["align", 1],
            model="kintsugi-restorer",
        ),
        "guard": filled(
            info,
            "KintsugiIdentityGuard",
            before=["align", 0],
            after=list(after),
            faces=["restore", 2],
            **settings,
        ),
        "blend": filled(
            info, "KintsugiBlend", image=["load", 0], crops=["guard", 0], faces=["guard", 1]
        ),
        "save": {
            "class_type": "SaveImage",
            "inputs": {"images": ["blend", 0], "filename_prefix": "guarded"},
        },
        "similarity": shown(2),
        "report": shown(5),
        "told": {"class_type": "PreviewAny", "inputs": {"source": ["blend", 2]}},
    }


def text(entry: dict, node: str) -> str:
    return entry["outputs"][node]["text"][0]


def test_an_honest_restoration_is_kept_and_shown(server, inputs, info):
    entry = server.run(graph(info))
    assert "kept" in text(entry, "report")
    assert 0.5 <= float(text(entry, "similarity")) <= 1
    (strip,) = server.images(entry, "guard")
    assert pixels(strip).shape == (256, 4 * 256 + 12, 3)
    (pair,) = entry["outputs"]["guard"]["kintsugi_compare"][0]["pairs"]
    assert pair["level"] == "good" and "kept" in pair["verdict"]


def test_a_stranger_does_not_get_through(server, inputs, info):
    prompt = graph(info, after=("turned", 0))
    # The face upside down: nobody's likeness, by core nodes alone.
    prompt["turned"] = {
        "class_type": "ImageRotate",
        "inputs": {"image": ["restore", 0], "rotation": "180 degrees"},
    }
    if "ImageRotate" not in info:
        pytest.skip("this core has no ImageRotate to make a stranger with")
    entry = server.run(prompt)
    assert "refused" in text(entry, "report") or "backed off" in text(entry, "report")
    assert float(text(entry, "similarity")) >= 0.5


def test_the_saved_picture_says_what_was_done(server, inputs, info):
    prompt = graph(info)
    prompt["guard"]["inputs"]["threshold"] = 0.45  # so that nothing comes from the cache
    body = {"prompt": prompt, "extra_data": {"extra_pnginfo": {"workflow": {"id": "test"}}}}
    entry = server.wait(server.post("/prompt", body)["prompt_id"])
    (path,) = server.images(entry, "save")
    with Image.open(path) as picture:
        record = json.loads(picture.text["kintsugi"])["blend"]
        assert json.loads(picture.text["workflow"]) == {"id": "test"}
    (face,) = record["faces"]
    assert face["models"][0]["name"] == "kintsugi-restorer"
    assert len(face["models"][0]["weights_sha256"]) == 64
    identity = face["identity"]
    told = float(text(entry, "similarity"))
    assert math.isclose(identity["probability_after"], told, abs_tol=1e-3)
    assert set(identity["invented"]) == {"eyes", "mouth", "skin", "hair"}
    assert '"weights_sha256"' in text(entry, "told")


def test_a_picture_without_a_face_goes_through(server, inputs, info):
    entry = server.run(graph(info, "nobody_guarded.png"))
    assert "no faces" in text(entry, "report")
    (shown,) = entry["outputs"]["guard"]["kintsugi_compare"]
    assert shown["pairs"] == [] and "no faces" in shown["report"], "nobody of an earlier run"
    (path,) = server.images(entry, "save")
    np.testing.assert_array_equal(pixels(path), pixels(inputs / "nobody_guarded.png"))
