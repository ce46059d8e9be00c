"""Faces picked by hand: what the stored text means, and what it does to other pictures."""

from __future__ import annotations

import json

import pytest
import torch
from skimage import data

from kintsugi.stages.chosen import MOST, Choice, choose, parse
from kintsugi.stages.face_detect import detect
from kintsugi.stages.faces import Face, Faces

WIDTH, HEIGHT = 400, 200

#: Boxes of three faces in one picture, in pixels, well apart.
BOXES = ((20, 20, 60, 70), (150, 40, 210, 110), (300, 100, 380, 190))


def face(box, frame=0, number=0):
    box = torch.tensor(box, dtype=torch.float32)
    points = box[:2] + torch.rand(5, 2, generator=torch.Generator().manual_seed(1))
    return Face(number, frame, box, 0.9, points)


def three(frames=1):
    """Three faces in each picture."""
    faces = [face(box, frame) for frame in range(frames) for box in BOXES]
    return Faces(tuple(faces), frames, HEIGHT, WIDTH)


def shares(box, shift=0.0):
    """A box as the text stores it, moved by `shift` of its own size."""
    x0, y0, x1, y1 = box
    move = shift * (x1 - x0)
    across, down = (x0 + move + 0.5, x1 + move + 0.5), (y0 + 0.5, y1 + 0.5)
    left, right = (value / WIDTH for value in across)
    top, bottom = (value / HEIGHT for value in down)
    return [left, top, right, bottom]


def text(**entry):
    return json.dumps({"0": entry})


def blank(frames=1):
    return torch.zeros(frames, HEIGHT, WIDTH, 3)


@pytest.mark.parametrize("empty", ["", "  \n", "{}"])
def test_an_empty_text_keeps_every_face(empty):
    found = three()
    chosen = choose(blank(), found, empty)
    assert [f.box.tolist() for f in chosen.faces] == [f.box.tolist() for f in found]
    assert chosen.kept == (True,) * 3 and chosen.drawn == (False,) * 3


def test_only_keeps_what_it_names_in_the_order_of_the_faces():
    chosen = choose(blank(), three(), text(only=[shares(BOXES[2]), shares(BOXES[0])]))
    assert [f.box.tolist() for f in chosen.faces] == [list(BOXES[0]), list(BOXES[2])]
    assert [f.id for f in chosen.faces] == [0, 2], "the numbers they have in the picture"
    assert chosen.kept == (True, False, True)
    assert len(chosen.candidates) == 3


def test_without_leaves_out_what_it_names():
    chosen = choose(blank(), three(), text(without=[shares(BOXES[1])]))
    assert chosen.kept == (True, False, True)


def test_only_nothing_keeps_nothing():
    assert len(choose(blank(), three(), text(only=[])).faces) == 0


def test_a_choice_survives_another_order_and_a_moved_box():
    found = three()
    turned = found.with_faces(reversed(found.faces))
    chosen = choose(blank(), turned, text(only=[shares(BOXES[0], 0.2)]))
    assert [f.box.tolist() for f in chosen.faces] == [list(BOXES[0])]


def test_a_choice_survives_another_size_of_the_picture():
    doubled = Faces(
        tuple(face([2 * v + 0.5 for v in box]) for box in BOXES), 1, 2 * HEIGHT, 2 * WIDTH
    )
    picture = torch.zeros(1, 2 * HEIGHT, 2 * WIDTH, 3)
    assert choose(picture, doubled, text(only=[shares(BOXES[1])])).kept == (False, True, False)


def test_a_box_that_fits_no_face_means_none():
    assert choose(blank(), three(), text(without=[[0.9, 0.0, 1.0, 0.2]])).kept == (True,) * 3
    assert choose(blank(), three(), text(only=[[0.9, 0.0, 1.0, 0.2]])).kept == (False,) * 3


def test_one_box_means_one_of_two_overlapping_faces():
    near = (24, 22, 64, 72)
    found = Faces((face(BOXES[0]), face(near)), 1, HEIGHT, WIDTH)
    assert choose(blank(), found, text(only=[shares(near)])).kept == (False, True)


def test_pictures_are_chosen_one_by_one_and_those_beyond_the_batch_are_passed_over():
    picks = json.dumps({"1": {"only": [shares(BOXES[0])]}, "7": {"only": []}})
    chosen = choose(blank(3), three(3), picks)
    assert [f.frame for f in chosen.faces] == [0, 0, 0, 1, 2, 2, 2]


def test_a_drawn_box_without_a_face_becomes_an_upright_one():
    empty = Faces((), 1, HEIGHT, WIDTH)
    (drawn,) = choose(blank(), empty, text(also=[shares((100, 50, 160, 130))])).faces
    torch.testing.assert_close(drawn.box, torch.tensor([100.0, 50.0, 160.0, 130.0]))
    assert drawn.score == 0
    inside = (drawn.points > drawn.box[:2]) & (drawn.points < drawn.box[2:])
    assert bool(inside.all())
    left_eye, right_eye, nose, left_mouth, right_mouth = drawn.points.tolist()
    assert left_eye[0] < nose[0] < right_eye[0] and left_mouth[0] < right_mouth[0]
    assert left_eye[1] < nose[1] < left_mouth[1]


def test_a_drawn_box_on_a_face_that_is_there_keeps_that_face():
    picks = text(only=[], also=[shares(BOXES[1], 0.1)])
    chosen = choose(blank(), three(), picks)
    assert chosen.kept == (False, True, False) and not any(chosen.drawn)


def test_a_drawn_box_finds_the_face_inside_it():
    image = torch.from_numpy(data.astronaut().copy())[None, :400, :400].float() / 255
    (found,) = detect(image)
    share = [float(v + 0.5) / 400 for v in found.box]
    nothing = Faces((), 1, 400, 400)
    (drawn,) = choose(image, nothing, text(also=[share])).faces
    torch.testing.assert_close(drawn.points, found.points, atol=4.0, rtol=0)
    assert drawn.score > 0


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("{", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ("[]", "is a list"),
        ('{"first": {}}', "number pictures from 0"),
        ('{"-1": {}}', "number pictures from 0"),
        ('{"0": []}', "use only, without and also"),
        ('{"0": {"keep": []}}', "use only, without and also"),
        ('{"0": {"only": 3}}', "expected a list of boxes"),
        ('{"0": {"only": [[0, 0, 1]]}}', "four numbers"),
        ('{"0": {"only": [[0, 0, 1, "1"]]}}', "four numbers"),
        ('{"0": {"only": [[0, 0, 1, NaN]]}}', "four numbers"),
        ('{"0": {"only": [[true, 0, 1, 1]]}}', "four numbers"),
        ('{"0": {"also": [[0.5, 0.5, 0.5, 0.9]]}}', "no area"),
        ('{"0": {"also": [[1.5, 0.5, 2.0, 0.9]]}}', "no area"),
        (json.dumps({"0": {"only": [[0, 0, 1, 1]] * (MOST + 1)}}), "are the most"),
    ],
)
def test_a_text_that_cannot_be_read_says_why(wrong, said):
    with pytest.raises(ValueError, match=said):
        parse(wrong)


def test_boxes_are_cut_to_the_picture():
    choice = parse('{"3": {"also": [[-0.2, 0.1, 0.4, 1.7]]}}')[3]
    assert choice == Choice(also=((0.0, 0.1, 0.4, 1.0),))
