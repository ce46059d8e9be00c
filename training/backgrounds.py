"""Other backgrounds behind aligned faces, so that no network learns them by heart.

A few hundred people stand before a few dozen walls and flags, and a network soon knows each of
them. What it then meets behind a new face, above all the white stars of a flag, it takes for holes.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from kintsugi.training.mixture import COLOURLESS
from kintsugi.training.print_damage import LUMA

Picture = NDArray[np.uint8]

#: Where head and hair lie in an aligned crop: middle and half axes of an ellipse, in shares of the
#: side; and the height from which shoulders are kept as well.
HEAD, SHOULDERS = ((0.5, 0.47), (0.37, 0.5)), 0.84

#: Share of the side over which the face fades into the other background.
FADE = 0.02

#: How often the background is that of another face, of a picture without one, or a flag.
SORTS = (0.4, 0.25, 0.35)


def behind(face: Picture, other: Picture, things: list[Picture], rng: Generator) -> Picture:
    """`face` (S, S, 3) before another background.

    Args:
        other: (S, S, 3), another aligned face, whose surroundings may serve.
        things: pictures without a face.
        rng: the only source of chance.
    """
    side = face.shape[0]
    sort = rng.choice(3, p=SORTS)
    if sort == 0:
        scene = other[:, ::-1] if rng.random() < 0.5 else other
    elif sort == 1:
        scene = square(things[rng.integers(len(things))], side, rng)
    else:
        scene = flag(other, rng)
    if abs(face - (face @ LUMA)[..., None]).mean() < COLOURLESS:
        scene = np.repeat(np.rint(scene @ LUMA)[..., None], 3, axis=2)
    y, x = (np.mgrid[:side, :side].astype(np.float32) + 0.5) / side
    (middle_x, middle_y), (wide, high) = HEAD
    away = np.hypot((x - middle_x) / wide, (y - middle_y) / high) - 1
    away = np.minimum(away * min(wide, high), SHOULDERS - y)
    share = np.clip(away / FADE, 0, 1)[..., None]
    return np.rint(face + share * (scene.astype(np.float32) - face)).astype(np.uint8)


def square(whole: Picture, side: int, rng: Generator) -> Picture:
    """A square part of a picture, `side` px large."""
    size = int(rng.uniform(0.3, 1.0) * min(whole.shape[:2]))
    y, x = (int(rng.integers(0, edge - size + 1)) for edge in whole.shape[:2])
    cut = np.ascontiguousarray(whole[y : y + size, x : x + size])
    how = cv2.INTER_AREA if size > side else cv2.INTER_CUBIC
    return cv2.resize(cut, (side, side), interpolation=how)


def flag(scene: Picture, rng: Generator) -> Picture:
    """A cloth with rows of stars that hangs in folds before one or both sides of a scene."""
    side = scene.shape[0]
    cloth = np.empty((side, side, 3), np.float32)
    cloth[:] = (
        rng.uniform((10, 15, 40), (50, 60, 130)) if rng.random() < 0.7 else rng.uniform(0, 140, 3)
    )
    stars = np.zeros((side, side), np.uint8)
    size = rng.uniform(0.02, 0.07) * side
    step, turn = size * rng.uniform(2.2, 3.6), rng.uniform(-0.9, 0.9)
    axes = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    reach = int(1.5 * side / step)
    for row in range(-reach, reach + 1):
        for column in range(-reach, reach + 1):
            place = np.array([column + 0.5 * (row % 2), row * 0.9]) * step @ axes + side / 2
            corners = star(size * rng.uniform(0.85, 1.1), turn + rng.normal(0, 0.15))
            squeezed = corners * (rng.uniform(0.6, 1.0), 1.0)
            points = np.rint((squeezed + place) * 16).astype(np.int32)
            cv2.fillPoly(stars, [points], 255, cv2.LINE_AA, 4)
    cover = stars[..., None] / np.float32(255)
    cloth += cover * (rng.uniform(190, 255) - cloth)
    stripes = rng.random() < 0.5
    y, x = (np.mgrid[:side, :side].astype(np.float32) + 0.5) / side
    if stripes:
        along = np.sin((x * np.cos(turn) + y * np.sin(turn)) * rng.uniform(25, 70))
        red = np.where(along[..., None] > 0, (175, 25, 45), (235, 230, 225))
        cloth = np.where((y > rng.uniform(0.35, 0.8))[..., None], red, cloth)
    # Folds bend the rows and shade the cloth.
    wave = np.sin(x * rng.uniform(8, 40) + y * rng.uniform(-8, 8) + rng.uniform(0, 6))
    bent = rng.uniform(0, 0.03) * side * wave
    cloth = cv2.remap(
        cloth.astype(np.float32),
        x * side - 0.5,
        (y * side - 0.5 + bent).astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    cloth *= (1 + rng.uniform(0, 0.35) * wave)[..., None]
    if rng.random() < 0.6:
        cloth = cv2.GaussianBlur(cloth, (0, 0), rng.uniform(0.3, 1.6) * side / 256)
    edge = rng.uniform(0.1, 0.4)
    hangs = (x < edge) if rng.random() < 0.5 else (x > 1 - edge)
    if rng.random() < 0.3:
        hangs = abs(x - 0.5) > 0.5 - edge
    return np.where(hangs[..., None], np.clip(np.rint(cloth), 0, 255).astype(np.uint8), scene)


def star(radius: float, turn: float) -> NDArray[np.float64]:
    """(10, 2) corners of a star with five points."""
    angles = np.arange(10) * np.pi / 5 + turn
    radii = np.where(np.arange(10) % 2, 0.382 * radius, radius)
    return np.stack([np.sin(angles), -np.cos(angles)], 1) * radii[:, None]
