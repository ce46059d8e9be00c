"""Seconds to find, cut and paste ten faces in 12 megapixels, beside the peers' way, in one run.

    python -m kintsugi.benchmarks.pipeline

The restorer is left out on both sides: it costs the same. The peers' detector is RetinaFace
MobileNet0.25 over the whole frame, the fastest they offer, with weights made up (its time does not
depend on them); their faces come from our detector, so that both sides cut and paste the same ones.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from kintsugi import samples
from kintsugi.benchmarks import peers
from kintsugi.models.retinaface import MobileNet, RetinaFace
from kintsugi.stages.blend import blend
from kintsugi.stages.face_detect import detect
from kintsugi.stages.host import Host
from kintsugi.stages.landmark_align import align

HEIGHT, WIDTH, FACES = 3000, 4000, 10
RESULT = Path(__file__).parent / "results" / "pipeline.md"


def scene() -> np.ndarray:
    """(3000, 4000, 3) uint8 RGB: ten portraits of 120 to 1000 px on a plain wall with grain."""

    rng = np.random.default_rng(0)
    page = rng.normal(150, 6, (HEIGHT, WIDTH, 3)).clip(0, 255).astype(np.uint8)
    people = list(samples.portraits().values())
    places = [
        (60, 60, 1400),
        (1560, 60, 1000),
        (2660, 60, 1200),
        (60, 1560, 900),
        (1060, 1300, 700),
    ]
    places += [(1860, 1400, 600), (2560, 1400, 500), (3160, 1400, 400), (1060, 2200, 300)]
    places += [(1500, 2200, 240)]
    for index, (left, top, side) in enumerate(places):
        who = people[index % len(people)].crop((60, 0, 440, 380)).resize((side, side))
        page[top : top + side, left : left + side] = np.asarray(who)
    return page


def seconds(work: Callable[[], object], runs: int = 5) -> float:
    """Median time of several runs after one that does not count."""
    work()
    times = []
    for _ in range(runs):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def ours(picture: torch.Tensor) -> dict[str, float]:
    """Seconds of each stage on (1, H, W, C)."""
    host = Host()
    faces = detect(picture, host=host)
    if len(faces) != FACES:
        raise SystemExit(f"found {len(faces)} faces of {FACES}; the comparison needs them all")
    crops, aligned = align(picture, faces)
    return {
        "detect": seconds(lambda: detect(picture, host=host)),
        "align": seconds(lambda: align(picture, faces)),
        "blend": seconds(lambda: blend(picture, crops, aligned)),
    }


def theirs(picture: np.ndarray, points: list[np.ndarray]) -> dict[str, float]:
    """Seconds of each stage on (H, W, 3) uint8, with the five points of every face."""
    network = RetinaFace(MobileNet(8), 64).eval()
    fed = torch.from_numpy(picture[..., ::-1].copy()).permute(2, 0, 1)[None].float() - 110
    with torch.inference_mode():
        find = seconds(lambda: network(fed), runs=3)
    cut = [peers.align(picture, five) for five in points]
    crops, matrices = ([part[i] for part in cut] for i in (0, 1))
    return {
        "detect": find,
        "align": seconds(lambda: [peers.align(picture, five) for five in points]),
        "blend": seconds(lambda: peers.paste(picture, crops, matrices), runs=3),
    }


def main() -> None:
    source = scene()
    picture = torch.from_numpy(source).float()[None] / 255
    faces = detect(picture)
    rows = {"peers, 8 bit": theirs(source, [face.points.numpy() for face in faces])}
    alpha = torch.cat([picture, torch.ones_like(picture[..., :1])], -1)
    rows["Kintsugi, float32"] = ours(picture)
    rows["Kintsugi, float32 with alpha"] = ours(alpha)
    rows["Kintsugi, float16"] = ours(picture.half())
    total = sum(rows["peers, 8 bit"].values())
    paste = total - rows["peers, 8 bit"]["detect"]
    lines = [
        "# Detect, align and blend",
        "",
        f"{WIDTH} x {HEIGHT} pixels, {FACES} faces, seconds (median), {torch.get_num_threads()} "
        "threads, one run. Made by `python -m kintsugi.benchmarks.pipeline`.",
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
