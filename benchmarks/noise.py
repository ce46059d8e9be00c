"""Measures what taking noise down first is worth: `python -m kintsugi.benchmarks.noise`.

Photographs of new people get noise of several sorts and go through the built-in restorer alone, and
through "auto", which first takes strong noise down (`stages/denoise.py`). The table goes to
`benchmarks/results/noise.md`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ..stages.restore import restore
from .auto import as_crops, as_pictures, offline
from .people import asked
from .restoration import Judge, Pictures

#: Adds noise of one sort to a face, of a deviation.
Change = Callable[[NDArray, float, np.random.Generator], NDArray]

#: Deviations of the noise, of 255.
DEVIATIONS = (6.0, 12.0, 25.0, 45.0)

#: Quality of the coding of noise that was coded.
QUALITY = 60

HEAD = """# Noise

{count} photographs of validation people, aligned 256 px faces, with Gaussian noise: of its own in
red, green and blue; the same in all; of grains some three pixels wide; coarse and three times as
loud in the two opponent colours as in brightness, as of small sensors; coded as JPEG of quality
{quality}. PSNR in dB and likeness (MobileFaceNet cosine to the clean face), mean over pictures.
Classical: non-local means of that deviation (OpenCV). "Taken down": of the faces, by auto. Written
by `python -m kintsugi.benchmarks.noise`.

| noise | of 255 | noisy | classical | restorer | auto | taken down |
|---|---:|---|---|---|---|---:|
"""


def main() -> None:
    people = asked(__doc__)
    clean = people.clean
    judge, wanted = people.judge(clean)
    text = HEAD.format(count=len(clean), quality=QUALITY)
    for name, change in SORTS.items():
        for deviation in DEVIATIONS:
            cells = row(clean, change, deviation, judge, wanted)
            text += f"| {' | '.join([name, f'{deviation:g}', *cells])} |\n"
            print(text.splitlines()[-1], flush=True)
    (Path(__file__).parent / "results" / "noise.md").write_text(text, encoding="utf-8")


def row(
    clean: Pictures, change: Change, deviation: float, judge: Judge, wanted: NDArray
) -> list[str]:
    """The cells of one sort and strength."""
    rng = np.random.default_rng(9)
    noisy = np.stack([change(face, deviation, rng) for face in clean])
    crops, host = as_crops(noisy), offline()
    plain = [cv2.fastNlMeansDenoisingColored(p, None, deviation, deviation) for p in noisy]
    alone = restore(crops, model="kintsugi-restorer", fidelity=1.0, host=host)
    auto = restore(crops, host=host)
    results = (noisy, np.stack(plain), as_pictures(alone.crops), as_pictures(auto.crops))
    shown = [judge(each, wanted)[:, [0, 2]].mean(0) for each in results]
    down = np.mean([plan.noise is not None for plan in auto.plans])
    return [*(f"{psnr:.2f} / {like:.3f}" for psnr, like in shown), f"{down:.0%}"]


def _field(shape: tuple[int, ...], grain: float, rng: np.random.Generator) -> NDArray:
    noise = rng.standard_normal(shape).astype(np.float32)
    if grain:
        noise = cv2.GaussianBlur(noise, (0, 0), grain).reshape(shape)
    return noise / noise.std()


def _added(face: NDArray, noise: NDArray, deviation: float) -> NDArray:
    return np.clip(np.rint(face + deviation * noise), 0, 255).astype(np.uint8)


def colour(face: NDArray, deviation: float, rng: np.random.Generator) -> NDArray:
    """Noise of its own in each channel."""
    return _added(face, _field(face.shape, 0, rng), deviation)


def grey(face: NDArray, deviation: float, rng: np.random.Generator) -> NDArray:
    """The same noise in all channels."""
    return _added(face, _field((*face.shape[:2], 1), 0, rng), deviation)


def coarse(face: NDArray, deviation: float, rng: np.random.Generator) -> NDArray:
    """The same, in grains."""
    return _added(face, _field((*face.shape[:2], 1), 1.2, rng), deviation)


def sensor(face: NDArray, deviation: float, rng: np.random.Generator) -> NDArray:
    """Coarse noise, mostly of the colours; the deviation is that of each of the two."""
    planes = cv2.cvtColor(face, cv2.COLOR_RGB2YCrCb)
    noise = _field(face.shape, 1.2, rng) * (1 / 3, 1.0, 1.0)
    return cv2.cvtColor(_added(planes, noise, deviation), cv2.COLOR_YCrCb2RGB)


def coded(face: NDArray, deviation: float, rng: np.random.Generator) -> NDArray:
    """Noise of its own in each channel, coded."""
    noisy = np.ascontiguousarray(colour(face, deviation, rng)[..., ::-1])
    data = cv2.imencode(".jpg", noisy, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1]
    return cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1]


SORTS: dict[str, Change] = {
    "colour": colour,
    "grey": grey,
    "grains": coarse,
    "of the colours": sensor,
    "colour, coded": coded,
}


if __name__ == "__main__":
    main()
