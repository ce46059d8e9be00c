"""FaceNet's InceptionResnetV1: how alike two faces are, trained on VGGFace2.

Papers: FaceNet: A Unified Embedding for Face Recognition and Clustering, Schroff, Kalenichenko and
Philbin, CVPR 2015, https://arxiv.org/abs/1503.03832; Inception-v4, Inception-ResNet and the Impact
of Residual Connections on Learning, Szegedy, Ioffe, Vanhoucke and Alemi, AAAI 2017,
https://arxiv.org/abs/1602.07261.
Network and weights: timesler/facenet-pytorch (MIT), ported from davidsandberg/facenet.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .architecture import Architecture, StateDict
from .batch_norm import fold_batch_norms

#: Epsilon of every batch norm (TensorFlow's default).
EPS = 1e-3


class Conv(nn.Module):
    """Convolution and ReLU; the batch norm between is folded."""

    def __init__(self, wide_in: int, width: int, kernel=1, stride: int = 1, padding=0):
        super().__init__()
        self.conv = nn.Conv2d(wide_in, width, kernel, stride, padding)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv(x))


def _sides(wide_in: int, width: int, length: int) -> nn.Sequential:
    """1x1, 1 x length and length x 1: a large kernel in two cheap steps."""
    return nn.Sequential(
        Conv(wide_in, width),
        Conv(width, width, (1, length), padding=(0, length // 2)),
        Conv(width, width, (length, 1), padding=(length // 2, 0)),
    )


class Residual(nn.Module):
    """Branches side by side, mixed by a 1x1 convolution and added, scaled, to their input."""

    def __init__(self, width: int, branches: list[nn.Module], mixed: int, scale: float, last: bool):
        super().__init__()
        for index, branch in enumerate(branches):
            self.add_module(f"branch{index}", branch)
        self.conv2d = nn.Conv2d(mixed, width, 1)
        self.branches, self.scale, self.last = len(branches), scale, last

    def forward(self, x: Tensor) -> Tensor:
        seen = torch.cat([getattr(self, f"branch{i}")(x) for i in range(self.branches)], dim=1)
        out = self.conv2d(seen) * self.scale + x
        return out if self.last else F.relu(out)


class Reduction(nn.Module):
    """Branches that halve the picture, side by side with a maximum of their input."""

    def __init__(self, *branches: nn.Module):
        super().__init__()
        for index, branch in enumerate(branches):
            self.add_module(f"branch{index}", branch)
        self.branches = len(branches)

    def forward(self, x: Tensor) -> Tensor:
        seen = [getattr(self, f"branch{index}")(x) for index in range(self.branches)]
        return torch.cat([*seen, F.max_pool2d(x, 3, 2)], dim=1)


def _block35() -> Residual:
    one = Conv(256, 32)
    two = nn.Sequential(Conv(256, 32), Conv(32, 32, 3, padding=1))
    three = nn.Sequential(Conv(256, 32), Conv(32, 32, 3, padding=1), Conv(32, 32, 3, padding=1))
    return Residual(256, [one, two, three], 96, 0.17, last=False)


def _block17() -> Residual:
    return Residual(896, [Conv(896, 128), _sides(896, 128, 7)], 256, 0.10, last=False)


def _block8(scale: float = 0.20, last: bool = False) -> Residual:
    return Residual(1792, [Conv(1792, 192), _sides(1792, 192, 3)], 384, scale, last)


class InceptionResnetV1(nn.Module):
    """See the module."""

    def __init__(self):
        super().__init__()
        self.conv2d_1a = Conv(3, 32, 3, stride=2)
        self.conv2d_2a = Conv(32, 32, 3)
        self.conv2d_2b = Conv(32, 64, 3, padding=1)
        self.conv2d_3b = Conv(64, 80)
        self.conv2d_4a = Conv(80, 192, 3)
        self.conv2d_4b = Conv(192, 256, 3, stride=2)
        self.repeat_1 = nn.Sequential(*(_block35() for _ in range(5)))
        self.mixed_6a = Reduction(
            Conv(256, 384, 3, stride=2),
            nn.Sequential(Conv(256, 192), Conv(192, 192, 3, padding=1), Conv(192, 256, 3, 2)),
        )
        self.repeat_2 = nn.Sequential(*(_block17() for _ in range(10)))
        self.mixed_7a = Reduction(
            nn.Sequential(Conv(896, 256), Conv(256, 384, 3, stride=2)),
            nn.Sequential(Conv(896, 256), Conv(256, 256, 3, stride=2)),
            nn.Sequential(Conv(896, 256), Conv(256, 256, 3, padding=1), Conv(256, 256, 3, 2)),
        )
        self.repeat_3 = nn.Sequential(*(_block8() for _ in range(5)))
        self.block8 = _block8(scale=1.0, last=True)
        self.last_linear = nn.Linear(1792, 512)

    def forward(self, image: Tensor) -> Tensor:
        """Embeddings of faces.

        Args:
            image: (B, 3, 160, 160), RGB, (value - 127.5) / 128 of 0..255, an upright face with
                some room around it.

        Returns:
            (B, 512), of unit length: their scalar product is the cosine similarity.
        """
        x = self.conv2d_2b(self.conv2d_2a(self.conv2d_1a(image)))  # 77 px
        x = self.conv2d_4a(self.conv2d_3b(F.max_pool2d(x, 3, 2)))  # 36 px
        x = self.repeat_1(self.conv2d_4b(x))  # 17 px
        x = self.repeat_2(self.mixed_6a(x))  # 8 px
        x = self.block8(self.repeat_3(self.mixed_7a(x)))  # 3 px
        return F.normalize(self.last_linear(x.mean(dim=(2, 3))))


def _layer_of(norm: str) -> str:
    return "last_linear" if norm == "last_bn" else norm.removesuffix("bn") + "conv"


def _convert(state: StateDict) -> StateDict:
    # The classifier over the 8631 persons of VGGFace2 (or 10575 of CASIA) is of no use here.
    kept = {k: v for k, v in state.items() if k not in ("logits.weight", "logits.bias")}
    return fold_batch_norms(kept, _layer_of, eps=EPS)


ARCHITECTURE = Architecture(
    name="facenet",
    keys=("block8.conv2d.weight",),
    construct=lambda state: InceptionResnetV1(),
    convert=_convert,
)
