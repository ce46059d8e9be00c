"""YuNet: faces and five points with 0.3 MB of weights, as kornia publishes it.

Paper: YuNet: A Tiny Millisecond-level Face Detector, Wu, Peng and Yu, Machine Intelligence Research
20, 2023, https://doi.org/10.1007/s11633-023-1423-y.
Network and weights: yunet_final.pth of kornia (Apache-2.0), from ShiqiYu/libfacedetection.train.
The later yunet_n and yunet_s of that repository have no anchors and other keys.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .anchors import Candidates, anchors, decode_offsets
from .architecture import Architecture, StateDict
from .batch_norm import fold_batch_norms, preceding

#: Pixels between cells, and anchor sides, of the four feature maps.
STRIDES = (8, 16, 32, 64)
ANCHOR_SIZES = ((10, 16, 24), (32, 48), (64, 96), (128, 192, 256))

#: Values per anchor: box and five points, background and face, overlap with the face.
LOCATION, CLASSES, OVERLAP = 14, 2, 1


class Separable(nn.Module):
    """1x1 convolution, then 3x3 of each channel by itself; the batch norm after is folded."""

    def __init__(self, wide_in: int, width: int, last: bool = False):
        super().__init__()
        self.conv1 = nn.Conv2d(wide_in, width, 1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.last = last

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv2(self.conv1(x))
        return x if self.last else F.relu(x)


class Stem(nn.Module):
    """Halves the picture."""

    def __init__(self, width: int):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3, 2, 1)
        self.conv2 = Separable(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(F.relu(self.conv1(x)))


class Pair(nn.Module):
    """Two separable convolutions; the last of a head has no activation."""

    def __init__(self, wide_in: int, width: int, last: bool = False):
        super().__init__()
        self.conv1 = Separable(wide_in, wide_in)
        self.conv2 = Separable(wide_in, width, last)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(self.conv1(x))


class YuNet(nn.Module):
    """See the module."""

    def __init__(self):
        super().__init__()
        self.model0 = Stem(16)
        self.model1 = Pair(16, 64)
        for index in range(2, 7):
            self.add_module(f"model{index}", Pair(64, 64))
        values = LOCATION + CLASSES + OVERLAP
        self.head = nn.ModuleList(
            Pair(64, values * len(sizes), last=True) for sizes in ANCHOR_SIZES
        )

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Offsets and scores of every anchor.

        Args:
            image: (B, 3, H, W), BGR in 0..255, sides of at least 64 px.

        Returns:
            Offsets of box and points (B, N, 14), probabilities of background and face (B, N, 2) and
            the expected overlap with the face (B, N, 1), not clamped.
        """
        x = self.model1(F.max_pool2d(self.model0(image), 2))
        x = self.model3(F.max_pool2d(self.model2(x), 2))
        maps = [x]
        for layer in (self.model4, self.model5, self.model6):
            maps.append(layer(F.max_pool2d(maps[-1], 2)))
        values = LOCATION + CLASSES + OVERLAP
        rows = [
            head(x).permute(0, 2, 3, 1).reshape(len(image), -1, values)
            for head, x in zip(self.head, maps, strict=True)
        ]
        location, classes, overlap = torch.cat(rows, dim=1).split(
            (LOCATION, CLASSES, OVERLAP), dim=-1
        )
        return location, classes.softmax(dim=-1), overlap

    def detect(self, image: Tensor) -> Candidates:
        """One candidate per anchor, in pixels of `image`; see `forward` and `decode`."""
        return decode(self(image), *image.shape[-2:])


def decode(outputs: tuple[Tensor, Tensor, Tensor], height: int, width: int) -> Candidates:
    """Faces in pixels from the network's three outputs.

    The score is the geometric mean of the face's probability and the expected overlap.

    Args:
        outputs: what `YuNet.forward` returned.
        height, width: of the image it saw, in pixels; any size it takes.
    """
    location, classes, overlap = outputs
    rows, columns = (height + 1) // 4, (width + 1) // 4
    grids = [(rows // 2**level, columns // 2**level) for level in range(1, 5)]
    corners, points = decode_offsets(
        anchors(grids, STRIDES, ANCHOR_SIZES, location.device), location[..., :4], location[..., 4:]
    )
    scores = torch.sqrt(classes[..., 1].float() * overlap[..., 0].float().clamp(0, 1))
    return Candidates(corners, scores, points)


def _layer_of(norm: str) -> str:
    return norm.removesuffix("bn") + "conv2" if norm.endswith(".bn") else preceding(norm)


def _convert(state: StateDict) -> StateDict:
    return fold_batch_norms(state, _layer_of, biased=lambda layer: True)


ARCHITECTURE = Architecture(
    name="yunet",
    keys=("model0.conv1.weight", "head.3.conv2.conv2.weight"),
    construct=lambda state: YuNet(),
    convert=_convert,
)
