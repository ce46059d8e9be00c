"""The blind degradation model: a clean face in, a damaged one and the record of the damage out.

High-order degradation after Real-ESRGAN (Wang et al. 2021, arXiv 2107.10833) and BSRGAN (Zhang et
al. 2021, arXiv 2103.14006): blur, downsampling, noise and JPEG in random order, in two passes,
where the later steps act on the shrunken picture. To these come the damages of old prints and of
hidden faces: pixelation, scratches, holes, fading, colour casts, greyscale and sepia.

Everything is drawn from one numpy Generator: same picture, same generator state, same bits.

Convention: pictures are (H, W, 3) uint8 RGB, grey levels 0..255, lengths in pixels of the full-size
crop even where a step worked on a shrunken picture.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from .blur_kernels import disc_kernel, gaussian_kernel, motion_kernel
from .damage_record import Record, Step
from .print_damage import cast_colour, drop_colour, fade, holes, scratches

__all__ = ["STRENGTHS", "Record", "Step", "Strength", "compress", "degrade", "pixelate"]

Picture = NDArray[np.uint8]
Range = tuple[float, float]


@dataclass(frozen=True)
class Strength:
    """Ranges of one strength; every `p_` is the chance of that damage, ranges as in Step.

    passes: how many passes of (blur, downsample, noise, JPEG); each range holds for the first pass,
        the second draws from its milder half.
    factor: of the first pass; both passes together never exceed its upper end.
    """

    passes: int
    p_step: float
    sigma: Range
    motion: Range
    factor: Range
    noise: Range
    quality: Range
    p_pixelate: float
    block: Range
    p_scratches: float
    scratch_count: Range
    p_holes: float
    hole_share: Range
    p_fade: float
    contrast: Range
    p_cast: float
    gain: float
    p_grey: float


#: Light is what a phone or a messenger does, heavy is a thumbnail of an old print.
STRENGTHS: dict[str, Strength] = {
    "light": Strength(
        1, 0.7, (0.3, 1.4), (2, 5), (1.0, 2.0), (1, 10), (60, 95),
        0.0, (2, 3), 0.12, (1, 3), 0.05, (0.001, 0.01), 0.12, (0.8, 1.0), 0.15, 0.06, 0.06,
    ),
    "medium": Strength(
        2, 0.8, (0.6, 3.0), (3, 10), (1.5, 4.0), (2, 20), (35, 85),
        0.05, (3, 7), 0.2, (1, 6), 0.15, (0.004, 0.03), 0.2, (0.6, 0.95), 0.2, 0.15, 0.1,
    ),
    "heavy": Strength(
        2, 0.9, (1.5, 4.5), (6, 16), (2.5, 8.0), (4, 28), (20, 70),
        0.08, (6, 12), 0.3, (2, 12), 0.25, (0.01, 0.08), 0.25, (0.45, 0.9), 0.25, 0.25, 0.12,
    ),
}  # fmt: skip

_SHRINK = (cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC)
_ENLARGE = (cv2.INTER_LINEAR, cv2.INTER_CUBIC)


class _Pass:
    """The picture between the steps, which may shrink it, and what it had been."""

    def __init__(self, picture: Picture, rng: Generator, strength: Strength, record: Record):
        self.picture, self.rng, self.strength, self.record = picture, rng, strength, record
        self.side = picture.shape[0]
        self.ease = 1.0  # share of each range that may be drawn, from its mild end

    @property
    def scale(self) -> float:
        """Full-size pixels a pixel of the present picture."""
        return self.side / self.picture.shape[0]

    def draw(self, low: float, high: float) -> float:
        return float(low + (high - low) * self.ease * self.rng.random())

    def blur(self) -> None:
        rng, kind = self.rng, self.rng.random()
        if kind < 0.7:
            major = self.draw(*self.strength.sigma)
            minor = major if rng.random() < 0.5 else major * rng.uniform(0.3, 1.0)
            angle = rng.uniform(0, 180)
            kernel = gaussian_kernel(
                max(major / self.scale, 0.2), max(minor / self.scale, 0.2), angle
            )
            self.record.add("blur", sigma_major=major, sigma_minor=minor, angle=angle)
        elif kind < 0.85:
            length, angle = self.draw(*self.strength.motion), rng.uniform(0, 180)
            kernel = motion_kernel(max(length / self.scale, 1.0), angle)
            self.record.add("motion", length=length, angle=angle)
        else:
            radius = self.draw(*self.strength.sigma) * 1.5
            kernel = disc_kernel(max(radius / self.scale, 0.5))
            self.record.add("defocus", radius=radius)
        self.picture = cv2.filter2D(self.picture, -1, kernel, borderType=cv2.BORDER_REFLECT_101)

    def downsample(self) -> None:
        # The second pass shrinks only what the first left of the range.
        factor = min(self.draw(*self.strength.factor), self.strength.factor[1] / self.scale)
        side = max(8, round(self.picture.shape[0] / factor))
        factor = self.picture.shape[0] / side
        how = _SHRINK[self.rng.integers(len(_SHRINK))]
        self.picture = cv2.resize(self.picture, (side, side), interpolation=how)
        self.record.add("downsample", factor=factor, total=self.scale)

    def noise(self) -> None:
        rng, sigma = self.rng, self.draw(*self.strength.noise)
        grey, poisson = rng.random() < 0.4, rng.random() < 0.4
        shape = (*self.picture.shape[:2], 1 if grey else 3)
        grain = rng.standard_normal(shape, np.float32) * np.float32(sigma)
        if poisson:
            # Shot noise: variance in proportion to the light, sigma at mean grey.
            grain = grain * np.sqrt(self.picture.astype(np.float32) / 127.5)
        noisy = self.picture + grain
        self.picture = np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
        self.record.add("noise", sigma=sigma, poisson=poisson, grey=grey, grain=self.scale)

    def jpeg(self) -> None:
        low, high = self.strength.quality
        quality = round(self.draw(high, low))
        self.picture = compress(self.picture, quality)
        self.record.add("jpeg", quality=quality, block=self.scale)

    def run(self, ease: float) -> None:
        """Blur, downsample, noise and JPEG, each with its chance, in random order."""
        self.ease = ease
        steps: list[Callable[[], None]] = [self.blur, self.downsample, self.noise, self.jpeg]
        for index in self.rng.permutation(len(steps)):
            if self.rng.random() < self.strength.p_step:
                steps[index]()

    def restore_size(self) -> None:
        """Back to the full size, as a viewer or an aligner would."""
        if self.picture.shape[0] != self.side:
            how = _ENLARGE[self.rng.integers(len(_ENLARGE))]
            self.picture = cv2.resize(self.picture, (self.side, self.side), interpolation=how)


def compress(picture: Picture, quality: int) -> Picture:
    """JPEG and back; quality 1..100, 4:2:0 chroma as cameras write it."""
    coded = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.ascontiguousarray(cv2.imdecode(coded, cv2.IMREAD_COLOR)[..., ::-1])


def pixelate(picture: Picture, block: int, window: tuple[int, int, int, int]) -> Picture:
    """Mosaic of squares of `block` px inside the window (x0, y0, x1, y1)."""
    x0, y0, x1, y1 = window
    part = picture[y0:y1, x0:x1]
    small = (max(1, round((x1 - x0) / block)), max(1, round((y1 - y0) / block)))
    coarse = cv2.resize(part, small, interpolation=cv2.INTER_AREA)
    result = picture.copy()
    result[y0:y1, x0:x1] = cv2.resize(coarse, (x1 - x0, y1 - y0), interpolation=cv2.INTER_NEAREST)
    return result


def _pixelate(picture: Picture, rng: Generator, strength: Strength, record: Record) -> Picture:
    side = picture.shape[0]
    block = round(rng.uniform(*strength.block) * side / 256)
    window = (0, 0, side, side)
    if rng.random() < 0.6:
        # A censor covers the face, not the picture: middle of the crop, 40 to 90 % of its side.
        half = rng.uniform(0.2, 0.45, 2) * side
        middle = side / 2 + rng.uniform(-0.08, 0.08, 2) * side
        low, high = np.clip([middle - half, middle + half], 0, side).astype(int)
        window = (low[0], low[1], high[0], high[1])
    share = (window[2] - window[0]) * (window[3] - window[1]) / side**2
    record.add("pixelate", block=block, share=share)
    return pixelate(picture, max(2, block), window)


def degrade(
    picture: Picture, rng: Generator, strength: str | Strength = "medium"
) -> tuple[Picture, Record]:
    """Damage a clean face.

    Args:
        picture: (S, S, 3) uint8 RGB, a square crop of at least 32 px, left as it is. The ranges are
            meant for 256 px crops.
        rng: the only source of chance.
        strength: a name in STRENGTHS, "clean" (nothing happens) or ranges of one's own.

    Returns:
        The damaged picture, same shape and dtype, and the record of what was applied.

    Raises:
        ValueError: not a square uint8 RGB picture, or no such strength.
    """
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        raise ValueError(
            f"degrade takes (S, S, 3) uint8 RGB, got {picture.shape} {picture.dtype}; convert first"
        )
    side = picture.shape[0]
    if picture.shape[1] != side or side < 32:
        raise ValueError(f"degrade takes square crops of 32 px or more, got {picture.shape[:2]}")
    record = Record(np.zeros((side, side), bool))
    if strength == "clean":
        return picture.copy(), record
    if isinstance(strength, str):
        if strength not in STRENGTHS:
            raise ValueError(f"no strength {strength!r}; known: clean, {', '.join(STRENGTHS)}")
        strength = STRENGTHS[strength]

    # The print ages first, then it is scanned, shrunk and compressed; half of the scratches and
    # holes come last instead, sharp, because crops are also cut from scans nobody compressed.
    chance = rng.random(6)
    damages = []
    if chance[0] < strength.p_scratches:
        count = round(rng.uniform(*strength.scratch_count))
        damages.append((rng.random() < 0.5, lambda p: scratches(p, rng, count, record)))
    if chance[1] < strength.p_holes:
        share = rng.uniform(*strength.hole_share)
        damages.append((rng.random() < 0.5, lambda p: holes(p, rng, share, record)))

    if chance[2] < strength.p_grey:
        picture = drop_colour(picture, rng, record)
    if chance[3] < strength.p_fade:
        picture = fade(picture, rng, strength.contrast, record)
    if chance[4] < strength.p_cast:
        picture = cast_colour(picture, rng, strength.gain, record)
    for last, apply in damages:
        if not last:
            picture = apply(picture)

    state = _Pass(picture, rng, strength, record)
    for index in range(strength.passes):
        state.run(ease=1.0 if index == 0 else 0.5)
    if chance[5] < strength.p_pixelate:
        state.restore_size()
        state.picture = _pixelate(state.picture, rng, strength, record)
        if rng.random() < 0.5:
            state.jpeg()
    state.restore_size()
    picture = state.picture
    for last, apply in damages:
        if last:
            picture = apply(picture)
    return np.ascontiguousarray(picture), record
