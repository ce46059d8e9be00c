"""Artefacts of a restoration that show where the original shines through."""

from __future__ import annotations

import pytest
import torch
from faces_for_tests import place

from kintsugi.stages import artefacts, geometry

SIZE = 256
FACE = place(SIZE, SIZE, [(SIZE / 2, SIZE / 2, SIZE, 0)])[0]
MATRIX = torch.eye(3)[:2]
EYES = [tuple(round(value) for value in point) for point in FACE.points[:2].tolist()]


def drawn(brows: int = 0, gaze: tuple[int, int] = (0, 0)) -> torch.Tensor:
    """A face of brows, moved down by some pixels, and pupils, moved to the right by some."""
    picture = torch.full((1, 3, SIZE, SIZE), 0.7)
    for (x, y), right in zip(EYES, gaze, strict=True):
        top = y - 18 + brows
        picture[..., top : top + 5, x - 14 : x + 15] = 0.3
        picture[..., y - 2 : y + 3, x - 2 + right : x + 3 + right] = 0.1
    return picture


def compared(before: torch.Tensor, after: torch.Tensor):
    planes = artefacts.features((before, after))
    return (
        artefacts.brows_moved(FACE, MATRIX, SIZE, planes),
        artefacts.gaze_parted(FACE, MATRIX, SIZE, planes),
    )


def test_a_face_that_is_the_same_has_neither():
    assert compared(drawn(), drawn()) == (0.0, False)


@pytest.mark.parametrize("pixels", [-8, 8])
def test_brows_that_moved_are_measured_up_and_down(pixels):
    shift, parted = compared(drawn(), drawn(brows=pixels))
    assert shift == pytest.approx(pixels / SIZE, abs=1.5 / SIZE) and not parted


def test_eyes_that_look_apart_are_told_but_not_eyes_that_look_aside():
    assert compared(drawn(), drawn(gaze=(-6, 6)))[1]
    assert not compared(drawn(), drawn(gaze=(6, 6)))[1]
    assert not compared(drawn(gaze=(-6, 6)), drawn())[1]


def test_what_lies_beyond_the_crop_is_not_compared():
    matrix = geometry.compose(torch.tensor([[1.0, 0, 0], [0, 1, -100]]), MATRIX)
    planes = artefacts.features((drawn(), drawn(brows=8, gaze=(-6, 6))))
    assert artefacts.brows_moved(FACE, matrix, SIZE, planes) == 0
    assert not artefacts.gaze_parted(FACE, matrix, SIZE, planes)
