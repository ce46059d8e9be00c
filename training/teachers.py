"""Teachers as differentiable torch networks, read straight from their ONNX graphs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn
from torch.nn import functional as F

IDENTITY_FILE = "mobilefacenet_foamliu.onnx"


class OnnxNetwork(nn.Module):
    """A feed-forward ONNX graph of Conv, Add, Relu, Clip and Reshape, run with autograd."""

    def __init__(self, path: Path):
        super().__init__()
        graph = onnx.load(str(path)).graph
        for tensor in graph.initializer:
            array = torch.from_numpy(np.array(numpy_helper.to_array(tensor)))
            self.register_buffer(tensor.name.replace(".", "/"), array)
        self.nodes = list(graph.node)
        self.input, self.output = graph.input[0].name, graph.output[0].name

    def forward(self, x: Tensor, keep: int = 0) -> tuple[Tensor, list[Tensor]]:
        """The graph's output, and the results of every `keep`-th residual sum."""
        values: dict[str, Tensor] = {self.input: x}
        sums: list[Tensor] = []

        def value(name: str) -> Tensor:
            return values[name] if name in values else getattr(self, name.replace(".", "/"))

        for node in self.nodes:
            options = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
            inputs = [value(name) for name in node.input if name] if node.op_type != "Clip" else []
            if node.op_type == "Constant":
                result = torch.from_numpy(np.array(numpy_helper.to_array(options["value"])))
            elif node.op_type == "Conv":
                padding = options.get("pads", [0, 0, 0, 0])[:2]
                result = F.conv2d(
                    *inputs,
                    stride=options.get("strides", 1),
                    padding=padding,
                    groups=options.get("group", 1),
                )
            elif node.op_type == "Relu":
                result = F.relu(inputs[0])
            elif node.op_type == "Clip":
                low, high = (float(value(name)) for name in node.input[1:3])
                result = value(node.input[0]).clamp(low, high)
            elif node.op_type == "Add":
                result = inputs[0] + inputs[1]
                sums.append(result)
            elif node.op_type == "Reshape":
                result = inputs[0].flatten(1)
            else:
                raise ValueError(f"{node.op_type} in {node.name} is not known; add it here")
            values[node.output[0]] = result
        return values[self.output], sums[::keep] if keep else []


class Identity(nn.Module):
    """MobileFaceNet (foamliu/MobileFaceNet, Apache-2.0) on FFHQ-aligned crops.

    The judge of identity: 112 px RGB, ImageNet mean and deviation, ArcFace template.
    """

    def __init__(self, folder: Path):
        super().__init__()
        self.network = OnnxNetwork(folder / "teachers" / IDENTITY_FILE)
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406])[:, None, None])
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225])[:, None, None])
        self.requires_grad_(False)
        self.register_buffer("theta", _arcface_view())

    def forward(self, image: Tensor, keep: int = 0) -> tuple[Tensor, list[Tensor]]:
        """Unit embeddings (N, 128) and feature maps of (N, 3, S, S) RGB in [-1, 1]."""
        theta = self.theta.expand(image.shape[0], -1, -1)
        grid = F.affine_grid(theta, [image.shape[0], 3, 112, 112], align_corners=False)
        small = F.interpolate(image, size=(144, 144), mode="bilinear", antialias=True)
        view = F.grid_sample(small, grid, mode="bilinear", align_corners=False)
        embedding, features = self.network((view / 2 + 0.5 - self.mean) / self.std, keep)
        return F.normalize(embedding, dim=1), features


def _arcface_view() -> Tensor:
    """(1, 2, 3) affine_grid matrix that shows an FFHQ crop in the ArcFace template."""
    from kintsugi.stages import geometry

    ffhq, arcface = (geometry.template(n) for n in ("ffhq", "arcface112"))
    to_crop = geometry.similarity(arcface.points(112)[None], ffhq.points(512))[0].double()
    enter = torch.tensor([[56.0, 0, 55.5], [0, 56.0, 55.5]], dtype=torch.float64)
    leave = torch.tensor([[1 / 256, 0, 1 / 512 - 1], [0, 1 / 256, 1 / 512 - 1]])
    return geometry.compose(leave.double(), geometry.compose(to_crop, enter)).float()[None]
