"""Every example and blueprint on a real server: opened, validated, and run where weights allow.

Models that are not on disk stand in for themselves while validating; for the run the built-in
restorer takes their place, and a picture that of what a checkpoint would have drawn.
"""

from __future__ import annotations

import copy
import json
import time
from pathlib import Path
from urllib.request import urlopen

import av
import numpy as np
import pytest
from comfy_server import PACK, PromptError
from pictures import damaged_portrait, pixels
from PIL import Image, ImageDraw
from workflow import NOTES, to_prompt

from kintsugi.samples import album

ROOT = Path(__file__).resolve().parent.parent.parent
EXAMPLES = {
    path.stem: json.loads(path.read_text(encoding="utf-8"))
    for path in sorted((ROOT / "example_workflows").glob("*.json"))
}
BLUEPRINT = json.loads((ROOT / "subgraphs" / "Restore all faces.json").read_text(encoding="utf-8"))
CHECKPOINT = ("CheckpointLoaderSimple", "ckpt_name", "value_not_in_list")
NEED_A_CHECKPOINT = {
    name
    for name, workflow in EXAMPLES.items()
    if any(node["type"] == CHECKPOINT[0] for node in workflow["nodes"])
}
FRAMES = 3


def write_video(path: Path) -> None:
    """A short film: the portrait, moving a little."""
    portrait = damaged_portrait()
    with av.open(str(path), "w") as container:
        stream = container.add_stream("h264", rate=12)
        stream.width, stream.height, stream.pix_fmt = 240, 180, "yuv420p"
        for shift in range(FRAMES):
            part = portrait.crop((80 + 4 * shift, 0, 360 + 4 * shift, 210)).resize((240, 180))
            for packet in stream.encode(av.VideoFrame.from_image(part)):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)


@pytest.fixture(scope="module")
def inputs(server):
    """The server's input folder with what the examples load."""
    folder = server.base / "input"
    damaged_portrait().save(folder / "photo.png")
    for number in range(1, 4):
        damaged_portrait().save(folder / f"reference_{number}.png")
    page = album().crop((600, 0, 1200, 720))
    page.save(folder / "group.png")
    write_video(folder / "video.mp4")
    return folder


@pytest.fixture(scope="module")
def info(server, inputs):
    """What the server says of every node, with the inputs in place."""
    return server.get("/object_info")


def of(prompt: dict, kind: str) -> list[str]:
    """The ids of the nodes of a class."""
    return [name for name, entry in prompt.items() if entry["class_type"] == kind]


def replaced(prompt: dict, old: str, new: str) -> None:
    """Let everything that reads node `old` read node `new`, and drop what then leads nowhere."""
    for entry in prompt.values():
        for name, value in entry["inputs"].items():
            if isinstance(value, list) and value[0] == old:
                entry["inputs"][name] = [new, 0]
    ends = {"SaveImage", "PreviewImage", "MaskPreview", "SaveVideo", "PreviewAny"}
    kept, todo = set(), [name for name, entry in prompt.items() if entry["class_type"] in ends]
    while todo:
        name = todo.pop()
        if name not in kept:
            kept.add(name)
            values = prompt[name]["inputs"].values()
            todo += [value[0] for value in values if isinstance(value, list)]
    for name in set(prompt) - kept:
        del prompt[name]


def with_what_is_here(prompt: dict) -> dict:
    """The prompt with the built-in restorer for models, and a picture for checkpoints."""
    for name in of(prompt, "KintsugiRestore"):
        inputs = prompt[name]["inputs"]
        inputs["model"] = "auto" if inputs["model"] == "auto" else "kintsugi-restorer"
    for drawn in of(prompt, "VAEDecode"):
        encoders = of(prompt, "VAEEncode")
        if encoders:
            stand_in = prompt[encoders[0]]["inputs"]["pixels"][0]
        else:
            stand_in = "photo"
            prompt[stand_in] = {"class_type": "LoadImage", "inputs": {"image": "photo.png"}}
        replaced(prompt, drawn, stand_in)
    return prompt


def run(server, info, name: str) -> tuple[dict, dict]:
    """The prompt of an example as it can run here, and its history entry."""
    prompt = with_what_is_here(to_prompt(copy.deepcopy(EXAMPLES[name]), info))
    return prompt, server.run(prompt)


def saved(server, prompt: dict, entry: dict) -> np.ndarray:
    """The one picture that the only SaveImage wrote."""
    (path,) = server.images(entry, of(prompt, "SaveImage")[0])
    return pixels(path)


def withdraw(server, prompt_id: str) -> None:
    """Take a prompt back that was to be validated only."""
    server.post("/queue", {"delete": [prompt_id]})
    for _ in range(600):
        queue = server.get("/queue")
        if not queue["queue_running"] and not queue["queue_pending"]:
            return
        server.post("/interrupt", {})
        time.sleep(0.1)
    raise TimeoutError(f"prompt {prompt_id} is still running")


@pytest.mark.parametrize("name", [*EXAMPLES, "the blueprint"])
def test_every_node_and_every_socket_exists(info, name):
    workflow = EXAMPLES.get(name, BLUEPRINT)
    subgraphs = workflow.get("definitions", {}).get("subgraphs", [])
    own = {subgraph["id"] for subgraph in subgraphs} | set(NOTES)
    nodes = [node for graph in (workflow, *subgraphs) for node in graph["nodes"]]
    for node in nodes:
        if node["type"] in own:
            continue
        known = info[node["type"]]
        sockets = {**known["input"].get("required", {}), **known["input"].get("optional", {})}
        assert {socket["name"] for socket in node["inputs"]} <= sockets.keys(), node["type"]
        named = [(socket["name"], socket["type"]) for socket in node["outputs"]]
        assert named == list(zip(known["output_name"], known["output"], strict=True))


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_server_accepts_what_the_page_would_send(server, info, name):
    prompt = to_prompt(EXAMPLES[name], info)
    missing = set()
    try:
        prompt_id = server.queue(prompt)
    except PromptError as error:
        for entry in error.details["node_errors"].values():
            for problem in entry["errors"]:
                where = problem["extra_info"]["input_name"]
                missing.add((entry["class_type"], where, problem["type"]))
    else:
        withdraw(server, prompt_id)
    assert missing == ({CHECKPOINT} if name in NEED_A_CHECKPOINT else set())


PORTRAITS = ("restore_photo", "old_photograph", "several_references")


@pytest.mark.parametrize("name", [*NEED_A_CHECKPOINT, *PORTRAITS])
def test_only_the_face_of_the_photo_changes(server, info, inputs, name):
    prompt, entry = run(server, info, name)
    before, after = pixels(inputs / "photo.png"), saved(server, prompt, entry)
    changed = (before != after).any(axis=2)
    assert after.shape == before.shape
    assert 0.01 < changed.mean() < 0.6
    assert not changed[-100:].any(), "the lower part of the picture holds no face"


def test_painted_scratches_are_filled(server, info, inputs):
    clean = damaged_portrait()
    scratched, painted = clean.copy(), Image.new("L", clean.size, 255)
    line = (205, 20, 220, 170)
    ImageDraw.Draw(scratched).line(line, fill=(255, 255, 255), width=2)
    ImageDraw.Draw(painted).line(line, fill=0, width=7)
    scratch = (np.asarray(scratched) != np.asarray(clean)).any(axis=2)
    scratched.putalpha(painted)
    scratched.save(inputs / "scratched.png")
    prompt = with_what_is_here(to_prompt(copy.deepcopy(EXAMPLES["old_photograph"]), info))
    prompt[of(prompt, "LoadImage")[0]]["inputs"]["image"] = "scratched.png"
    mended = saved(server, prompt, server.run(prompt)).astype(int)
    away = [
        np.abs(picture[scratch][:, :3].astype(int) - np.asarray(clean)[scratch]).mean()
        for picture in (mended, np.asarray(scratched))
    ]
    assert away[0] < away[1] / 3, away


def test_only_the_chosen_of_the_group_change(server, info, inputs):
    prompt, entry = run(server, info, "group_photo")
    assert len(server.images(entry, of(prompt, "PreviewImage")[0])) == 2
    before, after = pixels(inputs / "group.png"), saved(server, prompt, entry)
    columns = (before != after).any(axis=(0, 2))
    assert columns.any() and not columns[400:].any(), "those on the right were not chosen"


def test_references_and_candidates_are_compared_and_reported(server, info):
    prompt, entry = run(server, info, "several_references")
    (text,) = entry["outputs"][of(prompt, "PreviewAny")[0]]["text"]
    assert "face 0" in text and text.count("\n") < 10


def test_the_restorers_stand_in_one_row(server, info):
    prompt, entry = run(server, info, "compare_restorers")
    restorers = len(of(prompt, "KintsugiRestore"))
    row = saved(server, prompt, entry)
    assert row.shape == (512, (restorers + 1) * 512 + restorers * 8, 3)


def test_a_video_keeps_its_frames_and_its_rate(server, info, inputs):
    prompt, entry = run(server, info, "video_frames")
    (path,) = server.images(entry, of(prompt, "SaveVideo")[0])
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert float(stream.average_rate) == 12
        assert sum(1 for _ in container.decode(stream)) == FRAMES


def test_the_blueprint_is_offered_where_the_core_knows_blueprints(server):
    try:
        offered = server.get("/global_subgraphs")
    except OSError:
        pytest.skip("this ComfyUI has no blueprints")
    assert "Restore all faces" in {entry["name"] for entry in offered.values()}


def test_the_blueprint_does_what_the_first_example_does(server, info, inputs):
    workflow = copy.deepcopy(BLUEPRINT)
    (host,) = workflow["nodes"]
    load = next(node for node in EXAMPLES["restore_photo"]["nodes"] if node["type"] == "LoadImage")
    save = next(node for node in EXAMPLES["restore_photo"]["nodes"] if node["type"] == "SaveImage")
    load, save = copy.deepcopy(load), copy.deepcopy(save)
    load["id"], save["id"] = 101, 102
    host["inputs"][0]["link"], save["inputs"][0]["link"] = 1, 2
    workflow["nodes"] += [load, save]
    workflow["links"] = [[1, 101, 0, host["id"], 0, "IMAGE"], [2, host["id"], 0, 102, 0, "IMAGE"]]
    prompt = to_prompt(workflow, info)
    expected = run(server, info, "restore_photo")
    np.testing.assert_array_equal(
        saved(server, prompt, server.run(prompt)), saved(server, *expected)
    )


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_example_is_offered_as_a_template_with_its_thumbnail(server, name):
    assert name in server.get("/workflow_templates")[PACK]
    address = f"http://127.0.0.1:{server.port}/api/workflow_templates/{PACK}/{name}.jpg"
    with urlopen(address, timeout=60) as answer, Image.open(answer) as picture:
        assert picture.format == "JPEG"
