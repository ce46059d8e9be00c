"""Measures what taking the dots of a print out is worth: `python -m kintsugi.benchmarks.printed`.

Photographs of new people are printed in dots and go through the built-in restorer alone, and
through "auto", which first takes the dots out (`stages/screen.py`). The table goes to
`benchmarks/results/printed.md`.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from ..stages import screen
from ..stages.colour import luma
from ..stages.restore import restore
from .auto import as_crops, as_pictures, offline
from .people import asked
from .restoration import Judge, Pictures

#: How far the dots lie apart, px of the 256 px crop, and how much of them shows beside the picture.
PERIODS, DEPTHS = (2.8, 3.5, 4.5, 6.0, 8.0), (1.0, 0.3)

#: Deviation of the noise over the print, of 255.
NOISE = 3.0

#: Deviations of the blur that the classical way tries, in shares of the distance of the dots; the
#: best of them counts.
BLURS = (0.25, 0.35, 0.45)

HEAD = """# Print

{count} photographs of validation people, aligned 256 px faces in grey, printed as dots on a lattice
in any direction, with Gaussian noise of {noise:g} of 255. "Shows": of the dots, beside the
unprinted picture. PSNR in dB and likeness (MobileFaceNet cosine to the clean face) of the
brightness, mean over pictures. "Blur": Gaussian, of the deviation that is best of {blurs} of the
distance of the dots. "Dots out": `stages/screen.py` alone. "Found": of the printed faces. Written
by `python -m kintsugi.benchmarks.printed`.

| dots, px | shows | printed | blur | restorer | dots out | auto | found |
|---:|---:|---|---|---|---|---|---:|
"""


def main() -> None:
    people = asked(__doc__)
    clean = as_pictures(in_grey(as_crops(people.clean)))
    judge, wanted = people.judge(clean)
    blurs = ", ".join(f"{share:g}" for share in BLURS)
    text = HEAD.format(count=len(clean), noise=NOISE, blurs=blurs)
    for depth in DEPTHS:
        for period in PERIODS:
            cells = row(clean, period, depth, judge, wanted)
            text += f"| {' | '.join([f'{period:g}', f'{depth:.0%}', *cells])} |\n"
            print(text.splitlines()[-1], flush=True)
    every = as_crops(people.every)
    found = sum(one is not None for one in screen.find(every.permute(0, 3, 1, 2)))
    text += f"\nOf the {len(every)} clean validation crops dots are found in {found}.\n"
    (Path(__file__).parent / "results" / "printed.md").write_text(text, encoding="utf-8")


def in_grey(crops: torch.Tensor) -> torch.Tensor:
    """(N, S, S, 3), the brightness alone."""
    return luma(crops.permute(0, 3, 1, 2)).permute(0, 2, 3, 1).expand(-1, -1, -1, 3)


def row(clean: Pictures, period: float, depth: float, judge: Judge, wanted: NDArray) -> list[str]:
    """The cells of one distance of the dots."""
    rng = np.random.default_rng(7)
    crops = as_crops(np.stack([printed(face, period, depth, rng) for face in clean]))
    screens = screen.find(crops.permute(0, 3, 1, 2))
    plain = crops.clone()
    for crop, found in zip(plain, screens, strict=True):
        if found:
            crop.copy_(screen.remove(crop.permute(2, 0, 1), found).permute(1, 2, 0))
    alone = restore(crops, model="kintsugi-restorer", fidelity=1.0, host=offline()).crops
    auto = restore(crops, host=offline()).crops
    blurs = (
        as_crops(
            np.stack([cv2.GaussianBlur(p, (0, 0), share * period) for p in as_pictures(crops)])
        )
        for share in BLURS
    )
    shown, *blurred, alone, plain, auto = (
        judge(as_pictures(in_grey(each)), wanted)[:, [0, 2]].mean(0)
        for each in (crops, *blurs, alone, plain, auto)
    )
    best = max(blurred, key=lambda figures: figures[1])
    cells = [f"{psnr:.2f} / {like:.3f}" for psnr, like in (shown, best, alone, plain, auto)]
    return [*cells, f"{np.mean([one is not None for one in screens]):.0%}"]


def printed(face: NDArray, period: float, depth: float, rng: np.random.Generator) -> NDArray:
    """A face printed in dots, of which `depth` shows, and noise."""
    side, fine = face.shape[0], 4
    turn, shift = rng.uniform(0, np.pi / 2), rng.uniform(0, 2 * np.pi, 2)
    y, x = ((np.mgrid[: fine * side, : fine * side] + 0.5) / fine) * (2 * np.pi / period)
    waves = np.cos(x * np.cos(turn) + y * np.sin(turn) + shift[0])
    waves += np.cos(y * np.cos(turn) - x * np.sin(turn) + shift[1])
    large = cv2.resize(face[..., 0], (fine * side,) * 2, interpolation=cv2.INTER_CUBIC)
    dots = torch.from_numpy(large / 255 > waves / 4 + 0.5).float()[None, None]
    dots = F.avg_pool2d(dots, fine)[0, 0].numpy()[..., None] * 255
    values = face + depth * (dots - face) + rng.normal(0, NOISE, (side, side, 1))
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


if __name__ == "__main__":
    main()
