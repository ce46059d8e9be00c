"""What happens to a print: scratches, holes, fading, colour casts, lost colour.

Part of the degradation model (degradations.py), in the same convention: (S, S, 3) uint8 RGB in, a
new picture out, every step noted in the record, lost content in `record.hole_mask`. Scratches and
holes after "Bringing Old Photos Back to Life" (Wan et al. 2020, arXiv 2004.09484), which draws
them from scans; ours are drawn as curves and blobs.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from .damage_record import Record

Picture = NDArray[np.uint8]

#: Sepia from grey (share of grey in red, green, blue), the usual darkroom tint at mean grey.
SEPIA = np.array([1.10, 0.97, 0.78], np.float32)

#: Rec. 601 luma.
LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def _to_bytes(values: NDArray) -> Picture:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _curve(rng: Generator, side: int, points: int, bend: float) -> NDArray[np.int32]:
    """A smooth open curve across the crop, (points, 2) px."""
    start, end = rng.uniform(-0.1, 1.1, (2, 2)) * side
    t = np.linspace(0, 1, points)[:, None]
    normal = np.array([start[1] - end[1], end[0] - start[0]]) / max(1, np.hypot(*(end - start)))
    wave = np.sin(np.pi * t * rng.uniform(0.5, 2.5) + rng.uniform(0, np.pi)) * bend * side
    walk = np.cumsum(rng.normal(0, 0.004 * side, (points, 1)), 0)
    return np.rint(start + (end - start) * t + (wave + walk) * normal).astype(np.int32)


def scratches(
    picture: Picture, rng: Generator, count: int, record: Record, covered: float = 0.6
) -> Picture:
    """`count` thin curves and as many specks of dust, bright or dark, more or less opaque; what
    they cover by more than `covered` (0..1) counts as a hole."""
    side = picture.shape[0]
    result = picture.astype(np.float32)
    width = int(rng.integers(1, 4))
    for _ in range(count):
        layer = np.zeros((side, side), np.uint8)
        curve = _curve(rng, side, 24, rng.uniform(0, 0.08))
        first, last = sorted(rng.integers(0, 25, 2))
        last = max(last, min(24, first + 6))
        cv2.polylines(
            layer, [curve[first:last]], False, 255, int(rng.integers(1, width + 1)), cv2.LINE_AA
        )
        dust = tuple(int(v) for v in rng.integers(0, side, 2))
        cv2.circle(layer, dust, int(rng.integers(0, 3)), 255, -1, cv2.LINE_AA)
        opacity = rng.uniform(0.4, 1.0)
        colour = rng.uniform(200, 255) if rng.random() < 0.7 else rng.uniform(0, 50)
        alpha = layer[..., None].astype(np.float32) * np.float32(opacity / 255)
        result += alpha * (np.float32(colour) - result)
        record.hole_mask |= alpha[..., 0] > covered
    record.add("scratches", count=count, width=width)
    return _to_bytes(result)


def _blob(rng: Generator, side: int, area: float) -> NDArray[np.uint8]:
    """A hole with a ragged edge of about `area` px: a torn patch, a stain or a strip."""
    layer = np.zeros((side, side), np.uint8)
    if rng.random() < 0.3:
        thickness = max(2, round(area / (0.6 * side)))
        cv2.polylines(layer, [_curve(rng, side, 24, 0.1)], False, 255, thickness)
        return layer
    angles = np.sort(rng.uniform(0, 2 * np.pi, 14))
    radii = np.sqrt(area / np.pi) * rng.uniform(0.6, 1.4, 14)
    squash = rng.uniform(0.5, 1.0)
    outline = np.stack([np.cos(angles) * radii / squash, np.sin(angles) * radii * squash], 1)
    centre = rng.uniform(0.08, 0.92, 2) * side
    cv2.fillPoly(layer, [np.rint(outline + centre).astype(np.int32)], 255)
    return layer


def holes(picture: Picture, rng: Generator, share: float, record: Record) -> Picture:
    """About `share` of the area without content, in one to four holes of one plain colour."""
    side = picture.shape[0]
    count = int(rng.integers(1, 5))
    parts = rng.dirichlet(np.full(count, 2.0)) * share * side**2
    layer = np.zeros((side, side), np.uint8)
    for area in parts:
        layer |= _blob(rng, side, area)
    kind = rng.random()
    if kind < 0.45:
        colour = np.full(3, rng.uniform(225, 255))
    elif kind < 0.65:
        colour = np.full(3, rng.uniform(0, 30))
    else:
        # Paper and glue: anything from grey to brown.
        colour = rng.uniform(90, 230) * np.array([1, rng.uniform(0.85, 1), rng.uniform(0.7, 1)])
    soft = cv2.GaussianBlur(layer, (3, 3), 0.6)[..., None].astype(np.float32) / 255
    mask = soft[..., 0] > 0.5
    result = picture + soft * (colour.astype(np.float32) - picture)
    record.hole_mask |= mask
    record.add("holes", share=mask.mean())
    return _to_bytes(result)


def fade(
    picture: Picture, rng: Generator, contrast: tuple[float, float], record: Record
) -> Picture:
    """Contrast shrinks towards a lifted black, as light does to prints."""
    kept = rng.uniform(*contrast)
    lift = rng.uniform(0.2, 0.9) * (1 - kept) * 255
    record.add("fade", contrast=kept, lift=lift)
    return _to_bytes(picture * np.float32(kept) + np.float32(lift))


def cast_colour(picture: Picture, rng: Generator, gain: float, record: Record) -> Picture:
    """One gain a channel within 1 +- `gain`, the brightness kept."""
    gains = 1 + rng.uniform(-gain, gain, 3)
    gains /= gains @ LUMA
    record.add("cast", red=gains[0], green=gains[1], blue=gains[2])
    return _to_bytes(picture * gains.astype(np.float32))


def drop_colour(picture: Picture, rng: Generator, record: Record) -> Picture:
    """Greyscale, or sepia of random depth."""
    grey = (picture @ LUMA)[..., None]
    if rng.random() < 0.5:
        record.add("grey", amount=1.0)
        return _to_bytes(np.repeat(grey, 3, 2))
    amount = rng.uniform(0.3, 1.0)
    record.add("sepia", amount=amount)
    return _to_bytes(grey * (1 + (SEPIA - 1) * np.float32(amount)))
