"""Seconds to find, cut and paste ten faces in 12 megapixels, beside the peers' way, in one run.

    python -m kintsugi.benchmarks.pipeline

The restorer is left out on both sides: it costs the same. The peers' detector is RetinaFace
MobileNet0.25 over the whole frame, the fastest they offer, with weights made up (its time does not
depend on them); their faces come from our detector, so that both sides cut and paste the same ones.
They mix through a parser's mask by default; the parser is left out, an ellipse stands for what it
says. A row with the square mask, their quickest way, stands beside it.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from skimage import data

from kintsugi import samples
from kintsugi.benchmarks import peers
from kintsugi.models.retinaface import MobileNet, RetinaFace
from kintsugi.stages.blend import blend
from kintsugi.stages.face_detect import detect
from kintsugi.stages.host import Host
from kintsugi.stages.landmark_align import align

HEIGHT, WIDTH = 3000, 4000

#: Sides of the faces in the scene, sqrt(width * height) of the box: an ordinary group photograph.
SIZES = (500, 420, 350, 290, 240, 200, 160, 130, 110, 90)

#: Who is in it: name of the portrait, the middle of the face and its side there.
PEOPLE = (("hopper", (270, 226), 226), ("collins", (225, 117), 105))

PEERS = "peers, 8 bit, parser's mask"

#: How often each work is timed.
ROUNDS = 5

Work = Callable[[], object]
Key = TypeVar("Key")

RESULT = Path(__file__).parent / "results" / "pipeline.md"


def scene() -> np.ndarray:
    """(3000, 4000, 3) uint8 RGB: ten faces of 90 to 500 px in front of a brick wall with grain."""
    rng = np.random.default_rng(0)
    wall = np.asarray(Image.fromarray(data.brick()).resize((1000, 1000)), np.float64)
    wall = np.tile(wall[..., None] * (0.9, 0.7, 0.6), (3, 4, 1))
    page = (wall + rng.normal(0, 5, wall.shape)).clip(0, 255).astype(np.uint8)
    people = samples.portraits()
    left = top = row = 0
    for index, face in enumerate(SIZES):
        who, middle, inside = PEOPLE[index % len(PEOPLE)]
        box = [m + sign * inside for sign in (-1, 1) for m in middle]
        side = 2 * face
        if left + side > WIDTH:
            left, top, row = 0, top + row, 0
        page[top : top + side, left : left + side] = people[who].crop(box).resize((side, side))
        left, row = left + side + 40, max(row, side + 40)
    return page


def ours(picture: torch.Tensor) -> dict[str, Work]:
    """The work of each stage on (1, H, W, C)."""
    host = Host()
    faces = detect(picture, host=host)
    if len(faces) != len(SIZES):
        raise SystemExit(f"found {len(faces)} faces of {len(SIZES)}; the comparison needs them all")
    crops, aligned = align(picture, faces)
    # Crops that nothing changed would cost blend nothing: these are smoothed and tinted.
    planes = crops.permute(0, 3, 1, 2)
    changed = F.avg_pool2d(planes, 5, 1, 2, count_include_pad=False) * 0.9 + 0.05
    changed = changed.permute(0, 2, 3, 1).contiguous()
    return {
        "detect": lambda: detect(picture, host=host),
        "align": lambda: align(picture, faces),
        # The crops live on, as in a graph and on the command line.
        "blend": lambda _alive=crops: blend(picture, changed, aligned),
    }


def theirs(picture: np.ndarray, points: list[np.ndarray]) -> dict[str, dict[str, Work]]:
    """Rows of each stage's work on (H, W, 3) uint8, with the five points of every face."""
    network = RetinaFace(MobileNet(8), 64).eval()
    fed = torch.from_numpy(picture[..., ::-1].copy()).permute(2, 0, 1)[None].float() - 110
    cut = [peers.align(picture, five) for five in points]
    crops, matrices = ([part[i] for part in cut] for i in (0, 1))
    face = cv2.ellipse(np.zeros((512, 512)), (256, 290), (150, 190), 0, 0, 360, 1.0, -1)

    def find():
        with torch.inference_mode():
            network(fed)

    stages = {"detect": find, "align": lambda: [peers.align(picture, five) for five in points]}
    return {
        name: stages | {"blend": lambda mask=mask: peers.paste(picture, crops, matrices, mask)}
        for name, mask in ((PEERS, face), ("peers, 8 bit, square mask", None))
    }


def seconds(works: dict[Key, Work]) -> dict[Key, float]:
    """Median time of each work over ROUNDS after one that does not count. In each round all take
    their turn, so that a busy minute of the machine is everybody's."""
    times: dict[Key, list[float]] = {key: [] for key in works}
    for _ in range(ROUNDS + 1):
        for key, work in works.items():
            started = time.perf_counter()
            work()
            times[key].append(time.perf_counter() - started)
    return {key: statistics.median(each[1:]) for key, each in times.items()}


def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    source = scene()
    picture = torch.from_numpy(source).float()[None] / 255
    faces = detect(picture)
    rows = theirs(source, [face.points.numpy() for face in faces])
    alpha = torch.cat([picture, torch.ones_like(picture[..., :1])], -1)
    rows["Kintsugi, float32"] = ours(picture)
    rows["Kintsugi, float32 with alpha"] = ours(alpha)
    rows["Kintsugi, float16"] = ours(picture.half())
    works = {(name, stage): work for name, row in rows.items() for stage, work in row.items()}
    taken = seconds(works)
    rows = {name: {stage: taken[name, stage] for stage in row} for name, row in rows.items()}
    total = sum(rows[PEERS].values())
    paste = total - rows[PEERS]["detect"]
    lines = [
        "# Detect, align and blend",
        "",
        f"{WIDTH} x {HEIGHT} pixels, {len(SIZES)} faces of {min(SIZES)} to {max(SIZES)} px; "
        f"seconds (median of {ROUNDS} rounds in which all take their turn), "
        f"{torch.get_num_threads()} threads, one run. Made by "
        "`python -m kintsugi.benchmarks.pipeline`.",
        "",
        "| | detect | align | blend | all | peers' time over this | the same, align and blend |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        both = row["align"] + row["blend"]
        cells = [f"{value:.3f}" for value in (*row.values(), sum(row.values()))]
        cells += [f"{total / sum(row.values()):.1f}", f"{paste / both:.1f}"]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text("\n".join(lines) + "\n")
    print(RESULT.read_text())


if __name__ == "__main__":
    main()
