"""What kintsugi-detector is trained on."""

import csv

import numpy as np
import pytest
from PIL import Image

from kintsugi.training.composites import Photo, read_negatives
from kintsugi.training.points import Crops


def photo(sides: list[float], scores: list[float] | None = None) -> Photo:
    """A grey picture with one face of each side, px."""
    boxes = np.array([[10, 10, 10 + side, 10 + side] for side in sides], np.float32)
    points = np.array([[30, 40], [60, 40], [45, 55], [35, 70], [55, 70]], np.float32)
    levels = [np.full((128, 128, 3), 128, np.uint8)]
    found = None if scores is None else np.array(scores)
    count = len(sides)
    return Photo(levels, boxes, np.tile(points, (count, 1, 1)), np.zeros(count, bool), scores=found)


def test_false_alarms_are_drawn_as_often_as_the_square_of_their_score():
    crops = Crops([photo([40, 40], [0.9, 0.3]), photo([40], [0.3])], 0, 8.0)
    shares = np.diff(crops.shares, prepend=0)
    assert shares / shares[1] == pytest.approx([9, 1, 1])


def test_faces_that_are_too_small_or_uncertain_are_not_drawn():
    faces = photo([40, 12, 60])
    faces.uncertain[2] = True
    crops = Crops([faces], 0, 20.0)
    assert len(crops.faces) == len(crops.shares) == 1
    crop, points = crops.make()
    assert crop.ndim == 3 and crop.dtype == np.uint8 and points.shape == (5, 2)


def test_what_is_kept_for_measuring_is_not_trained_on(tmp_path):
    rows = [
        ("a.jpg", "negatives", "A", ""),
        ("hard.jpg", "negatives", "A", "hard negative: the teacher fires here"),
        ("b.jpg", "negatives", "B", ""),
        ("face.jpg", "train", "A", ""),
    ]
    others = tmp_path / "others"
    others.mkdir()
    for index, name in enumerate([*(row[0] for row in rows), "others/more.jpg"]):
        Image.new("RGB", (64, 64), (40 * index,) * 3).save(tmp_path / name)
    with (tmp_path / "manifest.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("file", "split", "licence_class", "note"))
        writer.writerows(rows)
    for given, tones in ((None, [0]), (others, [0, 160])):
        read = read_negatives(tmp_path, given)
        assert [int(each.levels[0].mean()) for each in read] == tones
