"""kintsugi-detector: faces and five points in one shot, at strides 4, 8 and 16.

An anchor-free detector after FCOS (Tian et al., 2019) and YuNet (Wu et al., 2023): every cell says
how likely a face is centred on it, and where its box and points are. One pass covers faces of
`SMALLEST` to `LARGEST` pixels at any in-plane rotation; an image pyramid does the rest. Plain dense
3x3 convolutions: faster than depthwise ones on a CPU at these widths.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .anchors import Candidates
from .architecture import Architecture, StateDict

#: Pixels per cell of the three outputs.
STRIDES = (4, 8, 16)

#: Side in pixels, sqrt(width * height), of the faces that one pass is trained to find.
SMALLEST, LARGEST = 9.0, 128.0

#: One cell of stride s measures boxes and points in units of UNIT * s.
UNIT = 4.0

#: Side of the crops that `Refiner` looks at, and of the face in them, sqrt(width * height).
LOOK_SIZE, LOOK_FACE = 64, 42.0

#: Where the five points of an average face lie in such a crop: the median of the training faces and
#: their mirror images.
MEAN_POINTS = ((23.3, 26.3), (39.7, 26.3), (31.5, 35.7), (24.4, 43.4), (38.6, 43.4))

#: Votes of the refiner on whether what it sees is a face.
VOTES = 5

#: Channels of one output cell: score, box (x, y, log width, log height), five points (x, y).
FIELDS = 1 + 4 + 10


class Conv(nn.Conv2d):
    """3x3 convolution, padded so that stride 1 keeps the size."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1):
        super().__init__(inputs, outputs, 3, stride=stride, padding=1)


class Block(nn.Module):
    """Two convolutions around a shortcut."""

    def __init__(self, width: int):
        super().__init__()
        self.first, self.second = Conv(width, width), Conv(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu_(self.second(F.relu_(self.first(x))).add_(x))


class Head(nn.Module):
    """One convolution for the task and one linear read-out of `FIELDS` numbers a cell."""

    def __init__(self, width: int):
        super().__init__()
        self.mix = Conv(width, width)
        self.read = nn.Conv2d(width, FIELDS, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.read(F.relu_(self.mix(x)))


class Refiner(nn.Module):
    """Five points of one face at one size and about upright, and whether it is a face at all.

    A cascade's last step after MTCNN (Zhang et al., 2016): finer and surer than the grids can be,
    small because little is left to learn. The second answer is read from the last 4x4 cells as a
    sum of votes, each a pattern of channels times a pattern of places.
    """

    def __init__(self, widths: tuple[int, int, int] = (12, 24, 32)):
        super().__init__()
        first, second, third = widths
        self.down2 = Conv(3, first, stride=2)
        self.down4 = Conv(first, second, stride=2)
        self.down8 = Conv(second, third, stride=2)
        self.mix = Conv(third, third)
        self.down16 = Conv(third, third, stride=2)
        cells = LOOK_SIZE // 16
        self.read = nn.Linear(third * cells**2, 10)
        self.vote = nn.Conv2d(third, VOTES, 1, bias=False)
        self.place = nn.Parameter(torch.zeros(VOTES, cells, cells))
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Points in pixels of the crop, and the logit of its being a face.

        Args:
            x: (N, 3, LOOK_SIZE, LOOK_SIZE) RGB in [0, 1], the face about upright and centred.

        Returns:
            (N, 5, 2), the centre of the top-left pixel is (0, 0), and (N,).
        """
        x = x - 0.5
        for layer in (self.down2, self.down4, self.down8, self.mix, self.down16):
            x = F.relu_(layer(x))
        offsets = self.read(x.flatten(1)).unflatten(1, (5, 2))
        points = offsets.new_tensor(MEAN_POINTS) + offsets * (LOOK_SIZE / 8)
        return points, (self.vote(x) * self.place).sum((1, 2, 3)) + self.bias


class Detector(nn.Module):
    """Score, box and five points for every cell of three grids.

    Args:
        stem, fine, coarse: channels at stride 2, at stride 4, and at strides 8 and 16.
        blocks: residual blocks at strides 4, 8 and 16.
    """

    def __init__(
        self,
        stem: int = 16,
        fine: int = 32,
        coarse: int = 64,
        blocks: tuple[int, int, int] = (1, 2, 2),
    ):
        super().__init__()
        self.stem = Conv(3, stem, stride=2)
        self.down4 = Conv(stem, fine, stride=2)
        self.stage4 = nn.Sequential(*(Block(fine) for _ in range(blocks[0])))
        self.down8 = Conv(fine, coarse, stride=2)
        self.stage8 = nn.Sequential(*(Block(coarse) for _ in range(blocks[1])))
        self.down16 = Conv(coarse, coarse, stride=2)
        self.stage16 = nn.Sequential(*(Block(coarse) for _ in range(blocks[2])))
        self.up8 = nn.Conv2d(coarse, coarse, 1)
        self.up4 = nn.Conv2d(coarse, fine, 1)
        self.head4, self.head8, self.head16 = Head(fine), Head(coarse), Head(coarse)
        self.refine = Refiner()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Raw outputs, see `decode`.

        Args:
            x: (N, 3, H, W) RGB in [0, 1]; H and W are multiples of 16.

        Returns:
            (N, FIELDS, H / s, W / s) for each stride s of `STRIDES`.
        """
        x = F.relu_(self.stem(x - 0.5))  # centred, so that zero padding is mid-grey
        x4 = self.stage4(F.relu_(self.down4(x)))
        x8 = self.stage8(F.relu_(self.down8(x4)))
        x16 = self.stage16(F.relu_(self.down16(x8)))
        x8 = F.relu_(F.interpolate(self.up8(x16), scale_factor=2.0, mode="nearest").add_(x8))
        x4 = F.relu_(F.interpolate(self.up4(x8), scale_factor=2.0, mode="nearest").add_(x4))
        return self.head4(x4), self.head8(x8), self.head16(x16)

    def detect(self, image: Tensor) -> Candidates:
        """One candidate per cell, in pixels of `image`; see `forward` and `decode`.

        A cell with a likelier neighbour on its grid scores 0: it speaks of the same face.
        """
        parts = []
        for raw, stride in zip(self(image), STRIDES, strict=True):
            raw = raw.float()
            score = raw[:, :1].contiguous()
            peak = score == F.max_pool2d(score, 3, stride=1, padding=1)
            logits, boxes, points = decode(raw, stride)
            parts.append((boxes, torch.sigmoid(logits) * peak.flatten(1), points))
        return Candidates(*(torch.cat(part, dim=1) for part in zip(*parts, strict=True)))


def decode(raw: Tensor, stride: int) -> tuple[Tensor, Tensor, Tensor]:
    """One grid's raw outputs in pixels.

    Args:
        raw: (N, FIELDS, h, w) as `Detector` returns it.
        stride: pixels per cell.

    Returns:
        logits (N, h * w), boxes (N, h * w, 4), points (N, h * w, 5, 2).

    Convention: pixels of the network's input, (x, y), the centre of the top-left pixel is (0, 0),
    boxes (x0, y0, x1, y1); they may reach beyond the picture.
    """
    n, _, h, w = raw.shape
    cells = raw.permute(0, 2, 3, 1).reshape(n, h * w, FIELDS)
    centres = cell_centres(h, w, stride).to(raw)
    unit = UNIT * stride
    middle = centres + cells[..., 1:3] * unit
    half = cells[..., 3:5].clamp(-4.0, 4.0).exp() * (unit / 2)
    boxes = torch.cat([middle - half, middle + half], dim=-1)
    offsets = cells[..., 5:].reshape(n, h * w, 5, 2)
    points = torch.add(centres[:, None], offsets, alpha=unit)
    return cells[..., 0], boxes, points


def cell_centres(height: int, width: int, stride: int) -> Tensor:
    """(height * width, 2) pixel positions (x, y) of the cells' centres, row by row."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return (torch.stack([x, y], dim=-1).reshape(-1, 2) + 0.5) * stride - 0.5


def _construct(state: StateDict) -> Detector:
    def depth(stage: str) -> int:
        return len({key.split(".")[1] for key in state if key.startswith(f"{stage}.")})

    return Detector(
        stem=state["stem.weight"].shape[0],
        fine=state["down4.weight"].shape[0],
        coarse=state["down8.weight"].shape[0],
        blocks=(depth("stage4"), depth("stage8"), depth("stage16")),
    )


ARCHITECTURE = Architecture(
    name="kintsugi-detector",
    keys=("down4.weight", "up4.weight", "head4.read.weight", "refine.read.weight"),
    construct=_construct,
)
