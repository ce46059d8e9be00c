"""DegradationEstimate in a real graph: findings reach Restore, and the page gets its report."""

from __future__ import annotations

import numpy as np
import pytest
from comfy_server import DETECT
from pictures import as_saved, damaged_portrait, loaded, no_face, pixels

from kintsugi.stages.advice import advise
from kintsugi.stages.face_detect import detect
from kintsugi.stages.landmark_align import align


@pytest.fixture(scope="module")
def inputs(server):
    """The server's input folder with a damaged portrait and a picture without a face."""
    folder = server.base / "input"
    damaged_portrait().save(folder / "damaged.png")
    no_face().save(folder / "nobody.png")
    return folder


def prompt(picture: str) -> dict:
    """Detect, align, look, restore by what was seen; everything shown."""

    def shown(source: str, output: int) -> dict:
        return {"class_type": "PreviewAny", "inputs": {"source": [source, output]}}

    def saved(source: str, output: int) -> dict:
        return {"class_type": "PreviewImage", "inputs": {"images": [source, output]}}

    detection = {**DETECT, "order": "largest"}
    alignment = {
        "image": ["load", 0],
        "faces": ["detect", 0],
        "size": 512,
        "landmarks": "the detector's points",
        "margin": 0.0,
        "template": "ffhq",
    }
    look = {"crops": ["align", 0], "faces": ["align", 1], "overlay": 0.7}
    restoration = {
        "crops": ["align", 0],
        "faces": ["look", 0],
        "model": "auto",
        "fidelity": 0.5,
        "strength": 1.0,
        "seed": 0,
        "steps": 0,
        "commercial_only": False,
    }
    return {
        "load": {"class_type": "LoadImage", "inputs": {"image": picture}},
        "detect": {"class_type": "KintsugiFaceDetect", "inputs": detection},
        "align": {"class_type": "KintsugiLandmarkAlign", "inputs": alignment},
        "look": {"class_type": "KintsugiDegradationEstimate", "inputs": look},
        "restore": {"class_type": "KintsugiRestore", "inputs": restoration},
        "severity": shown("look", 1),
        "report": shown("look", 2),
        "heat": saved("look", 3),
        "crops": saved("align", 0),
        "done": shown("restore", 1),
    }


def test_the_findings_are_those_of_the_stage_and_reach_restore(server, inputs):
    entry = server.run(prompt("damaged.png"))
    (severity,), (report,), (done,) = (
        entry["outputs"][node]["text"] for node in ("severity", "report", "done")
    )
    image = loaded(inputs / "damaged.png")
    expected = advise(*align(image, detect(image)))
    assert float(severity) == pytest.approx(expected.severity, abs=0.01) and float(severity) > 0.05
    assert report.splitlines()[0].startswith("1 face, worst severity ")
    (line,) = report.splitlines()[1:]
    # What was found is told by both nodes alike, as it was measured once; Restore says besides what
    # it took back of it.
    found, _, model = line.rpartition(" (")
    (told,) = done.splitlines()[1:]
    assert told.startswith(found) and told.endswith(f" ({model}")
    (drawn,) = (pixels(path) for path in server.images(entry, "heat"))
    np.testing.assert_allclose(drawn.astype(int), as_saved(expected.heat_map)[0], atol=3)


def test_without_a_face_nothing_is_wrong(server, inputs):
    entry = server.run(prompt("nobody.png"))
    texts = {name: entry["outputs"][name]["text"] for name in ("severity", "report", "done")}
    assert float(texts["severity"][0]) == 0 and texts["report"] == ["no face"]
    assert texts["done"] == ["no faces: nothing restored"]
    for name in ("heat", "crops"):
        (picture,) = (pixels(path) for path in server.images(entry, name))
        assert picture.shape == (512, 512, 3) and not picture.any()
