"""Measures what taking straight motion back is worth: `python -m kintsugi.benchmarks.motion`.

Photographs of new people are moved along straight trails, get noise and go through the built-in
restorer alone, and through "auto", which first takes back what `stages/deblur.py` can measure. The
table goes to `benchmarks/results/motion.md`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from ..stages import degradation_estimate
from ..stages.host import Host
from ..stages.restore import restore
from ..training.blur_kernels import motion_kernel
from ..training.data import portraits
from ..training.teachers import Identity
from .auto import as_crops, as_pictures, offline
from .restoration import Judge, Pictures

#: Lengths of the trails, px of the 256 px crop, and deviations of the noise, of 255.
LENGTHS, NOISES = (5.0, 18.0), (0.7, 4.0, 10.0)

#: Quality of the coding after every other picture; the rest is not coded.
QUALITY = 90

HEAD = """# Straight motion

{count} photographs of validation people, aligned 256 px faces, moved along straight trails of
{low:g} to {high:g} px in any direction, with Gaussian noise, every other one coded as JPEG of
quality {quality}. PSNR in dB and likeness (MobileFaceNet cosine to the clean face), mean over
pictures. "Taken back": of
the faces. "Told" and "measured": mean error of the trail's length and angle as DegradationEstimate
tells them and as `stages/deblur.py` measures them, over the faces in which it finds a trail.
Written by `python -m kintsugi.benchmarks.motion`.

| noise | damaged | restorer | auto | taken back | length told | measured | angle told | measured |
|---:|---|---|---|---:|---:|---:|---:|---:|
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/faces"))
    parser.add_argument("--part", type=int, default=3, help="every n-th photograph")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    held = portraits(options.data, "val")
    clean = held.pictures[np.flatnonzero(held.real)[:: options.part]]
    judge = Judge(clean, Identity(options.data))
    wanted, host, rows = judge.embeddings(clean), offline(), []
    for noise in NOISES:
        rows.append(row(clean, noise, judge, wanted, host))
        print(rows[-1], flush=True)
    text = HEAD.format(count=len(clean), low=LENGTHS[0], high=LENGTHS[1], quality=QUALITY)
    result = Path(__file__).parent / "results" / "motion.md"
    result.write_text(text + "\n".join(rows) + "\n", encoding="utf-8")


def row(clean: Pictures, noise: float, judge: Judge, wanted: NDArray, host: Host) -> str:
    """The line of the table for noise of that deviation."""
    rng = np.random.default_rng(5)
    trails = [(rng.uniform(*LENGTHS), rng.uniform(0, 180)) for _ in clean]
    damaged = np.stack(
        [
            moved(face, *trail, noise, rng, coded=bool(number % 2))
            for number, (face, trail) in enumerate(zip(clean, trails, strict=True))
        ]
    )
    crops = as_crops(damaged)
    alone = restore(crops, model="kintsugi-restorer", fidelity=1.0, host=host)
    auto = restore(crops, host=host)
    told = [one.finding("motion") for one in degradation_estimate.estimate(crops, host=host)]
    errors = []
    for (length, angle), finding, plan in zip(trails, told, auto.plans, strict=True):
        if plan.trail:
            off = [abs(length - one) / length for one in (finding.strength, plan.trail.length)]
            turned = [_apart(angle, one) for one in (finding.angle, plan.trail.angle)]
            errors.append([*off, *turned])
    error = np.mean(errors, 0) if errors else np.full(4, np.nan)

    def figures(pictures: Pictures) -> str:
        psnr, _, likeness = judge(pictures, wanted)[:, :3].mean(0)
        return f"{psnr:.2f} / {likeness:.3f}"

    shown = (damaged, as_pictures(alone.crops), as_pictures(auto.crops))
    cells = [f"{noise:g}", *map(figures, shown), f"{len(errors) / len(clean):.0%}"]
    cells += [f"{error[0]:.0%}", f"{error[1]:.0%}", f"{error[2]:.1f}°", f"{error[3]:.1f}°"]
    return f"| {' | '.join(cells)} |"


def moved(
    face: NDArray[np.uint8], length: float, angle: float, noise: float, rng, *, coded: bool
) -> NDArray[np.uint8]:
    """A face (S, S, 3) that moved while it was photographed."""
    kernel = motion_kernel(length, angle)
    face = cv2.filter2D(face.astype(np.float32), -1, kernel, borderType=cv2.BORDER_REFLECT_101)
    face = np.clip(np.rint(face + rng.normal(0, noise, face.shape)), 0, 255).astype(np.uint8)
    if not coded:
        return face
    _, file = cv2.imencode(".jpg", face[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return cv2.imdecode(file, cv2.IMREAD_COLOR)[..., ::-1]


def _apart(one: float, other: float) -> float:
    """Degrees between two directions."""
    return abs((one - other + 90) % 180 - 90)


if __name__ == "__main__":
    main()
