"""The wire format: what it takes, what it refuses and how it says so."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from faces_for_tests import place

from kintsugi.stages.faces import SCHEMES, Crop, Faces


@pytest.fixture
def face():
    return place(100, 100, [(50, 50, 80, 0)])[0]


@pytest.mark.parametrize("value", (float("nan"), float("inf"), -float("inf"), 1e30))
@pytest.mark.parametrize("what", ("box", "points", "landmarks"))
def test_places_that_are_nowhere_are_named(face, what, value):
    many = torch.zeros(SCHEMES["ibug68"], 2)
    face = replace(face, id=7, landmarks=many, scheme="ibug68")
    wrong = getattr(face, what).clone()
    wrong.view(-1)[1] = value
    with pytest.raises(ValueError, match=f"{what} of face 7: .* no place"):
        replace(face, **{what: wrong})


def test_a_score_is_a_number(face):
    with pytest.raises(ValueError, match="score of face 0 is nan"):
        replace(face, score=float("nan"))


@pytest.mark.parametrize(
    ("matrix", "size", "say"),
    (
        ([[float("nan"), 0, 0], [0, 1, 0]], 64, "Crop.matrix: nan is no place"),
        ([[0, 0, 5], [0, 0, 5]], 64, "no inverse"),
        ([[1, 2, 0], [2, 4, 0]], 64, "no inverse"),
        ([[1, 0, 0], [0, 1, 0]], 0, "Crop.size is 0"),
        ([[1, 0, 0], [0, 1, 0]], 2.5, "Crop.size is 2.5"),
    ),
)
def test_a_crop_has_a_way_back(matrix, size, say):
    with pytest.raises(ValueError, match=say):
        Crop(matrix, size, "ffhq")


def test_other_shapes_are_refused(face):
    with pytest.raises(ValueError, match=r"points of face 0 has shape \(4, 2\)"):
        replace(face, points=face.points[:4])
    with pytest.raises(ValueError, match="unknown scheme"):
        replace(face, landmarks=face.points, scheme="five")
    with pytest.raises(ValueError, match="together or not at all"):
        replace(face, scheme="ibug68")


def test_a_face_is_in_one_of_the_pictures(face):
    with pytest.raises(ValueError, match="in frame 3 of 2"):
        Faces((replace(face, frame=3),), 2, 100, 100)


def test_matrices_need_crops(face):
    assert Faces((), 1, 100, 100).matrices().shape == (0, 2, 3)
    with pytest.raises(ValueError, match="no crop; run LandmarkAlign"):
        Faces((face,), 1, 100, 100).matrices()
