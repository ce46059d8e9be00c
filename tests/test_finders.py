"""Published detectors in FaceDetect: what they are fed, the pyramid around them, real weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from fixed_host import Fixed
from torch import nn

from kintsugi.models import retinaface, yunet, zoo
from kintsugi.models.anchors import Candidates
from kintsugi.models.loader import build
from kintsugi.stages.face_detect import detect
from kintsugi.stages.finders import FINDERS, choose

SHARED = Path(__file__).resolve().parent.parent.parent / "shared"


class Square(nn.Module):
    """Takes the one bright red square for a face, and keeps what it was fed."""

    def __init__(self, sure=lambda side: 0.95):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.sure, self.seen = sure, []

    def detect(self, image):
        self.seen.append(image)
        boxes, scores, points = [], [], []
        for picture in image:
            bright = self.bright(picture).nonzero()
            if not len(bright):
                bright, sure = torch.zeros(1, 2), lambda side: 0.0
            else:
                sure = self.sure
            low, high = bright.amin(0).flip(0) - 0.5, bright.amax(0).flip(0) + 0.5
            boxes.append(torch.cat((low, high)))
            scores.append(sure(float((high - low).prod().sqrt())))
            points.append(low + FIVE * (high - low))
        found = torch.stack(boxes), torch.tensor(scores), torch.stack(points)
        return Candidates(*(part[:, None] for part in found))

    @staticmethod
    def bright(picture):
        """Red well above what blue is, which the grey around a picture is not."""
        return picture[2] - picture[0] > 150


#: Five points in shares of the square.
FIVE = torch.tensor([[0.3, 0.35], [0.7, 0.35], [0.5, 0.55], [0.35, 0.8], [0.65, 0.8]])


def picture(side: int, size: int = 640) -> torch.Tensor:
    """A black picture with a red square of `side` pixels in its middle."""
    image = torch.zeros(1, size, size, 3)
    start = (size - side) // 2
    image[:, start : start + side, start : start + side, 0] = 1
    return image


def published() -> list[str]:
    return [
        card.name
        for card in zoo.CARDS.values()
        if card.kind == "detector" and card.architecture in ("retinaface", "yunet")
    ]


def test_every_detector_of_the_zoo_can_be_asked():
    for card in zoo.CARDS.values():
        if card.kind == "detector":
            assert choose(card.name) == (card, FINDERS[card.architecture])
    assert len(published()) == 3


@pytest.mark.parametrize("name", ["retinaface-mobilenet0.25", "retinaface-resnet50", "yunet"])
def test_published_detectors_are_fed_blue_first(name):
    network = Square()
    detect(picture(100), detector=name, host=Fixed(network))
    fed = network.seen[0]
    multiple = FINDERS[zoo.CARDS[name].architecture].multiple
    assert fed.shape[2] % multiple == fed.shape[3] % multiple == 0
    mean = torch.tensor(retinaface.MEAN_BGR if name.startswith("retinaface") else (0.0, 0.0, 0.0))
    inside, outside = fed[0, :, 320, 320], fed[0, :, 0, 0]
    torch.testing.assert_close(inside, torch.tensor([0.0, 0.0, 255.0]) - mean)
    torch.testing.assert_close(outside, -mean)


@pytest.mark.parametrize("name", ["retinaface-mobilenet0.25", "yunet"])
@pytest.mark.parametrize("side", [40, 600, 1100])
def test_faces_of_any_size_are_found_where_they_are(name, side):
    finder = FINDERS[zoo.CARDS[name].architecture]
    network = Square()
    found = detect(picture(side, 1280), detector=name, host=Fixed(network))
    assert len(found) == 1
    middle = (found[0].box[:2] + found[0].box[2:]) / 2
    torch.testing.assert_close(middle, torch.tensor([639.5, 639.5]), rtol=0, atol=0.03 * side)
    assert abs(found[0].width - side) < 0.1 * side
    # Some pass saw it no larger than the anchors reach.
    assert min(len(Square.bright(each[0]).nonzero()) for each in network.seen) <= finder.largest**2


def test_a_face_too_large_for_a_level_is_left_to_the_next():
    class Wrong(Square):
        def detect(self, image):
            boxes, scores, points = super().detect(image)
            large = (boxes[..., 2] - boxes[..., 0] > 450)[..., None]
            return Candidates(torch.where(large, boxes + 80, boxes), scores, points)

    # The larger it looks the surer it is, and all the same wrong of what fills the finest level.
    host = Fixed(Wrong(sure=lambda side: min(0.5 + side / 2000, 1.0)))
    found = detect(picture(900, 1280), detector="retinaface-mobilenet0.25", host=host)
    assert len(found) == 1
    assert abs(float(found[0].box[0]) - 189.5) < 20


@pytest.mark.parametrize(
    "make", [yunet.YuNet, lambda: retinaface.RetinaFace(retinaface.MobileNet(8), 64)]
)
def test_networks_with_random_weights_go_through_any_picture(make):
    torch.manual_seed(0)
    network = make().eval()
    name = "yunet" if isinstance(network, yunet.YuNet) else "retinaface-mobilenet0.25"
    for shape in ((2, 70, 101, 3), (1, 9, 40, 1), (1, 300, 31, 4)):
        found = detect(torch.rand(shape), detector=name, confidence=0.0, host=Fixed(network))
        assert (found.frames, found.height, found.width) == shape[:3]
        assert all(face.box.isfinite().all() for face in found)


def test_real_weights_find_the_astronaut_at_any_scale():
    file = SHARED / "faces" / "teachers" / "retinaface_mobilenet0.25_Final.pth"
    if not file.is_file():
        pytest.skip("no published weights: ../shared/faces/teachers is not there")
    data = pytest.importorskip("skimage.data", reason="scikit-image has the photograph")
    network = build(torch.load(file, map_location="cpu", weights_only=True))
    photo = torch.from_numpy(data.astronaut().copy()).permute(2, 0, 1)[None] / 255
    box = torch.tensor([177.5, 56.5, 270.0, 176.5])
    for scale in (0.25, 1.0, 2.5):
        image = nn.functional.interpolate(
            photo, scale_factor=scale, mode="bilinear", antialias=True
        ).permute(0, 2, 3, 1)
        found = detect(
            image,
            detector="retinaface-mobilenet0.25",
            confidence=0.8,
            host=Fixed(network),
        )
        assert len(found) == 1
        want = (box + 0.5) * scale - 0.5
        torch.testing.assert_close(found[0].box, want, rtol=0, atol=8 * scale)
