"""The ResNet of face recognition ("IR"), which ArcFace and AdaFace share.

Each unit is batch norm, 3x3 convolution, PReLU, 3x3 convolution beside a shortcut, with no
activation after the sum; the first unit of each of the four stages halves the picture: 112, 56,
28, 14, 7 px.

Paper: ArcFace: Additive Angular Margin Loss for Deep Face Recognition, Deng, Guo, Xue and
Zafeiriou, CVPR 2019, https://arxiv.org/abs/1801.07698, section 3.2; squeeze and
excitation from Hu et al., CVPR 2018, https://arxiv.org/abs/1709.01507.

Run these in float32: the sum over up to 50 units loses the last digits of bfloat16, and a cosine
is compared with thresholds.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .architecture import StateDict
from .batch_norm import fold_batch_norms, preceding

#: Units per stage of the published depths, by their sum; upstream's names 18, 34, 50, 100 and 152.
STAGES = {
    8: (2, 2, 2, 2),
    16: (3, 4, 6, 3),
    24: (3, 4, 14, 3),
    49: (3, 13, 30, 3),
    50: (3, 8, 36, 3),
}
WIDTHS = (64, 128, 256, 512)

#: The last layer, alone in having a bias beside its batch norm.
LINEAR = "output_layer.3"


class SqueezeExcitation(nn.Module):
    """Scales each channel by what the means of all channels say."""

    def __init__(self, width: int, reduction: int = 16):
        super().__init__()
        self.fc1 = nn.Conv2d(width, width // reduction, 1, bias=False)
        self.fc2 = nn.Conv2d(width // reduction, width, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        means = x.mean(dim=(2, 3), keepdim=True)
        return x * torch.sigmoid(self.fc2(torch.relu(self.fc1(means))))


class Every(nn.Module):
    """The shortcut of a unit that keeps its width: every n-th pixel."""

    def __init__(self, stride: int):
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return x[..., :: self.stride, :: self.stride]


class Unit(nn.Module):
    """One residual unit. ArcFace's: with squeeze and excitation; AdaFace's: a norm between."""

    def __init__(self, wide_in: int, width: int, stride: int, excite: bool):
        super().__init__()
        first = nn.Conv2d(wide_in, width, 3, 1, 1, bias=not excite)
        second = nn.Conv2d(width, width, 3, stride, 1)
        # Batch norms folded into a convolution leave an Identity, so that the numbers stay.
        between = () if excite else (nn.Identity(),)
        last = SqueezeExcitation(width) if excite else nn.Identity()
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(wide_in), first, *between, nn.PReLU(width), second, nn.Identity(), last
        )
        if wide_in == width:
            self.shortcut_layer = Every(stride)
        else:
            self.shortcut_layer = nn.Sequential(nn.Conv2d(wide_in, width, 1, stride))

    def forward(self, x: Tensor) -> Tensor:
        return self.res_layer(x) + self.shortcut_layer(x)


class IResNet(nn.Module):
    """Aligned faces to embeddings of 512 values, of any length."""

    def __init__(self, stages: tuple[int, ...], excite: bool):
        super().__init__()
        self.input_layer = nn.Sequential(nn.Conv2d(3, 64, 3, 1, 1), nn.Identity(), nn.PReLU(64))
        units, wide_in = [], 64
        for width, count in zip(WIDTHS, stages, strict=True):
            for index in range(count):
                units.append(Unit(wide_in, width, 2 if index == 0 else 1, excite))
                wide_in = width
        self.body = nn.Sequential(*units)
        self.output_layer = nn.Sequential(
            nn.BatchNorm2d(512), nn.Identity(), nn.Flatten(), nn.Linear(512 * 7 * 7, 512)
        )

    def forward(self, image: Tensor) -> Tensor:
        """Embeddings (B, 512), not normalised, of `image` (B, 3, 112, 112), RGB in [-1, 1]."""
        return self.output_layer(self.body(self.input_layer(image)))


def stages_of(state: StateDict) -> tuple[int, ...]:
    """Units per stage of the deepest published network whose last unit `state` has."""
    for units in sorted(STAGES, reverse=True):
        if any(key.startswith(f"body.{units - 1}.") for key in state):
            return STAGES[units]
    raise RuntimeError(f"body.{min(STAGES) - 1} is missing; the smallest IR network has it")


def fold(state: StateDict, *, without_affine: tuple[str, ...] = ()) -> StateDict:
    """Batch norms folded, except those before a padded convolution or the flattening."""

    def layer_of(norm: str) -> str | None:
        return None if norm.endswith("_layer.0") else preceding(norm)

    return fold_batch_norms(state, layer_of, biased=LINEAR.__eq__, without_affine=without_affine)
