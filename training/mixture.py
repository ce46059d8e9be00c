"""Faces damaged in ways that can be measured, with what can still be measured of each damage.

The building blocks are those of degradations.py; here the photograph is followed from the scene to
the crop, and the labels are what is left at the end: noise that a later blur, reduction or coder
took away does not count, nor a blur that a stronger one hides, nor a scratch that was blurred out
of sight. `present` is 1, 0 or NaN, where a damage was drawn that nobody could tell, or not with
certainty; NaN is neither trained nor counted.

The order is that of a photograph: light, print, scratches, lens and motion, reduction to the size
of the picture (some turned and shifted, as an aligner finds it, clean ones too), noise, coding, the
aligner's way back, mosaic, coding, holes. Noise and coding come first instead in a few.

Convention: pictures are (S, S, 3) uint8 RGB; lengths are pixels of the crop; angles are degrees
from the x axis (right) towards the y axis (down).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from kintsugi.stages.degradation_estimate import KINDS
from kintsugi.training.blur_kernels import disc_kernel, gaussian_kernel, motion_kernel
from kintsugi.training.damage_record import Record
from kintsugi.training.degradations import compress, pixelate
from kintsugi.training.print_damage import LUMA, SEPIA, cast_colour, fade, holes, scratches

Picture = NDArray[np.uint8]

#: Sorts of what is missing, and how often each is drawn.
SORTS = {"holes": 0.4, "scratches": 0.35, "writing": 0.17, "stickers": 0.08}

#: Part of each range of strengths that training leaves out, as shares of the range: half of what
#: the benchmark draws lies in it.
GAP = (0.62, 0.7)

#: Ranges of the strengths at 256 px; lengths grow with the crop. True where drawn evenly by
#: logarithm.
RANGES: dict[str, tuple[float, float, bool]] = {
    "blur": (0.8, 5.0, True),
    "motion": (4.0, 20.0, True),
    "resolution": (1.5, 10.0, True),
    "pixelation": (3.0, 16.0, True),
    "noise": (2.5, 30.0, True),
    "jpeg": (85.0, 10.0, False),
    "missing": (0.003, 0.08, True),
    "fading": (0.2, 0.65, False),
    "cast": (0.15, 0.45, False),
    "grey": (0.5, 1.0, False),
    "underexposure": (0.8, 3.5, False),
    "overexposure": (0.6, 2.5, False),
}

#: Strengths beyond the ranges that training also draws, for what is worse must not be told as less;
#: and how often.
BEYOND: dict[str, float] = {
    "blur": 9.0,
    "motion": 36.0,
    "resolution": 13.0,
    "pixelation": 28.0,
    "noise": 75.0,
    "jpeg": 3.0,
    "missing": 0.25,
    "fading": 0.85,
    "cast": 0.7,
    "grey": 1.0,
    "underexposure": 5.0,
    "overexposure": 4.0,
}
WORSE = 0.12

#: Kinds whose strength is a length.
LENGTHS = frozenset({"blur", "motion", "resolution", "pixelation"})

#: Share of the light under which a cell of the heat map counts as two thirds spoilt.
SPOILT = 0.08

#: Share of a pixel that must be covered for it to count as missing: half transparent scratches do,
#: since they have to be filled as well.
COVERED = 0.3

#: What differs by less than this, of 255, from what it covers cannot be seen.
SEEN = 16

#: Share of the crop that must visibly be missing to count.
LEAST_MISSING = 0.0015

#: Mean distance from grey, of 255, under which a photograph is black and white itself.
COLOURLESS = 2.5

#: Cells of the heat map along a side.
CELLS = 32

SQUARES = ((np.arange(256) / 255) ** 2).astype(np.float32)


@dataclass
class Sample:
    """A damaged face and what can be measured of it.

    present, strength: by KINDS; NaN where unknown. angle: degrees, NaN without motion. shot: 0, 1.
    grain: px, NaN without noise. mask: (S, S) bool, what is COVERED in the end. clean: before the
    damage. spoilt: what is missing, of SORTS.
    """

    picture: Picture
    clean: Picture
    mask: NDArray[np.bool_]
    present: dict[str, float] = field(default_factory=lambda: dict.fromkeys(KINDS, 0.0))
    strength: dict[str, float] = field(default_factory=lambda: dict.fromkeys(KINDS, np.nan))
    angle: float = np.nan
    shot: float = np.nan
    grain: float = np.nan
    spoilt: str = ""

    def where(self) -> NDArray[np.float32]:
        """(32, 32) in [0, 1]: 1 - exp(-deviation from the clean face / SPOILT)."""
        change = cv2.LUT(cv2.absdiff(self.picture, self.clean), SQUARES)
        power = cv2.resize(change, (CELLS, CELLS), interpolation=cv2.INTER_AREA).mean(2)
        return 1 - np.exp(-np.sqrt(power) / SPOILT)


def draw(kind: str, zoom: float, rng: Generator, unseen: bool, worse: float = 0.0) -> float:
    """A strength of `kind` for a crop of 256 * zoom px; from the GAP or beside it, or with the
    chance `worse` from BEYOND the range."""
    share = rng.uniform(*GAP) if unseen else rng.random()
    while not unseen and GAP[0] < share < GAP[1]:
        share = rng.random()
    low, high, even = RANGES[kind]
    larger = zoom if kind in LENGTHS else 1.0
    high *= larger
    if worse and rng.random() < worse:
        low, high, share = high, BEYOND[kind] * larger, rng.random()
    return float(low * (high / low) ** share if even else low + (high - low) * share)


def choose(rng: Generator, how: str) -> list[str]:
    """Which kinds come together: how is "clean", "single" or "mixed"."""
    if how == "clean":
        return []
    if how == "single":
        return [str(rng.choice(KINDS))]
    chance = rng.uniform(0.12, 0.45)
    kinds = [kind for kind in KINDS if rng.random() < chance]
    if "underexposure" in kinds and "overexposure" in kinds:
        kinds.remove(str(rng.choice(["underexposure", "overexposure"])))
    if "grey" in kinds and "cast" in kinds:
        kinds.remove("cast")  # grey with a cast is sepia
    return kinds if len(kinds) > 1 else choose(rng, how)


class _Camera:
    """The picture on its way, beside a twin without noise, the field of noise that is left, and
    how far each pixel is covered, if some were."""

    def __init__(self, picture: Picture, cover: NDArray[np.float32] | None):
        self.picture = self.twin = picture
        self.field: NDArray[np.float32] | None = None
        self.cover = cover

    def apply(self, change) -> None:
        """A linear step, `change` of an array to an array."""
        noisy = self.field is not None
        self.picture = change(self.picture)
        self.twin = change(self.twin) if noisy else self.picture
        if noisy:
            self.field = change(self.field)
        if self.cover is not None:
            self.cover = change(self.cover)

    def add_noise(self, sigma: float, shot: bool, grey: bool, grain: float, rng) -> None:
        shape = self.picture.shape[:2]
        small = tuple(max(8, round(side / grain)) for side in shape)
        noise = rng.standard_normal((*small, 1 if grey else 3), np.float32)
        if small != shape:
            noise = cv2.resize(noise, shape[::-1], interpolation=cv2.INTER_CUBIC)
            noise = noise.reshape(*shape, -1) / noise.std()
        if shot:
            noise = noise * np.sqrt(self.picture.astype(np.float32) / 127.5)
            noise /= max(float(noise.std()), 1e-3)
        self.field = np.broadcast_to(noise * np.float32(sigma), self.picture.shape)
        noisy = np.rint(self.picture + self.field)
        self.picture = np.clip(noisy, 0, 255).astype(np.uint8)

    def code(self, quality: int) -> None:
        self.picture = compress(self.picture, quality)
        if self.field is None:
            self.twin = self.picture
            return
        self.twin = compress(self.twin, quality)
        left = self.picture.astype(np.float32) - self.twin
        kept = float((left * self.field).mean() / max(float((self.field**2).mean()), 1e-6))
        self.field = self.field * np.float32(np.clip(kept, 0, 1))


def _filter(kernel):
    return lambda p: cv2.filter2D(p, -1, kernel, borderType=cv2.BORDER_REFLECT_101)


def _light(picture: Picture, stops: float) -> Picture:
    """More or less exposure, in linear light (sRGB)."""
    code = np.arange(256) / 255
    linear = np.where(code <= 0.04045, code / 12.92, ((code + 0.055) / 1.055) ** 2.4) * 2**stops
    linear = linear.clip(0, 1)
    code = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return cv2.LUT(picture, np.rint(code * 255).astype(np.uint8))


def _drop_colour(picture: Picture, amount: float, sepia: bool) -> Picture:
    grey = (picture @ LUMA)[..., None] * (SEPIA if sepia else np.ones(3, np.float32))
    return np.clip(np.rint(picture + amount * (grey - picture)), 0, 255).astype(np.uint8)


def _write(picture: Picture, rng: Generator, record: Record) -> Picture:
    """A line of text over the picture."""
    side = picture.shape[0]
    layer = np.zeros((side, side), np.uint8)
    at = tuple(int(v) for v in rng.uniform(0, 0.8, 2) * side)
    text = "".join(rng.choice(list("abcdefghijkmnoprstuwxyzADEHKLMRST 0123456789"), 12))
    thick = int(rng.integers(1, 4)) * max(1, side // 256)
    size = rng.uniform(0.4, 1.4) * side / 256
    cv2.putText(layer, text, at, int(rng.integers(0, 8)), size, 255, thick, cv2.LINE_AA)
    return _laid(picture, layer, rng, record)


def _stick(picture: Picture, rng: Generator, record: Record) -> Picture:
    """A plain sticker over the picture, square or round and turned anyhow."""
    side = picture.shape[0]
    layer = np.zeros((side, side), np.uint8)
    middle, extent = rng.uniform(0.1, 0.9, 2) * side, rng.uniform(0.05, 0.3, 2) * side
    extent[1] = extent[0] if rng.random() < 0.4 else extent[1]
    turn = 0.0 if rng.random() < 0.3 else float(rng.uniform(0, 180))
    where = (tuple(middle.tolist()), tuple(extent.tolist()), turn)
    if rng.random() < 0.5:
        cv2.ellipse(layer, where, 255, -1, cv2.LINE_AA)
    else:
        cv2.fillPoly(layer, [np.rint(cv2.boxPoints(where)).astype(np.int32)], 255, cv2.LINE_AA)
    return _laid(picture, layer, rng, record)


def _laid(picture: Picture, layer: NDArray[np.uint8], rng: Generator, record: Record) -> Picture:
    """The picture under a layer of one colour."""
    colour = rng.uniform(0, 255, 3) if rng.random() < 0.5 else np.full(3, rng.choice([8.0, 250.0]))
    alpha = layer[..., None].astype(np.float32) / 255
    record.hole_mask |= layer > 255 * COVERED
    return np.rint(picture + alpha * (colour.astype(np.float32) - picture)).astype(np.uint8)


def _spoil(
    picture: Picture, share: float, rng: Generator, record: Record, sort: str = ""
) -> tuple[Picture, str]:
    """Something missing, and of which of SORTS it is; `sort` asks for one."""
    sort = sort or str(rng.choice(list(SORTS), p=[*SORTS.values()]))
    if sort == "holes":
        return holes(picture, rng, share, record), sort
    if sort == "scratches":
        return scratches(picture, rng, int(rng.integers(2, 13)), record, COVERED), sort
    return (_write if sort == "writing" else _stick)(picture, rng, record), sort


def _visible(whole: Picture, picture: Picture, record: Record) -> float:
    """Which share of what is missing can be told from what was there."""
    change = cv2.absdiff(whole, picture)[record.hole_mask]
    return float((change.max(1) > SEEN).mean()) if len(change) else 0.0


def damage(
    clean: Picture,
    kinds: list[str],
    rng: Generator,
    *,
    unseen: bool = False,
    least: float = 1.0,
    worse: float = 0.0,
    sort: str = "",
) -> Sample:
    """Damage a face.

    Args:
        clean: (S, S, 3) uint8 RGB, square, left as it is.
        kinds: of KINDS.
        rng: the only source of chance.
        unseen: draw strengths from the GAP, which training never does.
        least: px of `clean` that carry one real pixel, where it was enlarged; it then always counts
            as damaged in resolution.
        worse: chance that a strength is drawn from BEYOND its range.
        sort: of SORTS, what is missing if anything is; "" draws it.
    """
    side = clean.shape[0]
    zoom = side / 256
    record = Record(np.zeros((side, side), bool))
    sample = Sample(clean, clean, record.hole_mask)
    drawn = {kind: draw(kind, zoom, rng, unseen, worse) for kind in KINDS}
    drawn["resolution"] = max(drawn["resolution"], least)
    if least > 1 and "resolution" not in kinds:
        drawn["resolution"], kinds = least, [*kinds, "resolution"]
    has = {kind: kind in kinds for kind in KINDS}
    if abs(clean - (clean @ LUMA)[..., None]).mean() < COLOURLESS:
        sample.present["grey"], sample.strength["grey"] = 1.0, 1.0
    for kind in kinds:
        sample.present[kind], sample.strength[kind] = 1.0, drawn[kind]

    picture = clean
    if has["underexposure"] or has["overexposure"]:
        kind = "underexposure" if has["underexposure"] else "overexposure"
        picture = _light(picture, drawn[kind] * (-1 if has["underexposure"] else 1))
    if has["grey"]:
        if rng.random() < 0.6:
            sample.strength["grey"] = drawn["grey"] = 1.0
        picture = _drop_colour(picture, drawn["grey"], rng.random() < 0.5)
    if has["fading"]:
        kept = 1 - drawn["fading"]
        picture = fade(picture, rng, (kept, kept), record)
    if has["cast"]:
        picture = cast_colour(picture, rng, drawn["cast"], record)
        sample.strength["cast"] = record.summary()["cast"]
        if sample.strength["cast"] < 0.15:
            sample.present["cast"] = np.nan
    late = rng.random() < 0.5
    cover, visible = None, 0.0
    if has["missing"] and not late:
        whole = picture
        picture, sample.spoilt = _spoil(picture, drawn["missing"], rng, record, sort)
        cover, visible = record.hole_mask.astype(np.float32), _visible(whole, picture, record)

    camera = _Camera(picture, cover)
    factor = side / round(side / drawn["resolution"]) if has["resolution"] else 1.0
    grain, shot = 1.0, rng.random() < 0.4
    if rng.random() < 0.35:
        grain = float(rng.uniform(1.8, 3.5) * max(1, zoom / 1.5))
    noise = (drawn["noise"], shot, grain > 1 or rng.random() < 0.4, grain, rng)
    mixed = len(kinds) > 1
    noise_first = mixed and rng.random() < 0.15
    code_where = "photo" if rng.random() < 0.75 else "crop"
    code_early = mixed and rng.random() < 0.06

    if has["noise"] and noise_first:
        camera.add_noise(*noise)
    if code_early:
        camera.code(int(rng.integers(30, 90)))
        if not has["jpeg"]:
            sample.present["jpeg"] = np.nan
    sigma, length = drawn["blur"] * has["blur"], drawn["motion"] * has["motion"]
    if has["blur"]:
        if rng.random() < 0.65:
            minor = rng.uniform(0.5, 1.0) if rng.random() < 0.4 else 1.0
            major = sigma / np.sqrt((1 + minor**2) / 2)
            kernel = gaussian_kernel(major, major * minor, rng.uniform(0, 180))
        else:
            kernel = disc_kernel(2 * sigma)
        camera.apply(_filter(kernel))
    if has["motion"]:
        sample.angle = float(rng.uniform(0, 180))
        camera.apply(_filter(motion_kernel(length, sample.angle)))

    turn = float(rng.normal(0, 8)) if rng.random() < 0.25 else 0.0
    offset = rng.uniform(-4, 4, 2) if turn else np.zeros(2)
    small = round(side / factor)
    if factor > 1:
        sample.strength["resolution"] = factor
        shrink = (cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC)[rng.integers(3)]
        camera.apply(lambda p: cv2.resize(p, (small, small), interpolation=shrink))
    mosaic_where = "crop"
    if has["pixelation"] and rng.random() < 0.5:
        mosaic_where = "photo"
    mosaic = 0.0

    def cover_with_blocks(side: int, size: float) -> None:
        nonlocal mosaic
        window = _window(side, rng)
        extents = np.array([window[2] - window[0], window[3] - window[1]])
        block = max(2, round(size))
        real = float((extents / np.round(extents / block)).mean())
        sample.strength["pixelation"] = real * (drawn["pixelation"] / size)
        camera.apply(lambda p: pixelate(p, block, window))
        if window[2] - window[0] == side:
            mosaic = sample.strength["pixelation"]

    matrix = cv2.getRotationMatrix2D(((small - 1) / 2, (small - 1) / 2), turn, 1.0)
    matrix[:, 2] += offset / factor
    if turn:
        camera.apply(
            lambda p: cv2.warpAffine(
                p, matrix, (small, small), None, cv2.INTER_LANCZOS4, cv2.BORDER_REFLECT_101
            )
        )
    if has["noise"] and not noise_first:
        camera.add_noise(*noise)
    if mosaic_where == "photo":
        cover_with_blocks(small, drawn["pixelation"] * small / side)
    quality = round(drawn["jpeg"])
    if has["jpeg"] and code_where == "photo":
        camera.code(quality)
    how = (cv2.INTER_LINEAR, cv2.INTER_CUBIC)[rng.integers(2)]
    if turn:
        # Pixel centres: the crop's x lies at (x + 0.5) / factor - 0.5 of the small picture.
        grow = np.array([[1 / factor, 0, 0.5 / factor - 0.5], [0, 1 / factor, 0.5 / factor - 0.5]])
        back = matrix[:, :2] @ grow
        back[:, 2] += matrix[:, 2]
        flags = how | cv2.WARP_INVERSE_MAP
        camera.apply(
            lambda p: cv2.warpAffine(p, back, (side, side), None, flags, cv2.BORDER_REFLECT_101)
        )
    elif factor > 1:
        camera.apply(lambda p: cv2.resize(p, (side, side), interpolation=how))

    if has["pixelation"] and mosaic_where == "crop":
        cover_with_blocks(side, drawn["pixelation"])
    if has["jpeg"] and code_where == "crop":
        camera.code(quality)
    elif has["jpeg"] and mosaic and mosaic_where == "crop":
        sample.present["jpeg"] = np.nan
    picture = camera.picture
    if has["missing"] and late:
        picture, sample.spoilt = _spoil(picture, drawn["missing"], rng, record, sort)
        sample.mask, visible = record.hole_mask, _visible(camera.picture, picture, record)
    elif has["missing"]:
        sample.mask = camera.cover > COVERED

    _forget(sample, sigma, length, factor, mosaic, quality * has["jpeg"])
    if has["noise"]:
        sample.strength["noise"] = left = float(camera.field.std())
        sample.shot, sample.grain = float(shot), grain * (1 if noise_first else factor)
        if left < 2:
            sample.present["noise"] = np.nan
        if left < 3 or noise_first:
            sample.shot = sample.grain = np.nan
    if has["missing"]:
        sample.strength["missing"] = share = float(sample.mask.mean())
        if share * visible < LEAST_MISSING:
            sample.present["missing"] = np.nan
    sample.picture = np.ascontiguousarray(picture)
    return sample


def _window(side: int, rng: Generator) -> tuple[int, int, int, int]:
    """Of a mosaic: the whole crop, or the middle of the face."""
    if rng.random() < 0.4:
        return 0, 0, side, side
    half, middle = rng.uniform(0.2, 0.45, 2), 0.5 + rng.uniform(-0.08, 0.08, 2)
    low, high = (np.clip([middle - half, middle + half], 0, 1) * side).astype(int)
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])


def _forget(
    sample: Sample, sigma: float, length: float, factor: float, mosaic: float, quality: int
) -> None:
    """Mark as unknown what a stronger loss of detail hides.

    All are compared as the deviation of the Gaussian of equal variance: 0.4 px a real pixel for a
    reduction and the way back, length / sqrt(24) for motion.
    """
    reduced, moved = 0.4 * factor * (factor > 1), length / 24**0.5
    # A poor coder hides what is finer than its smallest surviving frequency.
    coded = 0.5 if 0 < quality < 30 else 0.0
    blocked = 0.5 * mosaic
    hidden = {
        "blur": (sigma, np.hypot(reduced, moved), 0.5),
        "motion": (moved, np.hypot(reduced, sigma), 0.5),
        "resolution": (reduced, np.hypot(sigma, moved), 0.5),
    }
    for kind, (own, others, share) in hidden.items():
        if own and (own < share * others or own < coded or own < blocked):
            sample.present[kind] = np.nan
        if kind == "resolution" and 1 < factor < 1.4:
            sample.present[kind] = np.nan
        if not own and (others > 1.5 and blocked > 1.5):
            sample.present[kind] = np.nan
