"""RetinaFace: faces and five points in one pass, with a ResNet50 or a quarter-width MobileNet.

Paper: RetinaFace: Single-Shot Multi-Level Face Localisation in the Wild, Deng, Guo, Ververas,
Kotsia and Zafeiriou, CVPR 2020, https://arxiv.org/abs/1905.00641.
Networks and weights: biubug6/Pytorch_Retinaface (MIT), as carried by xinntao/facexlib in
detection_Resnet50_Final.pth and detection_mobilenet0.25_Final.pth. The file of the same shapes in
biubug6/Face-Detector-1MB-with-landmark has other anchors and must not be loaded here.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .anchors import Candidates, anchors, decode_offsets
from .architecture import Architecture, StateDict
from .batch_norm import fold_batch_norms

#: Subtracted from an image in blue, green, red order and 0..255 (the mean of ImageNet in Caffe).
MEAN_BGR = (104.0, 117.0, 123.0)

#: Pixels between cells, and anchor sides, of the three feature maps.
STRIDES = (8, 16, 32)
ANCHOR_SIZES = ((16, 32), (64, 128), (256, 512))


def _conv(wide_in: int, wide_out: int, kernel: int = 3, stride: int = 1, groups: int = 1):
    return nn.Conv2d(wide_in, wide_out, kernel, stride, kernel // 2, groups=groups)


def _conv_act(wide_in: int, wide_out: int, kernel: int, slope: float, stride: int = 1):
    return nn.Sequential(_conv(wide_in, wide_out, kernel, stride), nn.LeakyReLU(slope))


class Separable(nn.Sequential):
    """3x3 convolution of each channel by itself, then 1x1; 1 and 4 in the file are batch norms."""

    def __init__(self, wide_in: int, wide_out: int, stride: int):
        depthwise = _conv(wide_in, wide_in, 3, stride, groups=wide_in)
        act = nn.LeakyReLU(0.1)
        super().__init__(depthwise, nn.Identity(), act, _conv(wide_in, wide_out, 1), act)


class MobileNet(nn.Module):
    """MobileNet of the given first width, without its classifier; yields strides 8, 16 and 32."""

    def __init__(self, width: int):
        super().__init__()
        w = [width * 2**i for i in range(6)]
        self.stage1 = nn.Sequential(
            _conv_act(3, w[0], 3, 0.1, stride=2),
            Separable(w[0], w[1], 1),
            Separable(w[1], w[2], 2),
            Separable(w[2], w[2], 1),
            Separable(w[2], w[3], 2),
            Separable(w[3], w[3], 1),
        )
        self.stage2 = nn.Sequential(
            Separable(w[3], w[4], 2), *(Separable(w[4], w[4], 1) for _ in range(5))
        )
        self.stage3 = nn.Sequential(Separable(w[4], w[5], 2), Separable(w[5], w[5], 1))
        self.widths = w[3:]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x8 = self.stage1(x)
        x16 = self.stage2(x8)
        return x8, x16, self.stage3(x16)


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolution beside a shortcut; the stride is on the 3x3."""

    def __init__(self, wide_in: int, width: int, stride: int):
        super().__init__()
        self.conv1 = _conv(wide_in, width, 1)
        self.conv2 = _conv(width, width, 3, stride)
        self.conv3 = _conv(width, 4 * width, 1)
        changes = stride != 1 or wide_in != 4 * width
        self.downsample = (
            nn.Sequential(_conv(wide_in, 4 * width, 1, stride)) if changes else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.conv2(F.relu(self.conv1(x))))
        return F.relu(self.conv3(y) + self.downsample(x))


class ResNet50(nn.Module):
    """ResNet50 without its classifier; yields strides 8, 16 and 32."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3)
        self.layer1 = self._stage(64, 64, 3, stride=1)
        self.layer2 = self._stage(256, 128, 4, stride=2)
        self.layer3 = self._stage(512, 256, 6, stride=2)
        self.layer4 = self._stage(1024, 512, 3, stride=2)
        self.widths = [512, 1024, 2048]

    @staticmethod
    def _stage(wide_in: int, width: int, blocks: int, stride: int) -> nn.Sequential:
        first = Bottleneck(wide_in, width, stride)
        return nn.Sequential(first, *(Bottleneck(4 * width, width, 1) for _ in range(blocks - 1)))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x4 = self.layer1(F.max_pool2d(F.relu(self.conv1(x)), 3, 2, 1))
        x8 = self.layer2(x4)
        x16 = self.layer3(x8)
        return x8, x16, self.layer4(x16)


class FeaturePyramid(nn.Module):
    """Brings three maps to one width and adds each coarser map to the finer one below it."""

    def __init__(self, widths: list[int], width: int, slope: float):
        super().__init__()
        self.output1 = _conv_act(widths[0], width, 1, slope)
        self.output2 = _conv_act(widths[1], width, 1, slope)
        self.output3 = _conv_act(widths[2], width, 1, slope)
        self.merge1 = _conv_act(width, width, 3, slope)
        self.merge2 = _conv_act(width, width, 3, slope)

    def forward(self, maps: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        fine, middle, coarse = self.output1(maps[0]), self.output2(maps[1]), self.output3(maps[2])
        middle = self.merge2(middle + F.interpolate(coarse, size=middle.shape[-2:]))
        fine = self.merge1(fine + F.interpolate(middle, size=fine.shape[-2:]))
        return fine, middle, coarse


class Context(nn.Module):
    """Context module of SSH: receptive fields of 3, 5 and 7 side by side (`ssh` in the file)."""

    def __init__(self, width: int, slope: float):
        super().__init__()
        half, quarter = width // 2, width // 4
        self.conv3X3 = nn.Sequential(_conv(width, half))
        self.conv5X5_1 = _conv_act(width, quarter, 3, slope)
        self.conv5X5_2 = nn.Sequential(_conv(quarter, quarter))
        self.conv7X7_2 = _conv_act(quarter, quarter, 3, slope)
        self.conv7x7_3 = nn.Sequential(_conv(quarter, quarter))

    def forward(self, x: Tensor) -> Tensor:
        shared = self.conv5X5_1(x)
        wide = self.conv7x7_3(self.conv7X7_2(shared))
        return F.relu(torch.cat((self.conv3X3(x), self.conv5X5_2(shared), wide), dim=1))


class Head(nn.Module):
    """`values` numbers for each of the two anchors of a cell."""

    def __init__(self, width: int, values: int):
        super().__init__()
        self.values = values
        self.conv1x1 = _conv(width, 2 * values, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv1x1(x).permute(0, 2, 3, 1).reshape(x.shape[0], -1, self.values)


class RetinaFace(nn.Module):
    """See the module."""

    def __init__(self, body: nn.Module, width: int):
        super().__init__()
        slope = 0.1 if width <= 64 else 0.0
        self.body = body
        self.fpn = FeaturePyramid(body.widths, width, slope)
        self.ssh1, self.ssh2, self.ssh3 = (Context(width, slope) for _ in range(3))
        self.ClassHead = nn.ModuleList(Head(width, 2) for _ in range(3))
        self.BboxHead = nn.ModuleList(Head(width, 4) for _ in range(3))
        self.LandmarkHead = nn.ModuleList(Head(width, 10) for _ in range(3))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Offsets and scores of every anchor.

        Args:
            image: (B, 3, H, W), BGR in 0..255 minus MEAN_BGR.

        Returns:
            Box offsets (B, N, 4), probabilities of background and face (B, N, 2) and offsets of
            five points (B, N, 10), anchors in the order of `anchors.anchors`.
        """
        maps = self.fpn(self.body(image))
        maps = [ssh(x) for ssh, x in zip((self.ssh1, self.ssh2, self.ssh3), maps, strict=True)]
        boxes, classes, points = (
            torch.cat([head(x) for head, x in zip(heads, maps, strict=True)], dim=1)
            for heads in (self.BboxHead, self.ClassHead, self.LandmarkHead)
        )
        return boxes, classes.softmax(dim=-1), points

    def detect(self, image: Tensor) -> Candidates:
        """One candidate per anchor, in pixels of `image`; see `forward` and `decode`."""
        return decode(self(image), *image.shape[-2:])


def decode(outputs: tuple[Tensor, Tensor, Tensor], height: int, width: int) -> Candidates:
    """Faces in pixels from the network's three outputs.

    Args:
        outputs: what `RetinaFace.forward` returned.
        height, width: of the image it saw, in pixels; any size.
    """
    boxes, classes, points = outputs
    grids = [(-(-height // stride), -(-width // stride)) for stride in STRIDES]
    corners, landmarks = decode_offsets(
        anchors(grids, STRIDES, ANCHOR_SIZES, boxes.device), boxes, points
    )
    return Candidates(corners, classes[..., 1].float(), landmarks)


def _construct(state: StateDict) -> RetinaFace:
    width = len(state["fpn.output1.0.bias"])
    if any(key.startswith("body.layer1.") for key in state):
        return RetinaFace(ResNet50(), width)
    # In the one published MobileNet the pyramid is eight times as wide as the first layer.
    return RetinaFace(MobileNet(width // 8), width)


ARCHITECTURE = Architecture(
    name="retinaface",
    keys=("LandmarkHead.0.conv1x1.weight",),
    construct=_construct,
    convert=fold_batch_norms,
)
