"""ParseNet: which pixel of a face crop is skin, brow, eye, lip, hair and so on; 19 classes.

Paper: Progressive Semantic-Aware Style Transformation for Blind Face Restoration (PSFR-GAN), Chen,
Li, Yang, Lin, Zhang and Wong, CVPR 2021, https://arxiv.org/abs/2009.08709; its parsing network.
Weights: chaofengc/PSFRGAN, parsing_parsenet.pth in xinntao/facexlib; trained on CelebAMask-HQ.
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from .architecture import Architecture, StateDict
from .batch_norm import fold_batch_norms


class Conv(nn.Module):
    """3x3 convolution, mirrored at the borders, after or before a change of size by two."""

    def __init__(self, wide_in: int, width: int, scale: str = ""):
        super().__init__()
        self.scale = scale
        self.conv2d = nn.Conv2d(
            wide_in, width, 3, 2 if scale == "down" else 1, 1, padding_mode="reflect"
        )

    def forward(self, x: Tensor) -> Tensor:
        if self.scale == "up":
            x = F.interpolate(x, scale_factor=2.0)
        return self.conv2d(x)


class Block(nn.Module):
    """Two convolutions beside a shortcut: the second halves, or the first doubles, the size."""

    def __init__(self, wide_in: int, width: int, scale: str = ""):
        super().__init__()
        self.shortcut_func = Conv(wide_in, width, scale) if scale else nn.Identity()
        self.conv1 = Conv(wide_in, width, scale if scale == "up" else "")
        self.conv2 = Conv(width, width, scale if scale == "down" else "")

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut_func(x) + self.conv2(F.leaky_relu(self.conv1(x), 0.2))


class ParseNet(nn.Module):
    """See the module.

    Channels: one number for each halving (`down`) and doubling (`up`) of the size, with `depth`
    blocks between; the first layer is as wide as the last.
    """

    def __init__(self, down: list[int], depth: int, up: list[int], classes: int):
        super().__init__()
        inner, first = down[-1], up[-1]
        halve = [Block(*widths, "down") for widths in pairwise([first, *down])]
        double = [Block(*widths, "up") for widths in pairwise([inner, *up])]
        self.encoder = nn.Sequential(Conv(3, first), *halve)
        self.body = nn.Sequential(*(Block(inner, inner) for _ in range(depth)))
        self.decoder = nn.Sequential(*double)
        self.out_img_conv = Conv(first, 3)
        self.out_mask_conv = Conv(first, classes)

    def forward(self, image: Tensor, *, picture: bool = False) -> Tensor | tuple[Tensor, Tensor]:
        """Scores of each pixel, before any softmax.

        Args:
            image: (B, 3, H, W), RGB in [-1, 1], sides multiples of 16, trained at 512 px.
            picture: also return the face as the network paints it, (B, 3, H, W) in [-1, 1].

        Returns:
            (B, classes, H, W), alone or before the picture.
        """
        x = self.encoder(image)
        x = self.decoder(x + self.body(x))
        scores = self.out_mask_conv(x)
        return (scores, self.out_img_conv(x)) if picture else scores


def _last(state: StateDict, group: str) -> int:
    """The highest index among the blocks of `group`."""
    return max((int(k.split(".")[1]) for k in state if k.startswith(f"{group}.")), default=0)


def _construct(state: StateDict) -> ParseNet:
    def widths(group: str, first: int) -> list[int]:
        blocks = range(first, _last(state, group) + 1)
        return [len(state[f"{group}.{index}.conv1.conv2d.bias"]) for index in blocks]

    return ParseNet(
        down=widths("encoder", 1),
        depth=_last(state, "body") + 1,
        up=widths("decoder", 0),
        classes=len(state["out_mask_conv.conv2d.weight"]),
    )


def _convert(state: StateDict) -> StateDict:
    return fold_batch_norms(state, lambda norm: norm.removesuffix("norm.norm") + "conv2d")


ARCHITECTURE = Architecture(
    name="parsenet",
    keys=("out_mask_conv.conv2d.weight",),
    construct=_construct,
    convert=_convert,
)
