"""CodeFormer: a transformer guesses the codes of a clean face, a decoder paints them.

Paper: Zhou, Chan, Li, Loy, "Towards Robust Blind Face Restoration with Codebook Lookup
Transformer", NeurIPS 2022. The inpainting and the colourisation checkpoints differ in the size of
the codebook and in the scales at which encoder features are fused.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .architecture import Architecture, StateDict, sequence_length
from .vqgan import Attention, Downsample, ResBlock, Upsample, group_norm
from .winograd import Conv3x3

#: Channels of the map at each size of the fixed 512 px pyramid.
WIDTHS = {512: 64, 256: 128, 128: 128, 64: 256, 32: 256, 16: 512}
#: Transformer heads: not readable from shapes; every published checkpoint has 8.
HEADS = 8
#: Codebook entries of the inpainting checkpoint; the others have 1024.
INPAINTING_CODES = 512


class Encoder(nn.Module):
    """Image (N, 3, 512, 512) to latent (N, latent, 16, 16), and the maps passed on the way."""

    def __init__(self, latent: int) -> None:
        super().__init__()
        width = WIDTHS[max(WIDTHS)]
        blocks: list[nn.Module] = [nn.Conv2d(3, width, 3, padding=1)]
        self.taps: dict[int, int] = {}
        for size, outer in WIDTHS.items():
            for _ in range(2):
                self.taps[size] = len(blocks)
                blocks.append(ResBlock(width, outer))
                width = outer
                if size == 16:
                    blocks.append(Attention(width))
            if size != 16:
                blocks.append(Downsample(width))
        blocks += [ResBlock(width, width), Attention(width), ResBlock(width, width)]
        blocks += [group_norm(width), nn.Conv2d(width, latent, 3, padding=1)]
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor, sizes: set[int]) -> tuple[Tensor, dict[int, Tensor]]:
        kept = {self.taps[size]: size for size in sizes}
        features = {}
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in kept:
                features[kept[index]] = x
        return x, features


class Generator(nn.Module):
    """Latent (N, latent, 16, 16) to image (N, 3, 512, 512); `taps` says where to fuse."""

    def __init__(self, latent: int) -> None:
        super().__init__()
        width = WIDTHS[16]
        blocks: list[nn.Module] = [nn.Conv2d(latent, width, 3, padding=1)]
        blocks += [ResBlock(width, width), Attention(width), ResBlock(width, width)]
        self.taps: dict[int, int] = {}
        for size, outer in reversed(WIDTHS.items()):
            for turn in range(2):
                if turn == 0 or size == 16:
                    self.taps[size] = len(blocks)
                blocks.append(ResBlock(width, outer))
                width = outer
                if size == 16:
                    blocks.append(Attention(width))
            if size != max(WIDTHS):
                blocks.append(Upsample(width))
        blocks += [group_norm(width), nn.Conv2d(width, 3, 3, padding=1)]
        self.blocks = nn.ModuleList(blocks)


class TransformerLayer(nn.Module):
    """Pre-norm self-attention and MLP over tokens (N, T, width)."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.self_attn = nn.MultiheadAttention(width, HEADS)  # holds the published names
        self.linear1 = nn.Linear(width, hidden)
        self.linear2 = nn.Linear(hidden, width)
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)

    def forward(self, x: Tensor, position: Tensor) -> Tensor:
        x = x + self.attend(self.norm1(x), position)
        return x + self.linear2(F.gelu(self.linear1(self.norm2(x))))

    def attend(self, x: Tensor, position: Tensor) -> Tensor:
        """Queries and keys know their position, values do not."""
        n, tokens, width = x.shape
        weight, bias = self.self_attn.in_proj_weight, self.self_attn.in_proj_bias
        where = F.linear(x + position, weight[: 2 * width], bias[: 2 * width])
        what = F.linear(x, weight[2 * width :], bias[2 * width :])
        q, k = where.view(n, tokens, 2, HEADS, width // HEADS).permute(2, 0, 3, 1, 4)
        v = what.view(n, tokens, HEADS, width // HEADS).transpose(1, 2)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(x.shape)
        return self.self_attn.out_proj(mixed)


class Fusion(nn.Module):
    """Controllable feature transformation: encoder features scale and shift the decoder's."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.encode_enc = ResBlock(2 * width, width)
        self.scale = self._branch(width)
        self.shift = self._branch(width)

    @staticmethod
    def _branch(width: int) -> nn.Sequential:
        return nn.Sequential(
            Conv3x3(width, width),
            nn.LeakyReLU(0.2, inplace=True),
            Conv3x3(width, width),
        )

    def forward(self, encoded: Tensor, decoded: Tensor, weight: float | Tensor) -> Tensor:
        both = self.encode_enc(torch.cat((encoded, decoded), dim=1))
        change = self.scale(both).mul_(decoded).add_(self.shift(both))
        return change.mul_(weight).add_(decoded)


def adaptive_instance_norm(content: Tensor, style: Tensor) -> Tensor:
    """`content` with the mean and spread of `style`, per sample and channel."""
    spread, mean = torch.var_mean(content, (2, 3), keepdim=True)
    wanted, target = torch.var_mean(style, (2, 3), keepdim=True)
    return (content - mean) * ((wanted + 1e-5) / (spread + 1e-5)).sqrt() + target


class CodeFormer(nn.Module):
    """The network.

    Args:
        codes, latent: entries of the codebook and their length.
        width, hidden, layers: the transformer's width, that of its MLPs, its depth.
        tokens: positions it was trained for; 256 for 16 x 16.
        sizes: map sizes at which encoder features are fused.
        adain: give the looked-up codes the statistics of the encoder's latent.
        fidelity: the weight of the fusion when `forward` is given none.
    """

    def __init__(
        self,
        *,
        codes: int,
        latent: int,
        width: int,
        hidden: int,
        layers: int,
        tokens: int,
        sizes: tuple[int, ...],
        adain: bool,
        fidelity: float,
    ) -> None:
        super().__init__()
        self.adain, self.fidelity, self.sizes = adain, fidelity, sizes
        self.position_emb = nn.Parameter(torch.empty(tokens, width))
        self.encoder = Encoder(latent)
        self.quantize = nn.ModuleDict({"embedding": nn.Embedding(codes, latent)})
        self.generator = Generator(latent)
        self.feat_emb = nn.Linear(latent, width)
        self.ft_layers = nn.ModuleList(TransformerLayer(width, hidden) for _ in range(layers))
        self.idx_pred_layer = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, codes, bias=False)
        )
        self.fuse_convs_dict = nn.ModuleDict({str(size): Fusion(WIDTHS[size]) for size in sizes})

    def forward(self, image: Tensor, fidelity: float | Tensor | None = None) -> Tensor:
        """Restore aligned faces.

        Args:
            image: (N, 3, 512, 512), RGB in [-1, 1].
            fidelity: 0 trusts the codebook, 1 the input; a number or one per face (N,). None
                takes the checkpoint's own: 0.5, for inpainting 1, for colourisation 0.

        Returns:
            (N, 3, 512, 512), RGB in [-1, 1], not clamped.

        Raises:
            ValueError: the image is not 512 px.
        """
        side, (height, width) = max(WIDTHS), image.shape[2:]
        if (height, width) != (side, side):
            raise ValueError(f"CodeFormer takes {side} x {side} faces, got {width} x {height}")
        weight = self.fidelity if fidelity is None else fidelity
        fuses = bool((weight > 0).any()) if isinstance(weight, Tensor) else weight > 0
        if isinstance(weight, Tensor):
            weight = weight.to(image).view(-1, 1, 1, 1)
        sizes = set(self.sizes) if fuses else set()
        image = image.contiguous(memory_format=torch.channels_last)
        latent, features = self.encoder(image, sizes)
        x = self.look_up(latent)
        fused = {self.generator.taps[size]: size for size in sizes}
        for index, block in enumerate(self.generator.blocks):
            x = block(x)
            if index in fused:
                size = fused[index]
                x = self.fuse_convs_dict[str(size)](features.pop(size), x, weight)
        return x

    def look_up(self, latent: Tensor) -> Tensor:
        """The codes the transformer expects behind a degraded latent (N, latent, 16, 16)."""
        n, _, height, width = latent.shape
        tokens = self.feat_emb(latent.flatten(2).transpose(1, 2))
        for layer in self.ft_layers:
            tokens = layer(tokens, self.position_emb)
        codes = self.quantize["embedding"](self.idx_pred_layer(tokens).argmax(2))
        codes = codes.view(n, height, width, -1).permute(0, 3, 1, 2)
        return adaptive_instance_norm(codes, latent) if self.adain else codes


def construct(state: StateDict) -> CodeFormer:
    """Sizes off the shapes; which of the three checkpoints it is, off codebook and scales."""
    codes, latent = state["quantize.embedding.weight"].shape
    tokens, width = state["position_emb"].shape
    fused = {key.split(".")[1] for key in state if key.startswith("fuse_convs_dict.")}
    sizes = tuple(size for size in WIDTHS if str(size) in fused)
    inpainting, plain = codes == INPAINTING_CODES, 256 in sizes
    return CodeFormer(
        codes=codes,
        latent=latent,
        width=width,
        hidden=state["ft_layers.0.linear1.weight"].shape[0],
        layers=sequence_length(state, "ft_layers"),
        tokens=tokens,
        sizes=sizes,
        adain=not inpainting,
        fidelity=1.0 if inpainting else 0.5 if plain else 0.0,
    )


ARCHITECTURE = Architecture(
    name="codeformer",
    keys=("position_emb", "ft_layers.0.linear1.weight", "quantize.embedding.weight"),
    construct=construct,
)
