"""BiSeNet: which pixel of a face crop is skin, brow, eye, lip, hair and so on; 19 classes.

Paper: BiSeNet: Bilateral Segmentation Network for Real-time Semantic Segmentation, Yu, Wang, Peng,
Gao, Yu and Sang, ECCV 2018, https://arxiv.org/abs/1808.00897. As in zllrunning/face-parsing.PyTorch
(MIT), the spatial path is replaced by the ResNet18's own map at an eighth of the size.
Weights: 79999_iter.pth of that repository, parsing_bisenet.pth in xinntao/facexlib; trained on
CelebAMask-HQ.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .architecture import Architecture, StateDict
from .batch_norm import fold_batch_norms


class Conv(nn.Module):
    """Convolution and ReLU; the batch norm between is folded."""

    def __init__(self, wide_in: int, width: int, kernel: int = 3):
        super().__init__()
        self.conv = nn.Conv2d(wide_in, width, kernel, padding=kernel // 2)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv(x))


class Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut."""

    def __init__(self, wide_in: int, width: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(wide_in, width, 3, stride, 1)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1)
        same = wide_in == width and stride == 1
        self.downsample = (
            nn.Identity() if same else nn.Sequential(nn.Conv2d(wide_in, width, 1, stride))
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.downsample(x) + self.conv2(F.relu(self.conv1(x))))


class ResNet18(nn.Module):
    """ResNet18 without its classifier; yields strides 8, 16 and 32."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3)
        self.layer1 = nn.Sequential(Block(64, 64, 1), Block(64, 64, 1))
        self.layer2 = nn.Sequential(Block(64, 128, 2), Block(128, 128, 1))
        self.layer3 = nn.Sequential(Block(128, 256, 2), Block(256, 256, 1))
        self.layer4 = nn.Sequential(Block(256, 512, 2), Block(512, 512, 1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x4 = self.layer1(F.max_pool2d(F.relu(self.conv1(x)), 3, 2, 1))
        x8 = self.layer2(x4)
        x16 = self.layer3(x8)
        return x8, x16, self.layer4(x16)


def _mean(x: Tensor) -> Tensor:
    return x.mean(dim=(2, 3), keepdim=True)


class AttentionRefinement(nn.Module):
    """A convolution whose channels are scaled by what their means say."""

    def __init__(self, wide_in: int, width: int):
        super().__init__()
        self.conv = Conv(wide_in, width)
        self.conv_atten = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return x * torch.sigmoid(self.conv_atten(_mean(x)))


class ContextPath(nn.Module):
    """What surrounds a pixel: the deep maps of the ResNet brought up to an eighth of the size."""

    def __init__(self):
        super().__init__()
        self.resnet = ResNet18()
        self.arm16 = AttentionRefinement(256, 128)
        self.arm32 = AttentionRefinement(512, 128)
        self.conv_head32 = Conv(128, 128)
        self.conv_head16 = Conv(128, 128)
        self.conv_avg = Conv(512, 128, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x8, x16, x32 = self.resnet(x)
        coarse = self.arm32(x32) + self.conv_avg(_mean(x32))
        coarse = self.conv_head32(F.interpolate(coarse, size=x16.shape[-2:]))
        fine = self.arm16(x16) + coarse
        fine = self.conv_head16(F.interpolate(fine, size=x8.shape[-2:]))
        return x8, fine, coarse


class FeatureFusion(nn.Module):
    """Mixes detail and context, then strengthens the channels that matter."""

    def __init__(self, width: int):
        super().__init__()
        self.convblk = Conv(width, width, 1)
        self.conv1 = nn.Conv2d(width, width // 4, 1, bias=False)
        self.conv2 = nn.Conv2d(width // 4, width, 1, bias=False)

    def forward(self, detail: Tensor, context: Tensor) -> Tensor:
        x = self.convblk(torch.cat((detail, context), dim=1))
        return x + x * torch.sigmoid(self.conv2(F.relu(self.conv1(_mean(x)))))


class Output(nn.Module):
    """Class scores at the resolution of the map it is given."""

    def __init__(self, wide_in: int, width: int, classes: int):
        super().__init__()
        self.conv = Conv(wide_in, width)
        self.conv_out = nn.Conv2d(width, classes, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv_out(self.conv(x))


class BiSeNet(nn.Module):
    """See the module."""

    def __init__(self, classes: int = 19):
        super().__init__()
        self.cp = ContextPath()
        self.ffm = FeatureFusion(256)
        self.conv_out = Output(256, 256, classes)
        # Heads of the training loss: loaded, so that a damaged file is noticed, and never run.
        self.conv_out16 = Output(128, 64, classes)
        self.conv_out32 = Output(128, 64, classes)

    def forward(self, image: Tensor) -> Tensor:
        """Scores (B, classes, H, W) of each pixel, before any softmax.

        Args:
            image: (B, 3, H, W), RGB normalised with ImageNet's mean and deviation; trained at
                512 px.
        """
        detail, context, _ = self.cp(image)
        scores = self.conv_out(self.ffm(detail, context))
        return F.interpolate(scores, size=image.shape[-2:], mode="bilinear", align_corners=True)


def _construct(state: StateDict) -> BiSeNet:
    return BiSeNet(classes=len(state["conv_out.conv_out.weight"]))


ARCHITECTURE = Architecture(
    name="bisenet",
    keys=("cp.conv_avg.conv.weight", "conv_out.conv_out.weight"),
    construct=_construct,
    convert=fold_batch_norms,
)
