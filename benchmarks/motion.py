"""Measures what taking blur back is worth: `python -m kintsugi.benchmarks.motion`.

Photographs of new people are moved along straight trails, or seen out of focus, get noise and go
through the built-in restorer alone, and through "auto", which first takes back what
`stages/deblur.py` can measure. The tables go to `benchmarks/results/motion.md`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from ..stages import degradation_estimate
from ..stages.host import Host
from ..stages.restore import restore
from ..stages.strategy import Plan
from ..training.blur_kernels import disc_kernel, gaussian_kernel, motion_kernel
from .auto import as_crops, as_pictures, offline
from .people import asked
from .restoration import Judge, Pictures

#: Gives the cells of one line of a table.
Row = Callable[..., list[str]]

#: Lengths of the trails, px of the 256 px crop, and deviations of the noise, of 255.
LENGTHS, NOISES = (5.0, 18.0), (0.7, 4.0, 10.0)

#: Deviations of the lens blur, px of the 256 px crop; of a disc, half its radius.
WIDTHS = (0.8, 3.5)

#: Quality of the coding after every other picture; the rest is not coded.
QUALITY = 90

HEAD = """# Blur taken back

## Straight motion

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


LENS = """
## Out of focus

The same photographs behind a lens blur, a Gaussian of {low:g} to {high:g} px or a disc as wide, by
turns, with the same noise and coding. "Divided": of the faces.

| noise | damaged | restorer | auto | divided |
|---:|---|---|---|---:|
"""


def main() -> None:
    people = asked(__doc__)
    clean, host = people.clean, offline()
    judge, wanted = people.judge(clean)
    text = HEAD.format(count=len(clean), low=LENGTHS[0], high=LENGTHS[1], quality=QUALITY)
    text += rows(trails, clean, judge, wanted, host)
    text += LENS.format(low=WIDTHS[0], high=WIDTHS[1]) + rows(lens, clean, judge, wanted, host)
    result = Path(__file__).parent / "results" / "motion.md"
    result.write_text(text, encoding="utf-8")


def rows(row: Row, clean: Pictures, judge: Judge, wanted: NDArray, host: Host) -> str:
    """A line for each of NOISES."""
    lines = []
    for noise in NOISES:
        lines.append(f"| {' | '.join([f'{noise:g}', *row(clean, noise, judge, wanted, host)])} |\n")
        print(lines[-1], end="", flush=True)
    return "".join(lines)


def trails(clean: Pictures, noise: float, judge: Judge, wanted: NDArray, host: Host) -> list[str]:
    """The cells of faces that moved."""
    rng = np.random.default_rng(5)
    drawn = [(rng.uniform(*LENGTHS), rng.uniform(0, 180)) for _ in clean]
    crops = blurred(clean, [motion_kernel(*trail) for trail in drawn], noise, rng)
    plans, cells = restored(crops, judge, wanted, host)
    told = [one.finding("motion") for one in degradation_estimate.estimate(crops, host=host)]
    errors = []
    for (length, angle), finding, plan in zip(drawn, told, plans, strict=True):
        if plan.trail:
            off = [abs(length - one) / length for one in (finding.strength, plan.trail.length)]
            turned = [_apart(angle, one) for one in (finding.angle, plan.trail.angle)]
            errors.append([*off, *turned])
    error = np.mean(errors, 0) if errors else np.full(4, np.nan)
    cells += [f"{len(errors) / len(clean):.0%}", f"{error[0]:.0%}", f"{error[1]:.0%}"]
    return [*cells, f"{error[2]:.1f}°", f"{error[3]:.1f}°"]


def lens(clean: Pictures, noise: float, judge: Judge, wanted: NDArray, host: Host) -> list[str]:
    """The cells of faces out of focus."""
    rng = np.random.default_rng(6)
    widths = [np.exp(rng.uniform(*np.log(WIDTHS))) for _ in clean]
    kernels = [
        disc_kernel(2 * width) if number % 4 > 1 else gaussian_kernel(width, width, 0)
        for number, width in enumerate(widths)
    ]
    plans, cells = restored(blurred(clean, kernels, noise, rng), judge, wanted, host)
    return [*cells, f"{np.mean([plan.lens is not None for plan in plans]):.0%}"]


def restored(
    crops: torch.Tensor, judge: Judge, wanted: NDArray, host: Host
) -> tuple[tuple[Plan, ...], list[str]]:
    """What auto did, and the figures of the crops, of the restorer alone and of auto."""
    alone = restore(crops, model="kintsugi-restorer", fidelity=1.0, host=host).crops
    auto = restore(crops, host=host)
    shown = [judge(as_pictures(each), wanted)[:, :3].mean(0) for each in (crops, alone, auto.crops)]
    return auto.plans, [f"{psnr:.2f} / {likeness:.3f}" for psnr, _, likeness in shown]


def blurred(clean: Pictures, kernels: list[NDArray], noise: float, rng) -> torch.Tensor:
    """Crops of faces seen through kernels, with noise, every other one coded."""
    pictures = [
        photographed(face, kernel, noise, rng, coded=bool(number % 2))
        for number, (face, kernel) in enumerate(zip(clean, kernels, strict=True))
    ]
    return as_crops(np.stack(pictures))


def photographed(
    face: NDArray[np.uint8], kernel: NDArray, noise: float, rng, *, coded: bool
) -> NDArray[np.uint8]:
    """A face (S, S, 3) behind a kernel."""
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
