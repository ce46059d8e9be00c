"""MobileFaceNet: embeddings or landmarks with about a million weights, in three published layouts.

The three are one network with other names: a strided convolution, one in groups, fifteen units
(three strided ones, each followed by residual ones), a 1x1 convolution, a depthwise one over the
whole map and a linear layer.

Paper: MobileFaceNets: Efficient CNNs for Accurate Real-Time Face Verification on Mobile Devices,
Chen, Liu, Gao and Han, CCBR 2018, https://arxiv.org/abs/1804.07573.
Networks and weights: deepinsight/insightface, arcface_torch (code MIT, weights non-commercial);
Xiaoccer/MobileFaceNet_Pytorch; cunjian/pytorch_face_landmark (MIT).

Run these in float32: a cosine is compared with thresholds, and landmarks want sub-pixel accuracy.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor, nn

from .architecture import Architecture, StateDict
from .batch_norm import fold_batch_norms, preceding

#: Residual units after each of the three strided ones.
STAGES = (4, 6, 2)

#: Channels of the last map, and groups of the second convolution, in all three.
FEATURES, GROUPS = 512, 64


@dataclass(frozen=True)
class Layout:
    """Names and sizes of one published network.

    width: channels before the units. stages: for each stage its channels, and those inside its
    strided and its residual units. kernel: size of the last map. stem, second, last: a convolution
    and its PReLU. units: prefixes of the fifteen units. parts: convolution and PReLU that widen,
    depthwise convolution and PReLU, and the convolution that narrows, inside a unit. pool, linear:
    layers; norm: the batch norm after the linear one.
    """

    width: int
    stages: tuple[tuple[int, int, int], ...]
    kernel: tuple[int, int]
    stem: tuple[str, str]
    second: tuple[str, str]
    units: tuple[str, ...]
    parts: tuple[str, str, str, str, str]
    last: tuple[str, str]
    pool: str
    linear: str
    norm: str

    def sizes(self) -> Iterator[tuple[int, int, int, int]]:
        """Channels before, inside and after each unit, and its stride."""
        before = self.width
        for (width, strided, residual), count in zip(self.stages, STAGES, strict=True):
            yield before, strided, width, 2
            yield from [(width, residual, width, 1)] * count
            before = width


def _staged(strided: tuple[str, ...], residual: tuple[str, ...]) -> tuple[str, ...]:
    names: list[str] = []
    for first, rest, count in zip(strided, residual, STAGES, strict=True):
        names += [first, *(f"{rest}.{index}" for index in range(count))]
    return tuple(names)


#: RGB in [-1, 1], 112 x 112; an embedding of any length.
INSIGHTFACE = Layout(
    width=128,
    stages=((128, 128, 128), (256, 256, 256), (256, 512, 256)),
    kernel=(7, 7),
    stem=("layers.0.layers.0", "layers.0.layers.2"),
    second=("layers.1.layers.0", "layers.1.layers.2"),
    units=_staged(
        ("layers.2", "layers.4", "layers.6"),
        ("layers.3.layers", "layers.5.layers", "layers.7.layers"),
    ),
    parts=(
        "layers.0.layers.0",
        "layers.0.layers.2",
        "layers.1.layers.0",
        "layers.1.layers.2",
        "layers.2.layers.0",
    ),
    last=("conv_sep.layers.0", "conv_sep.layers.2"),
    pool="features.layers.0.layers.0",
    linear="features.layers.2",
    norm="features.layers.3",
)

#: RGB, (value - 127.5) / 128 of 0..255, 112 rows by 96 columns; an embedding of any length.
XIAOCCER = Layout(
    width=64,
    stages=((64, 128, 128), (128, 256, 256), (128, 512, 256)),
    kernel=(7, 6),
    stem=("conv1.conv", "conv1.prelu"),
    second=("dw_conv1.conv", "dw_conv1.prelu"),
    units=tuple(f"blocks.{index}" for index in range(sum(STAGES) + len(STAGES))),
    parts=("conv.0", "conv.2", "conv.3", "conv.5", "conv.6"),
    last=("conv2.conv", "conv2.prelu"),
    pool="linear7.conv",
    linear="linear1.conv",
    norm="linear1.bn",
)

#: BGR in [0, 1], 112 x 112, a square box 1.2 times the detector's; 68 points of iBUG as x, y, x, y,
#: ... from 0 to 1 over the box.
LANDMARK68 = Layout(
    width=64,
    stages=((64, 128, 128), (128, 256, 256), (128, 512, 256)),
    kernel=(7, 7),
    stem=("conv1.conv", "conv1.prelu"),
    second=("conv2_dw.conv", "conv2_dw.prelu"),
    units=_staged(
        ("conv_23", "conv_34", "conv_45"), ("conv_3.model", "conv_4.model", "conv_5.model")
    ),
    parts=("conv.conv", "conv.prelu", "conv_dw.conv", "conv_dw.prelu", "project.conv"),
    last=("conv_6_sep.conv", "conv_6_sep.prelu"),
    pool="output_layer.conv_6_dw.conv",
    linear="output_layer.linear",
    norm="output_layer.bn",
)


class MobileFaceNet(nn.Module):
    """See the module. Layers lie under their published names, so errors of loading quote those."""

    def __init__(self, layout: Layout, values: int):
        super().__init__()
        self.layout = layout
        width = layout.width
        self._place(layout.stem, nn.Conv2d(3, width, 3, 2, 1), nn.PReLU(width))
        grouped = nn.Conv2d(width, width, 3, 1, 1, groups=GROUPS)
        self._place(layout.second, grouped, nn.PReLU(width))
        for unit, (before, inner, width, stride) in zip(layout.units, layout.sizes(), strict=True):
            self._place(
                [f"{unit}.{part}" for part in layout.parts],
                nn.Conv2d(before, inner, 1),
                nn.PReLU(inner),
                nn.Conv2d(inner, inner, 3, stride, 1, groups=inner),
                nn.PReLU(inner),
                nn.Conv2d(inner, width, 1),
            )
        self._place(layout.last, nn.Conv2d(width, FEATURES, 1), nn.PReLU(FEATURES))
        pool = nn.Conv2d(FEATURES, FEATURES, layout.kernel, groups=FEATURES)
        self._place([layout.pool, layout.linear], pool, nn.Linear(FEATURES, values))

    def _place(self, names, *layers: nn.Module) -> None:
        """Register `layers` under dotted names, with plain modules on the way."""
        for name, layer in zip(names, layers, strict=True):
            *groups, leaf = name.split(".")
            parent: nn.Module = self
            for group in groups:
                if not hasattr(parent, group):
                    parent.add_module(group, nn.Module())
                parent = getattr(parent, group)
            parent.add_module(leaf, layer)

    def _run(self, names, x: Tensor) -> Tensor:
        for name in names:
            x = self.get_submodule(name)(x)
        return x

    def forward(self, image: Tensor) -> Tensor:
        """Embeddings (B, values) or landmarks (B, 2 K) of faces; see the network's `Layout`."""
        layout = self.layout
        x = self._run((*layout.stem, *layout.second), image)
        for unit in layout.units:
            y = self._run((f"{unit}.{part}" for part in layout.parts), x)
            x = x + y if x.shape == y.shape else y
        x = self._run((*layout.last, layout.pool), x)
        return self._run((layout.linear,), x.flatten(1))


def _architecture(name: str, layout: Layout) -> Architecture:
    def layer_of(norm: str) -> str:
        return layout.linear if norm == layout.norm else preceding(norm)

    def convert(state: StateDict) -> StateDict:
        folded = fold_batch_norms(state, layer_of)
        key = f"{layout.linear}.weight"
        # One layout keeps its linear layer as a 1x1 convolution.
        return folded | {key: folded[key].flatten(1)}

    def construct(state: StateDict) -> MobileFaceNet:
        return MobileFaceNet(layout, values=len(state[f"{layout.linear}.weight"]))

    return Architecture(
        name=name,
        keys=(f"{layout.pool}.weight", f"{layout.linear}.weight"),
        construct=construct,
        convert=convert,
    )


ARCHITECTURES = (
    _architecture("mobilefacenet_insightface", INSIGHTFACE),
    _architecture("mobilefacenet_xiaoccer", XIAOCCER),
    _architecture("mobilefacenet_landmark68", LANDMARK68),
)
