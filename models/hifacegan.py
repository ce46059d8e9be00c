"""HiFaceGAN: features of the damaged face, from coarse to fine, modulate a generator.

Paper: Yang, Liu, Wang et al., "HiFaceGAN: Face Renovation via Collaborative Suppression and
Replenishment", ACM Multimedia 2020.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .architecture import Architecture, StateDict
from .winograd import Conv3x3, conv3x3

#: Sizes halve this often between image and generator start; widths stop growing at 16 times ngf.
HALVINGS, WIDEST = 5, 16
#: Largest logit of the importance pooling.
GATE = 12.0
SLOPE = 0.2


def instance_norm(x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
    """Each channel of each sample to mean 0 and variance 1; keeps the memory format."""
    return F.group_norm(x, x.shape[1], weight, bias, eps=1e-5)


class SpectralConv(nn.Module):
    """Convolution whose stored weight is yet to be divided by its largest singular value."""

    def __init__(self, inner: int, outer: int, kernel: int, bias: bool = True) -> None:
        super().__init__()
        self.weight_orig = nn.Parameter(torch.empty(outer, inner, kernel, kernel))
        self.register_buffer("weight_u", torch.empty(outer))
        self.register_buffer("weight_v", torch.empty(inner * kernel * kernel))
        self.bias = nn.Parameter(torch.empty(outer)) if bias else None

    def fold(self) -> None:
        """Divide once, as evaluation mode would do at every call."""
        largest = self.weight_u @ self.weight_orig.flatten(1) @ self.weight_v
        self.weight = nn.Parameter(self.weight_orig / largest)
        del self.weight_orig, self.weight_u, self.weight_v

    def forward(self, x: Tensor) -> Tensor:
        if self.weight.shape[-1] == 3:
            return conv3x3(x, self.weight, self.bias)
        return F.conv2d(x, self.weight, self.bias)


class Spade(nn.Module):
    """Spatially-adaptive denormalisation: a guide decides scale and shift of every pixel.

    Batch statistics are constants here and both branches are linear, so they fold into one
    convolution that yields the scale and the shift of the raw map.
    """

    def __init__(self, channels: int, guide: int) -> None:
        super().__init__()
        hidden = min(channels, 128)
        self.param_free_norm = nn.BatchNorm2d(channels, affine=False)
        self.mlp_shared = nn.Sequential(Conv3x3(guide, hidden), nn.ReLU())
        self.mlp_gamma = nn.Conv2d(hidden, channels, 3, padding=1, bias=False)
        self.mlp_beta = nn.Conv2d(hidden, channels, 3, padding=1, bias=False)

    def fold(self) -> None:
        """(x - mean) / std * gamma + beta = x * scale + shift."""
        norm = self.param_free_norm
        each = (-1, 1, 1, 1)
        scale = self.mlp_gamma.weight / (norm.running_var + norm.eps).sqrt().view(each)
        shift = self.mlp_beta.weight - norm.running_mean.view(each) * scale
        self.scale_shift = nn.Parameter(torch.cat((scale, shift)))
        del self.param_free_norm, self.mlp_gamma, self.mlp_beta

    def forward(self, x: Tensor, guide: Tensor) -> Tensor:
        hidden = F.relu_(self.mlp_shared[0](guide))
        scale, shift = conv3x3(hidden, self.scale_shift, None).chunk(2, dim=1)
        return torch.addcmul(shift, x, scale)


class Block(nn.Module):
    """Residual block of two guided normalisations and convolutions."""

    def __init__(self, inner: int, outer: int, guide: int) -> None:
        super().__init__()
        middle = min(inner, outer)
        self.conv_0 = SpectralConv(inner, middle, 3)
        self.conv_1 = SpectralConv(middle, outer, 3)
        self.norm_0 = Spade(inner, guide)
        self.norm_1 = Spade(middle, guide)
        self.learned = inner != outer
        if self.learned:
            self.conv_s = SpectralConv(inner, outer, 1, bias=False)
            self.norm_s = Spade(inner, guide)

    def forward(self, x: Tensor, guide: Tensor) -> Tensor:
        h = self.conv_0(F.leaky_relu_(self.norm_0(x, guide), SLOPE))
        h = self.conv_1(F.leaky_relu_(self.norm_1(h, guide), SLOPE))
        return h.add_(self.conv_s(self.norm_s(x, guide)) if self.learned else x)


class ImportancePool(nn.Module):
    """Half the size by a mean whose weights are learnt from the map (local importance pooling)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.logit = nn.Sequential(
            Conv3x3(channels, channels, bias=False),
            nn.InstanceNorm2d(channels, affine=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        conv, norm = self.logit
        logit = instance_norm(conv(x), norm.weight, norm.bias)
        weight = logit.sigmoid_().mul_(GATE).exp_()
        return F.avg_pool2d(x * weight, 3, 2, 1) / F.avg_pool2d(weight, 3, 2, 1)


class Suppressor(nn.Module):
    """Content-adaptive suppression: the image's features at six sizes, damage pooled away."""

    def __init__(self, ngf: int) -> None:
        super().__init__()
        self.head = nn.Sequential(nn.Conv2d(3, ngf, 3, padding=1, bias=False))
        widths = [ngf * min(2**i, WIDEST) for i in range(HALVINGS + 1)]
        for i in range(HALVINGS):
            inner, outer = widths[i], widths[i + 1]
            steps = nn.Sequential(ImportancePool(inner), Conv3x3(inner, outer))
            self.add_module(f"encoder_{i}", steps)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Features, finest first."""
        features = [F.relu_(instance_norm(self.head(image)))]
        for i in range(HALVINGS):
            x = instance_norm(getattr(self, f"encoder_{i}")(features[-1]))
            features.append(F.relu_(x) if i < HALVINGS - 1 else x)
        return features


class HiFaceGAN(nn.Module):
    """The network.

    Args:
        ngf: base width; the authors publish 64, and 48 for small cards.
    """

    def __init__(self, ngf: int) -> None:
        super().__init__()
        wide = WIDEST * ngf
        self.fc = nn.Conv2d(3, wide, 3, padding=1)
        self.head_0 = Block(wide, wide, wide)
        self.G_middle_0 = Block(wide, wide, wide)
        self.G_middle_1 = Block(wide, wide, wide)
        self.ups = nn.ModuleList(
            Block(2 * ngf * m, ngf * m, ngf * m) for m in (8, 4, 2, 1)
        )
        self.to_rgbs = nn.ModuleDict({"3": nn.Conv2d(ngf, 3, 3, padding=1)})
        self.encoder = Suppressor(ngf)

    def forward(self, image: Tensor) -> Tensor:
        """Restore aligned faces.

        Args:
            image: (N, 3, S, S), RGB in [-1, 1], S a multiple of 32; trained at 512.

        Returns:
            (N, 3, S, S), RGB in (-1, 1).

        Raises:
            ValueError: a side is not a multiple of 32.
        """
        step = 2**HALVINGS
        height, width = image.shape[2:]
        if height % step or width % step:
            raise ValueError(f"sides must be multiples of {step}, got {width} x {height}: resize")
        image = image.contiguous(memory_format=torch.channels_last)
        guides = self.encoder(image)
        x = self.fc(F.interpolate(image, size=(height // step, width // step)))
        x = self.head_0(x, guides.pop())
        x = F.interpolate(x, scale_factor=2)
        guide = guides.pop()
        x = self.G_middle_1(self.G_middle_0(x, guide), guide)
        for block in self.ups:
            x = block(F.interpolate(x, scale_factor=2), guides.pop())
        return self.to_rgbs["3"](F.leaky_relu_(x, SLOPE)).tanh_()


def convert(state: StateDict) -> StateDict:
    """One spelling of the middle blocks; without the colours of coarser training phases."""
    names = {key: "G" + key[1:] if key.startswith("g_middle_") else key for key in state}
    return {
        name: state[key]
        for key, name in names.items()
        if not name.startswith(("to_rgbs.0.", "to_rgbs.1.", "to_rgbs.2."))
    }


def construct(state: StateDict) -> HiFaceGAN:
    """The base width off the first layer."""
    return HiFaceGAN(ngf=state["fc.weight"].shape[0] // WIDEST)


ARCHITECTURE = Architecture(
    name="hifacegan",
    keys=("fc.weight", "head_0.conv_0.weight_orig", "encoder.head.0.weight"),
    construct=construct,
    convert=convert,
)
