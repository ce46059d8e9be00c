"""stages.landmarks: what a network is shown, the way back to the picture, schemes and five points.

A picture whose red is the column and green the row lets a stand-in network find any place exactly.
"""

from __future__ import annotations

import math

import pytest
import torch
from fixed_host import Fixed
from torch import nn

from kintsugi.models import awing_fan, zoo
from kintsugi.stages import geometry
from kintsugi.stages.faces import Face, Faces
from kintsugi.stages.landmark_align import align
from kintsugi.stages.landmarks import FIVE_OF, VIEWS, five_points, landmarks, to_ibug68

HEIGHT, WIDTH = 360, 480

#: Mirror of each WFLW point, from the outlines: jaw, brows, nose, eyes, lips, pupils.
WFLW_MIRROR = (
    *range(32, -1, -1),
    *(46, 45, 44, 43, 42, 50, 49, 48, 47, 37, 36, 35, 34, 33, 41, 40, 39, 38),
    *(51, 52, 53, 54, 59, 58, 57, 56, 55),
    *(72, 71, 70, 69, 68, 75, 74, 73, 64, 63, 62, 61, 60, 67, 66, 65),
    *(82, 81, 80, 79, 78, 77, 76, 87, 86, 85, 84, 83, 92, 91, 90, 89, 88, 95, 94, 93),
    *(97, 96),
)

IBUG_MIRROR = (
    *range(16, -1, -1),
    *range(26, 16, -1),
    *(27, 28, 29, 30, 35, 34, 33, 32, 31),
    *(45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40),
    *(54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65),
)


class Finder(nn.Module):
    """Heat maps that peak where the picture's red and green are `places` (K, 2), in [0, 1]."""

    def __init__(self, places: torch.Tensor):
        super().__init__()
        self.places = nn.Parameter(places)

    def forward(self, image):
        cells = nn.functional.avg_pool2d(image, awing_fan.STRIDE)
        offsets = cells[:, None, :2] - self.places[None, :, :, None, None]
        heat = torch.exp(-offsets.square().sum(2) * 4000)
        return torch.cat((heat, torch.ones_like(heat[:, :1])), 1)


class Regressor(nn.Module):
    """Says the same 68 places of every crop, and wants to be shown blue first."""

    def __init__(self, places: torch.Tensor):
        super().__init__()
        self.places = nn.Parameter(places)
        self.seen = None

    def forward(self, image):
        self.seen = image
        return self.places.flatten().expand(len(image), -1)


def picture() -> torch.Tensor:
    """(1, H, W, 3): red is x / WIDTH, green is y / HEIGHT, blue is 0."""
    y, x = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing="ij")
    return torch.stack((x / WIDTH, y / HEIGHT, torch.zeros(HEIGHT, WIDTH)), -1)[None]


def face(angle: float, side: float, centre=(240.0, 180.0), frame: int = 0) -> Face:
    """A face of the FFHQ template's shape, turned by `angle` degrees, `side` pixels for 512."""
    turn = math.radians(angle)
    rotation = torch.tensor([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    points = (geometry.template("ffhq").points(512).float() / 512 - 0.5) * side
    points = points @ rotation.T + torch.tensor(centre)
    low, high = points.amin(0), points.amax(0)
    return Face(3, frame, torch.cat((low, high)), 0.9, points)


@pytest.mark.parametrize("angle", [0, 35, -90, 180])
@pytest.mark.parametrize("side", [90.0, 300.0])
def test_points_come_back_to_where_they_were_in_the_picture(angle, side):
    torch.manual_seed(0)
    own = face(angle, side)
    # Places inside the shown square: near the middle of the five points.
    places = own.points.mean(0) + (torch.rand(98, 2) - 0.5) * side * 0.4
    faces = Faces((own,), 1, HEIGHT, WIDTH)
    # The picture's red at x is x / WIDTH, and a cell's mean is that of its middle.
    host = Fixed(Finder(places / torch.tensor([WIDTH, HEIGHT])))
    found = landmarks(picture(), faces, host=host)[0]
    assert (found.id, found.scheme, found.landmarks.shape) == (3, "wflw98", (98, 2))
    assert found.points is own.points or torch.equal(found.points, own.points)
    assert host.loaded == ["awing-fan-98"]
    error = (found.landmarks - places).norm(dim=1)
    # A cell of the heat map is 4 of 256 pixels over 380 / 512 of the side.
    cell = 4 / 256 * 380 / 512 * side
    assert error.max() < 0.35 * cell


def test_every_face_is_found_in_its_own_picture():
    places = torch.rand(98, 2) * 20 + 170
    host = Fixed(Finder(places / torch.tensor([WIDTH, HEIGHT])))
    pictures = torch.cat((picture().flip(2), picture()))
    many = [face(0, 150, centre=(180.0, 180.0), frame=1) for _ in range(11)]
    found = landmarks(pictures, Faces(tuple(many), 2, HEIGHT, WIDTH), host=host)
    for one in found:
        assert (one.landmarks - places).norm(dim=1).max() < 2
    assert host.steps == [(8, 11), (11, 11)]


def test_out_of_memory_halves_the_pass_and_one_face_too_many_raises():
    class Small(Finder):
        def forward(self, image):
            if len(image) > self.limit:
                raise torch.OutOfMemoryError("no room")
            return super().forward(image)

    freed = []
    host = Fixed(Small(torch.full((98, 2), 0.5)))
    host.free_memory = lambda: freed.append(1)
    faces = Faces(tuple(face(0, 150) for _ in range(5)), 1, HEIGHT, WIDTH)
    host.network.limit = 2
    assert len(landmarks(picture(), faces, host=host)) == 5
    assert freed and host.steps[-1] == (5, 5)
    host.network.limit = 0
    with pytest.raises(torch.OutOfMemoryError):
        landmarks(picture(), faces, host=host)


def test_grey_and_alpha_are_taken():
    for image in (picture()[..., :1], torch.cat((picture(), picture()[..., :1]), -1)):
        host = Fixed(Regressor(torch.full((68, 2), 0.5)))
        faces = Faces((face(0, 200),), 1, HEIGHT, WIDTH)
        found = landmarks(image, faces, model="mobilefacenet-68", host=host)
        assert found[0].scheme == "ibug68"


def test_the_regressor_sees_blue_first_and_answers_in_shares_of_its_square():
    places = torch.rand(68, 2)
    host = Fixed(Regressor(places))
    own = face(0, 512.0)
    found = landmarks(
        picture(), Faces((own,), 1, HEIGHT, WIDTH), model="mobilefacenet-68", host=host
    )[0]
    seen = host.network.seen[0]
    assert seen.shape == (3, 112, 112)
    assert seen[0].max() < 0.05 and seen[2].max() > 0.5
    # At 512 px for the template's 512, a picture pixel is a template pixel, shifted.
    view = VIEWS["mobilefacenet_landmark68"]
    corner = torch.tensor(view.centre) - view.side / 2
    offset = own.points[2] - geometry.template("ffhq").points(512)[2].float()
    want = places * view.side + corner - 0.5 + offset
    torch.testing.assert_close(found.landmarks, want, rtol=0, atol=0.05)


def test_98_points_can_be_had_as_68():
    torch.manual_seed(0)
    places = 150 + torch.rand(98, 2) * 60
    host = Fixed(Finder(places / torch.tensor([WIDTH, HEIGHT])))
    faces = Faces((face(0, 200, centre=(180.0, 180.0)),), 1, HEIGHT, WIDTH)
    own = landmarks(picture(), faces, host=host)[0].landmarks
    found = landmarks(picture(), faces, scheme="ibug68", host=host)[0]
    assert found.scheme == "ibug68"
    torch.testing.assert_close(found.landmarks, to_ibug68(own))
    with pytest.raises(ValueError, match="wflw98 points, not 'facemesh478'"):
        landmarks(picture(), faces, scheme="facemesh478", host=host)


def test_no_face_asks_for_no_network():
    host = Fixed(Regressor(torch.zeros(68, 2)))
    faces = Faces((), 1, HEIGHT, WIDTH)
    assert landmarks(picture(), faces, host=host) is faces
    assert host.loaded == []


def test_bad_settings_say_what_is_known():
    faces = Faces((), 1, HEIGHT, WIDTH)
    with pytest.raises(ValueError, match="unknown landmark model 'dlib'.*awing-fan-98"):
        landmarks(picture(), faces, model="dlib")
    with pytest.raises(ValueError, match="wire the same image"):
        landmarks(picture()[:, :100], faces)
    with pytest.raises(ValueError, match=r"expected \(\.\.\., 98, 2\)"):
        to_ibug68(torch.zeros(68, 2))
    with pytest.raises(ValueError, match="facemesh478"):
        five_points(torch.zeros(478, 2), "facemesh478")


def test_every_landmark_card_has_a_view_of_its_size():
    cards = [card for card in zoo.CARDS.values() if card.kind == "landmarks"]
    assert {card.architecture for card in cards} == set(VIEWS)
    for card in cards:
        assert card.crop in (112, 256)


# Schemes


def test_the_mapping_to_68_keeps_left_and_right():
    assert sorted(WFLW_MIRROR) == list(range(98))
    assert sorted(IBUG_MIRROR) == list(range(68))
    torch.manual_seed(0)
    points = torch.randn(98, 2)
    mirrored = (points * torch.tensor([-1.0, 1.0]))[list(WFLW_MIRROR)]
    want = (to_ibug68(points) * torch.tensor([-1.0, 1.0]))[list(IBUG_MIRROR)]
    torch.testing.assert_close(to_ibug68(mirrored), want)


def test_the_mapping_takes_the_known_points():
    points = torch.arange(98.0)[:, None].expand(98, 2)
    got = to_ibug68(points)[:, 0].tolist()
    # Chin, ends of the brows, tip and wing of the nose, corners of eyes and lips.
    known = {8: 16, 0: 0, 16: 32, 17: 33, 26: 46, 30: 54, 31: 55, 33: 57}
    known |= {36: 60, 39: 64, 42: 68, 45: 72, 48: 76, 54: 82, 51: 79, 57: 85, 62: 90, 66: 94}
    for index, source in known.items():
        assert got[index] == source
    # Inside a brow, the mean of its upper and lower outline.
    assert got[18] == (34 + 41) / 2 and got[25] == (45 + 47) / 2
    assert to_ibug68(torch.zeros(4, 3, 98, 2)).shape == (4, 3, 68, 2)


@pytest.mark.parametrize("scheme", FIVE_OF)
def test_five_points_are_eyes_nose_and_corners(scheme):
    count = {"wflw98": 98, "ibug68": 68}[scheme]
    mirror = {"wflw98": WFLW_MIRROR, "ibug68": IBUG_MIRROR}[scheme]
    torch.manual_seed(0)
    points = torch.randn(count, 2)
    five = five_points(points, scheme)
    assert five.shape == (5, 2)
    flipped = five_points((points * torch.tensor([-1.0, 1.0]))[list(mirror)], scheme)
    torch.testing.assert_close(flipped, (five * torch.tensor([-1.0, 1.0]))[[1, 0, 2, 4, 3]])
    assert five_points(points.expand(2, -1, -1), scheme).shape == (2, 5, 2)


def test_both_schemes_give_the_same_five_points_but_for_the_lids():
    torch.manual_seed(0)
    points = torch.randn(98, 2)
    got, want = five_points(to_ibug68(points), "ibug68"), five_points(points, "wflw98")
    torch.testing.assert_close(got[2:], want[2:])


# In LandmarkAlign


def test_align_takes_its_five_points_from_the_landmarks():
    torch.manual_seed(0)
    own = face(10, 200)
    # Landmarks whose five points are those of the face moved by (9, -6).
    moved = own.points + torch.tensor([9.0, -6.0])
    places = moved.mean(0).expand(98, 2).clone()
    for group, point in zip(FIVE_OF["wflw98"], moved, strict=True):
        places[list(group)] = point
    host = Fixed(Finder(places / torch.tensor([WIDTH, HEIGHT])))
    faces = Faces((own,), 1, HEIGHT, WIDTH)
    crops, aligned = align(picture(), faces, size=256, landmarks="awing-fan-98", host=host)
    assert crops.shape == (1, 256, 256, 3)
    assert aligned[0].scheme == "wflw98"
    torch.testing.assert_close(aligned[0].points, moved, rtol=0, atol=0.7)
    plain = align(picture(), faces, size=256)[1]
    shift = aligned[0].crop.matrix[:, 2] - plain[0].crop.matrix[:, 2]
    # 256 crop pixels show 200 picture pixels.
    assert shift.norm() > 0.8 * 256 / 200 * math.hypot(9, 6)
    with pytest.raises(ValueError, match="unknown landmark model"):
        align(picture(), faces, landmarks="dlib")
