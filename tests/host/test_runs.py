"""The example workflow and what people make of it, run by a real server."""

from __future__ import annotations

import copy
import json
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from comfy_server import PromptError, events
from pictures import (
    as_saved,
    damaged_portrait,
    loaded,
    no_face,
    pipeline,
    pixels,
    transparent_portrait,
)
from workflow import to_prompt

from kintsugi.cli import main
from kintsugi.models import zoo

ROOT = Path(__file__).resolve().parent.parent.parent
WORKFLOW = json.loads(
    (ROOT / "example_workflows" / "restore_photo.json").read_text(encoding="utf-8")
)


@pytest.fixture(scope="module")
def inputs(server):
    """The server's input folder with the test pictures in it."""
    folder = server.base / "input"
    damaged_portrait().save(folder / "photo.png")
    no_face().save(folder / "no_face.png")
    transparent_portrait().save(folder / "transparent.png")
    return folder


@pytest.fixture
def prompt(server, inputs):
    """The example workflow as a prompt, to be changed by the test."""
    return copy.deepcopy(to_prompt(WORKFLOW, server.get("/object_info")))


def node(prompt: dict, kind: str) -> str:
    """The id of the only node of a class."""
    (found,) = [name for name, entry in prompt.items() if entry["class_type"] == kind]
    return found


def saved(server, prompt, entry) -> list[np.ndarray]:
    """What the prompt's SaveImage wrote."""
    return [pixels(path) for path in server.images(entry, node(prompt, "SaveImage"))]


def test_the_example_gives_what_the_stages_give(server, prompt, inputs):
    (result,) = saved(server, prompt, server.run(prompt))
    image = loaded(inputs / "photo.png")
    expected, mask = pipeline(image)
    outside = mask[0].numpy() == 0
    assert 0.02 < 1 - outside.mean() < 0.9, "the face should be a part of the picture"
    np.testing.assert_array_equal(result, as_saved(expected)[0])
    np.testing.assert_array_equal(result[outside], pixels(inputs / "photo.png")[outside])
    assert (result[~outside] != pixels(inputs / "photo.png")[~outside]).mean() > 0.5


def test_the_empty_mask_of_a_picture_without_one_limits_nothing(server, prompt, inputs):
    (bare,) = saved(server, prompt, server.run(prompt))
    load = [node(prompt, "LoadImage"), 1]
    prompt[node(prompt, "KintsugiFaceDetect")]["inputs"]["mask"] = load
    prompt[node(prompt, "KintsugiBlend")]["inputs"] |= {"mask": load, "damage": load}
    (masked,) = saved(server, prompt, server.run(prompt))
    np.testing.assert_array_equal(masked, bare)


def test_the_example_gives_what_the_command_line_gives(
    server, prompt, inputs, tmp_path, monkeypatch
):
    # The server has no model files; whatever lies in the command line's folders must not count.
    monkeypatch.setattr(zoo, "default_library", lambda: zoo.Library({}))
    (result,) = saved(server, prompt, server.run(prompt))
    written = tmp_path / "restored.png"
    options = ["--size", "512", "-o", str(written)]
    assert main([str(inputs / "photo.png"), *options]) == 0
    # The command line rounds to the nearest of 256 levels, SaveImage down.
    np.testing.assert_allclose(result.astype(int), pixels(written), atol=1)


def test_a_second_run_is_cached_and_a_changed_blend_runs_alone(server, prompt):
    server.run(prompt)
    again = events(server.run(prompt))["execution_cached"]["nodes"]
    assert set(again) == set(prompt)
    prompt[node(prompt, "KintsugiBlend")]["inputs"]["opacity"] = 0.7
    cached = set(events(server.run(prompt))["execution_cached"]["nodes"])
    assert set(prompt) - cached == {node(prompt, "KintsugiBlend"), node(prompt, "SaveImage")}


def test_a_picture_without_a_face_comes_back_equal(server, prompt, inputs):
    prompt[node(prompt, "LoadImage")]["inputs"]["image"] = "no_face.png"
    entry = server.run(prompt)
    (result,) = saved(server, prompt, entry)
    np.testing.assert_array_equal(result, pixels(inputs / "no_face.png"))
    (preview,) = server.images(entry, node(prompt, "PreviewImage"))
    assert pixels(preview).shape == (512, 512, 3) and not pixels(preview).any()


def test_no_face_can_stop_the_run(server, prompt):
    prompt[node(prompt, "LoadImage")]["inputs"]["image"] = "no_face.png"
    detector = node(prompt, "KintsugiFaceDetect")
    prompt[detector]["inputs"]["if_no_face"] = "stop with an error"
    with pytest.raises(PromptError) as caught:
        server.run(prompt)
    error = dict(caught.value.details)["execution_error"]
    assert error["node_id"] == detector
    assert "no face was found in 1 picture" in error["exception_message"]


def test_a_batch_keeps_its_length_and_its_faceless_picture(server, prompt, inputs):
    first = node(prompt, "LoadImage")
    prompt["second"] = {"class_type": "LoadImage", "inputs": {"image": "no_face.png"}}
    prompt["both"] = {
        "class_type": "ImageBatch",
        "inputs": {"image1": [first, 0], "image2": ["second", 0]},
    }
    for name, entry in prompt.items():
        if name != "both" and entry["inputs"].get("image") == [first, 0]:
            entry["inputs"]["image"] = ["both", 0]
    results = saved(server, prompt, server.run(prompt))
    assert len(results) == 2
    expected, _ = pipeline(loaded(inputs / "photo.png"))
    np.testing.assert_array_equal(results[0], as_saved(expected)[0])
    np.testing.assert_array_equal(results[1], pixels(inputs / "no_face.png"))


def test_alpha_passes_through_untouched(server, prompt, inputs):
    source = node(prompt, "LoadImage")
    prompt[source]["inputs"]["image"] = "transparent.png"
    prompt["alpha"] = {
        "class_type": "JoinImageWithAlpha",
        "inputs": {"image": [source, 0], "alpha": [source, 1]},
    }
    for name, entry in prompt.items():
        if name != "alpha" and entry["inputs"].get("image") == [source, 0]:
            entry["inputs"]["image"] = ["alpha", 0]
    (result,) = saved(server, prompt, server.run(prompt))
    original = pixels(inputs / "transparent.png")
    assert result.shape == (400, 400, 4)
    # LoadImage and JoinImageWithAlpha invert alpha in float; SaveImage truncates what comes out.
    np.testing.assert_allclose(result[..., 3].astype(int), original[..., 3], atol=1)
    assert (result[..., :3] != original[..., :3]).any()


def test_opacity_zero_runs_no_restorer(server, prompt, inputs):
    prompt[node(prompt, "KintsugiRestore")]["inputs"]["model"] = "gfpgan-1.4"
    prompt[node(prompt, "KintsugiBlend")]["inputs"]["opacity"] = 0.0
    del prompt[node(prompt, "PreviewImage")]
    (result,) = saved(server, prompt, server.run(prompt))
    np.testing.assert_array_equal(result, pixels(inputs / "photo.png"))


def test_a_model_that_cannot_be_had_stops_the_run_and_says_where_it_belongs(server, prompt):
    prompt[node(prompt, "KintsugiRestore")]["inputs"]["model"] = "gfpgan-1.4"
    with pytest.raises(PromptError) as caught:
        server.run(prompt)
    message = dict(caught.value.details)["execution_error"]["exception_message"]
    assert "GFPGANv1.4.pth" in message
    assert str(server.base / "models" / "facerestore_models") in message


def test_the_licence_filter_refuses(server, prompt):
    inputs = prompt[node(prompt, "KintsugiRestore")]["inputs"]
    inputs["model"], inputs["commercial_only"] = "codeformer", True
    with pytest.raises(PromptError, match="commercial"):
        server.run(prompt)


def test_boxes_of_another_detector_are_taken(server, prompt):
    first = node(prompt, "KintsugiFaceDetect")
    second = copy.deepcopy(prompt[first])
    second["inputs"]["boxes"] = [first, 1]
    prompt["second"] = second
    prompt[node(prompt, "KintsugiLandmarkAlign")]["inputs"]["faces"] = ["second", 0]
    prompt["shown"] = {"class_type": "PreviewAny", "inputs": {"source": ["second", 2]}}
    entry = server.run(prompt)
    assert entry["outputs"]["shown"]["text"] == ["1"]


def test_interrupt_stops_a_long_run_and_leaves_the_server_well(server, prompt):
    source = node(prompt, "LoadImage")
    many = copy.deepcopy(prompt)
    many["many"] = {
        "class_type": "RepeatImageBatch",
        "inputs": {"image": [source, 0], "amount": 128},
    }
    many[node(many, "KintsugiFaceDetect")]["inputs"]["image"] = ["many", 0]
    prompt_id = server.queue(many)
    started = time.monotonic()
    while not server.get("/queue")["queue_running"] and time.monotonic() - started < 20:
        time.sleep(0.05)
    time.sleep(1.5)
    server.post("/interrupt", {})
    entry = server.wait(prompt_id)
    assert "execution_interrupted" in events(entry)
    assert not entry["outputs"], "the run went on to its end"
    assert server.run(prompt)["status"]["status_str"] == "success"


def test_the_pictures_that_went_in_are_not_written_to(server, prompt, inputs):
    shutil.copy(inputs / "photo.png", inputs / "fresh.png")
    source = node(prompt, "LoadImage")
    prompt[source]["inputs"]["image"] = "fresh.png"
    server.run(prompt)
    prompt["again"] = {"class_type": "PreviewImage", "inputs": {"images": [source, 0]}}
    entry = server.run(prompt)
    assert source in events(entry)["execution_cached"]["nodes"]
    (shown,) = server.images(entry, "again")
    np.testing.assert_array_equal(pixels(shown), pixels(inputs / "photo.png"))
