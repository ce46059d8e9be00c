"""Modulated convolutions of StyleGAN2, computed once for a whole batch.

Paper: Karras, Laine, Aittala et al., "Analyzing and Improving the Image Quality of StyleGAN",
CVPR 2020.

The paper scales the kernel by a style per input channel and normalises it per output channel: one
kernel a sample. Both factors can leave the sum, so scaling the map before and after one shared
convolution gives the same result without N kernels and without a grouped convolution.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .winograd import conv3x3

#: Keeps the demodulation of a dead channel finite.
EPS = 1e-8
#: Slope of the paper's leaky ReLU, and the gain that keeps its variance.
SLOPE, GAIN = 0.2, 2**0.5


class ModulatedConv(nn.Module):
    """Same-size 3x3 convolution, its input channels scaled by a style, its output demodulated.

    Args:
        inner, outer: channels in and out.
        style: length of the style vector.
    """

    def __init__(self, inner: int, outer: int, style: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outer, inner, 3, 3))
        self.modulation = nn.Linear(style, inner)
        self.register_buffer("energy", None, persistent=False)

    def fold(self) -> None:
        """Keep all that demodulation asks of the kernel: its energy per pair of channels."""
        self.energy = self.weight.float().square().sum((2, 3)).t().to(self.weight.dtype)

    def forward(self, x: Tensor, style: Tensor, bias: Tensor) -> Tensor:
        """GAIN times the modulated and demodulated convolution, plus a bias.

        Args:
            x: (N, inner, H, W).
            style: (N, style).
            bias: (outer,), added after the gain.

        Returns:
            (N, outer, H', W').
        """
        scale = self.modulation(style)
        factor = torch.rsqrt(scale.square() @ self.energy + EPS) * GAIN
        if len(x) == 1 and x.numel() >= self.weight.numel():
            # One large map: scaling its kernel touches less memory than scaling the map.
            kernel = self.weight * scale.view(1, -1, 1, 1) * factor.view(-1, 1, 1, 1)
            return self.convolve(x, kernel, bias)
        y = self.convolve(x * scale[:, :, None, None], self.weight, None)
        return torch.addcmul(bias[:, None, None], y, factor[:, :, None, None], out=y)

    def convolve(self, x: Tensor, kernel: Tensor, bias: Tensor | None) -> Tensor:
        """The linear map between the two scalings; up-sampling variants override it."""
        return conv3x3(x, kernel, bias)


class ModulatedBilinearConv(ModulatedConv):
    """Bilinear enlargement by two, then the modulated convolution."""

    def convolve(self, x: Tensor, kernel: Tensor, bias: Tensor | None) -> Tensor:
        x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        return super().convolve(x, kernel, bias)


class ModulatedRGB(nn.Module):
    """Modulated 1x1 convolution to colours, without demodulation.

    Three outputs are so few that a kernel a sample is cheaper than scaling the map.
    """

    def __init__(self, inner: int, style: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(3, inner, 1, 1))
        self.modulation = nn.Linear(style, inner)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """Colours (N, 3, H, W) of a map (N, inner, H, W)."""
        n, inner, height, width = x.shape
        kernels = self.weight.view(1, 3, inner) * self.modulation(style)[:, None]
        pixels = x.permute(0, 2, 3, 1).reshape(n, -1, inner)
        return (pixels @ kernels.transpose(1, 2)).view(n, height, width, 3).permute(0, 3, 1, 2)
