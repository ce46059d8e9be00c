"""What the server tells the page, and choices of faces in prompts that no page has made."""

from __future__ import annotations

import json

import pytest
from comfy_server import DETECT, PromptError
from pictures import group
from PIL import Image


@pytest.fixture(scope="module")
def run(server):
    """Runs FaceDetect on the group; returns what it tells the page and the count it puts out."""
    group().save(server.base / "input" / "group.png")

    def detect(**settings):
        prompt = {
            "load": {"class_type": "LoadImage", "inputs": {"image": "group.png"}},
            "detect": {"class_type": "KintsugiFaceDetect", "inputs": {**DETECT, **settings}},
            "count": {"class_type": "PreviewAny", "inputs": {"source": ["detect", 2]}},
        }
        outputs = server.run(prompt)["outputs"]
        (told,) = outputs["detect"]["kintsugi_faces"]
        return told, int(outputs["count"]["text"][0])

    return detect


def test_a_prompt_without_a_choice_takes_every_face(server, run):
    told, count = run()
    (picture,) = told["pictures"]
    assert count == len(picture["faces"]) == 3
    assert [face["number"] for face in picture["faces"]] == [0, 1, 2]
    assert all(face["kept"] for face in picture["faces"])
    assert (picture["width"], picture["height"]) == (1000, 500)
    with Image.open(server.base / "temp" / picture["file"]["filename"]) as preview:
        assert preview.size == (1000, 500)


def test_a_choice_in_a_prompt_is_what_the_page_would_make(run):
    faces = run()[0]["pictures"][0]["faces"]
    only = json.dumps({"0": {"only": [faces[1]["box"]]}})
    told, count = run(chosen=only)
    assert count == 1
    assert [face["kept"] for face in told["pictures"][0]["faces"]] == [False, True, False]
    again, count = run(chosen=only, order="largest", confidence=0.4)
    assert count == 1, "the choice means the same face whatever its number"


def test_a_choice_of_nobody_can_stop_the_run(run):
    with pytest.raises(PromptError, match="none of the 3 faces found is chosen"):
        run(chosen='{"0": {"only": []}}', if_no_face="stop with an error")


def test_an_unreadable_choice_stops_the_run_and_says_why(run):
    with pytest.raises(PromptError, match="chosen is no JSON"):
        run(chosen="{")


def test_the_models_are_told_and_nothing_is_fetched(server):
    told = server.get("/kintsugi/models")
    models = {model["name"]: model for model in told["models"]}
    assert models["kintsugi-restorer"]["state"] == "built in"
    assert models["kintsugi-restorer"]["size"] > 1e6
    assert models["gfpgan-1.4"]["state"] == "download"
    assert models["gfpgan-1.4"]["commercial"] == "unclear"
    assert models["codeformer-inpainting"]["state"] == "by hand"
    own = ["kintsugi-restorer", "kintsugi-identity"]
    assert told["auto"] == {"any": own, "commercial": own}
    assert server.get("/api/kintsugi/models") == told
