"""FaceDetect on real portraits with the detector of the pack: sizes, angles, choices, bad input."""

from __future__ import annotations

import functools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from kintsugi import samples
from kintsugi.stages import face_search, pyramid
from kintsugi.stages.face_detect import detect
from kintsugi.stages.face_order import parse_selection
from kintsugi.stages.host import Host
from kintsugi.stages.nms import overlap, suppress


@functools.cache
def host() -> Host:
    return Host()


@functools.cache
def portrait(name: str) -> torch.Tensor:
    """(1, H, W, 3) of "collins" or "hopper"."""
    try:
        picture = samples.portraits()[name]
    except samples.SamplesMissingError as error:
        pytest.skip(str(error))
    return torch.from_numpy(np.array(picture))[None].float() / 255


@functools.cache
def face_of(name: str):
    (face,) = surest(portrait(name))
    return face


def surest(image):
    return find(image, order="confidence", count=1)


def find(image, **settings):
    return detect(image, host=host(), **settings)


def resized(image, scale: float):
    planes = image.permute(0, 3, 1, 2)
    size = [round(side * scale) for side in planes.shape[-2:]]
    small = F.interpolate(planes, size=size, mode="bicubic", antialias=True)
    return small.clamp(0, 1).permute(0, 2, 3, 1)


def row_of_three():
    """(1, 220, 640, 3): Hopper, Collins and Hopper again, each smaller than the one before."""
    canvas = torch.full((1, 220, 640, 3), 0.4)
    for name, height, left in (("hopper", 200, 10), ("collins", 150, 250), ("hopper", 90, 480)):
        small = resized(portrait(name), height / portrait(name).shape[1])
        canvas[:, 10 : 10 + small.shape[1], left : left + small.shape[2]] = small
    return canvas


@pytest.mark.parametrize("name", ["collins", "hopper"])
def test_one_upright_face(name):
    face = face_of(name)
    left, right, nose, left_mouth, right_mouth = face.points.tolist()
    assert left[0] < nose[0] < right[0] and left_mouth[0] < right_mouth[0]
    assert max(left[1], right[1]) < nose[1] < min(left_mouth[1], right_mouth[1])
    x0, y0, x1, y1 = face.box.tolist()
    assert all(x0 < x < x1 and y0 < y < y1 for x, y in face.points.tolist())
    assert 0.5 <= face.score <= 1 and (face.id, face.frame) == (0, 0)


@pytest.mark.parametrize("quarters", [1, 2, 3])
@pytest.mark.parametrize("name", ["collins", "hopper"])
def test_a_turned_picture_has_the_same_face_turned(name, quarters):
    picture = portrait(name)
    faces = surest(torch.rot90(picture, quarters, (1, 2)))
    points, side = face_of(name).points, picture.shape[1:3]
    for _ in range(quarters):  # counter-clockwise: x' = y, y' = width - 1 - x
        points = torch.stack([points[:, 1], side[1] - 1 - points[:, 0]], dim=1)
        side = side[::-1]
    eyes = float((points[0] - points[1]).norm())
    assert float((faces[0].points - points).norm(dim=1).mean()) < 0.1 * eyes


@pytest.mark.parametrize("degrees", [30, 135, -60])
def test_any_angle_is_found(degrees):
    picture = portrait("collins").permute(0, 3, 1, 2)
    turn = math.radians(degrees)
    theta = torch.tensor(
        [[math.cos(turn), -math.sin(turn), 0.0], [math.sin(turn), math.cos(turn), 0.0]]
    )[None]
    grid = F.affine_grid(theta, list(picture.shape), align_corners=False)
    turned = F.grid_sample(picture, grid, padding_mode="border", align_corners=False)
    (face,) = surest(turned.permute(0, 2, 3, 1))
    middle = (picture.shape[-1] - 1) / 2
    want = (face_of("collins").points - middle) @ theta[0, :, :2] + middle
    eyes = float((want[0] - want[1]).norm())
    assert float((face.points - want).norm(dim=1).mean()) < 0.15 * eyes


def sized(name: str, side: float) -> float:
    """The scale at which the portrait's face has this side."""
    return side / math.sqrt(face_of(name).width * face_of(name).height)


def test_nine_of_ten_faces_of_about_twelve_pixels_are_found():
    found = [
        bool(len(find(resized(portrait(name), sized(name, 11 + step / 4)))))
        for name in ("hopper", "collins")
        for step in range(13)
    ]
    assert sum(found) >= 0.9 * len(found)


@pytest.mark.parametrize("side", [13, 24, 60, 400, 1100])
def test_faces_of_every_size(side):
    scale = sized("hopper", side)
    faces = surest(resized(portrait("hopper"), scale))
    want = (face_of("hopper").points + 0.5) * scale - 0.5
    eyes = float((want[0] - want[1]).norm())
    assert float((faces[0].points - want).norm(dim=1).mean()) < max(0.12 * eyes, 1.0)


@pytest.mark.parametrize("scale", [0.5, 1, 4])
def test_a_face_that_fills_the_picture(scale):
    x0, y0, x1, y1 = (round(v) for v in face_of("hopper").box.tolist())
    close = resized(portrait("hopper")[:, y0:y1, x0:x1], scale)
    faces = surest(close)
    face = torch.tensor([[-0.5, -0.5, close.shape[2] - 0.5, close.shape[1] - 0.5]])
    assert float(overlap(faces[0].box[None], face)) > 0.6


def test_a_batch_is_its_pictures_one_by_one():
    both = torch.cat([row_of_three(), torch.zeros(1, 220, 640, 3), row_of_three().flip(2)])
    faces = find(both)
    assert [face.id for face in faces] == list(range(len(faces)))
    assert [face.frame for face in faces] == [0, 0, 0, 2, 2, 2]
    single = find(both[2:])
    for got, want in zip(faces.faces[3:], single, strict=True):
        torch.testing.assert_close(got.box, want.box, atol=0.05, rtol=0)
    assert (faces.frames, faces.height, faces.width) == (3, 220, 640)


def test_same_input_same_bits():
    one, other = find(row_of_three()), find(row_of_three())
    assert all(torch.equal(a.points, b.points) for a, b in zip(one, other, strict=True))
    assert [a.score for a in one] == [b.score for b in other]


def test_alpha_half_precision_and_one_channel():
    picture = portrait("hopper")
    want = face_of("hopper").box
    alpha = torch.cat([picture, torch.zeros_like(picture[..., :1])], dim=-1)
    grey = picture.mean(dim=-1, keepdim=True)
    overshoot = picture * 1.02 - 0.01
    for other in (alpha, picture.half(), picture.double(), grey, overshoot):
        (face,) = surest(other)
        assert float(overlap(face.box[None], want[None])) > 0.75


def test_orders_selection_count_and_sizes():
    picture = row_of_three()
    assert [round(f.box[0].item()) // 230 for f in find(picture, order="left to right")] == [
        0,
        1,
        2,
    ]
    largest = [f.width * f.height for f in find(picture)]
    assert largest == sorted(largest, reverse=True)
    sure = [f.score for f in find(picture, order="confidence")]
    assert sure == sorted(sure, reverse=True)
    tops = [f.box[1].item() + f.box[3].item() for f in find(picture, order="top to bottom")]
    assert tops == sorted(tops)
    assert 230 < find(picture, order="nearest the centre")[0].box[0] < 400

    every = find(picture, order="left to right")
    last = find(picture, order="left to right", selection="2")
    assert len(last) == 1 and torch.equal(last[0].box, every[2].box) and last[0].id == 0
    assert len(find(picture, selection="0, 1-2")) == 3
    assert len(find(picture, selection="7")) == 0
    assert len(find(picture, count=2)) == 2
    sides = sorted(math.sqrt(f.width * f.height) for f in every)
    between = (sides[1] + sides[2]) / 2
    assert len(find(picture, min_size=between)) == 1
    assert len(find(picture, max_size=between)) == 2


def test_a_mask_says_where():
    picture = row_of_three()
    mask = torch.zeros(1, 220, 640)
    mask[:, :, :230] = 1
    assert len(find(picture, mask=mask)) == 1
    assert len(find(picture, mask=mask[:, ::11, ::10])) == 1
    assert len(find(picture, mask=mask[0])) == 1
    assert len(find(picture, mask=torch.zeros(1, 64, 64))) == 0
    with pytest.raises(ValueError, match="2 masks for 1"):
        find(picture, mask=torch.ones(2, 220, 640))
    with pytest.raises(ValueError, match="NaN"):
        find(picture, mask=mask / 0)


def test_boxes_ask_for_the_face_inside():
    picture = row_of_three()
    every = find(picture, order="left to right")
    x0, y0, x1, y1 = every[1].box.tolist()
    box = {"x": int(x0) - 6, "y": int(y0) - 4, "width": int(x1 - x0) + 9, "height": int(y1 - y0)}
    (face,) = find(picture, boxes=[box], confidence=1.0)
    assert float(overlap(face.box[None], every[1].box[None])) > 0.7
    assert len(find(picture, boxes=[[]])) == 0
    assert len(find(picture, boxes=[box | {"x": 9000}])) == 0, "a box beside the picture"
    with pytest.raises(ValueError, match="no box"):
        find(picture, boxes=[{"x": 1}])


def test_tiles_change_nothing(monkeypatch):
    picture = row_of_three()
    want = find(picture, order="left to right")
    monkeypatch.setattr(pyramid, "PASS_AREA", 60_000)
    monkeypatch.setattr(pyramid, "TILE", 384)
    got = find(picture, order="left to right")
    assert len(got) == len(want) == 3
    for one, other in zip(got, want, strict=True):
        assert float(overlap(one.box[None], other.box[None])) > 0.85


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (7, 40)])
def test_too_thin_to_hold_a_face(shape):
    assert len(find(torch.rand(1, *shape, 3))) == 0


def test_a_panorama_is_searched_in_pieces():
    wide = torch.full((1, 96, 20_000, 3), 0.5)
    small = resized(portrait("hopper"), 90 / 600)
    for left in (100, 9_000, 19_500):
        wide[:, 3 : 3 + small.shape[1], left : left + small.shape[2]] = small
    areas = []

    class Watching(Host):
        def load(self, name):
            network = host().load(name)
            areas.clear()
            network.stem.register_forward_pre_hook(
                lambda _, args: areas.append(args[0].shape[-1] * args[0].shape[-2])
            )
            return network

    try:
        faces = detect(wide, min_size=12, order="left to right", host=Watching())
    finally:
        host().load("kintsugi-detector").stem._forward_pre_hooks.clear()
    assert [round(face.box[0].item(), -3) for face in faces] == [0, 9_000, 20_000]
    assert max(areas) <= 1.1 * pyramid.PASS_AREA


def test_what_is_no_picture_is_refused():
    bad = torch.zeros(2, 32, 32, 3)
    bad[1, 3, 4, 0] = float("nan")
    with pytest.raises(ValueError, match="picture 1 has 1 values"):
        find(bad)
    with pytest.raises(ValueError, match="uint8"):
        find(torch.zeros(1, 32, 32, 3, dtype=torch.uint8))
    with pytest.raises(ValueError, match="shape"):
        find(torch.zeros(1, 3, 32, 32))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"order": "alphabetical"}, "unknown order"),
        ({"selection": "first"}, "no number of a face"),
        ({"selection": "3-1"}, "no number of a face"),
        ({"confidence": 1.5}, "confidence is 1.5"),
        ({"min_size": -1}, "min_size is -1"),
        ({"min_size": 40, "max_size": 20}, "no face can be both"),
        ({"detector": "none such"}, "unknown detector"),
    ],
)
def test_settings_out_of_range_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        find(torch.zeros(1, 32, 32, 3), **settings)


def test_selections():
    assert parse_selection("  ") is None
    assert parse_selection("0, 2-4") == [range(0, 1), range(2, 5)]


def test_suppression_is_the_greedy_one():
    generator = torch.Generator().manual_seed(1)
    corners = torch.rand(1500, 2, generator=generator) * 100
    boxes = torch.cat([corners, corners + 5 + 20 * torch.rand(1500, 2, generator=generator)], 1)
    scores = torch.rand(1500, generator=generator)
    shared = overlap(boxes, boxes)
    kept: list[int] = []
    for index in scores.argsort(descending=True).tolist():
        if not kept or float(shared[index, kept].max()) <= 0.4:
            kept.append(index)
    assert suppress(boxes, scores, 0.4).tolist() == kept


def test_turning_upright_undoes_a_turn():
    face = face_of("hopper")
    faces = face_search.Candidates(
        face.box[None], torch.tensor([face.score]), face.points.flip(0)[[4, 3, 2, 1, 0]][None]
    )
    matrix = face_search.upright(faces, 96, 48.0)[0]
    eyes = (face.points[:2].double() @ matrix[:, :2].T + matrix[:, 2])[:2]
    assert abs(float(eyes[0, 1] - eyes[1, 1])) < 0.15 * float(eyes[1, 0] - eyes[0, 0])
    assert float(torch.linalg.det(matrix[:, :2])) > 0


def test_every_run_asks_the_detector_that_is_named():
    class AskedError(Exception):
        pass

    class Clerk(Host):
        def load(self, name):
            raise AskedError(name)

    clerk, picture = Clerk(), torch.rand(1, 64, 64, 3)
    for named, meant in (
        ("auto", "kintsugi-detector"),
        ("retinaface-resnet50", "retinaface-resnet50"),
        ("yunet", "yunet"),
        ("auto", "kintsugi-detector"),
    ):
        with pytest.raises(AskedError, match=f"^{meant}$"):
            detect(picture, detector=named, host=clerk)


def test_a_picture_of_12_megapixels_is_looked_at_small(monkeypatch):
    """Peers take two minutes for one: faces of a hundredth of its side need no full resolution."""
    asked = []
    ask = face_search.ask

    def watched(network, card, pixels, device):
        asked.append(pixels.shape[0] * pixels.shape[-2] * pixels.shape[-1])
        return ask(network, card, pixels, device)

    monkeypatch.setattr(face_search, "ask", watched)
    assert len(find(torch.full((1, 3008, 4000, 3), 0.5))) == 0
    assert sum(asked) < 0.2 * 3008 * 4000
