"""kintsugi-identity: which person an aligned face shows, as a direction in 128 dimensions.

A residual network of plain 3x3 convolutions at 28, 14 and 7 px, after a stem that shrinks the face
fourfold; then the head of MobileFaceNet (Chen et al. 2018, https://arxiv.org/abs/1804.07573): each
of many channels weighs the places of its map with a kernel of its own, for a mean over the map
forgets where the eyes and the mouth are. Plain convolutions before it, because processors run them
several times faster for the same sums than the depthwise ones of that paper.

Trained by `training/identity.py`. Run it in float32: a cosine is compared with thresholds.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from .architecture import Architecture, StateDict, sequence_length
from .batch_norm import fold_batch_norms

#: Side of the picture, and of the last map.
SIDE, LAST = 112, 7


class Convolution(nn.Module):
    """A convolution and, while it is trained, the batch norm that is folded into it later."""

    def __init__(self, before: int, width: int, stride: int, norm: bool, **other):
        super().__init__()
        shape = {"kernel_size": 3, "padding": 1} | other
        self.conv = nn.Conv2d(before, width, stride=stride, bias=not norm, **shape)
        self.norm = nn.BatchNorm2d(width) if norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x))


class Block(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, width: int, norm: bool):
        super().__init__()
        self.first = Convolution(width, width, 1, norm)
        self.second = Convolution(width, width, 1, norm)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.second(F.relu(self.first(x))))


class IdentityNet(nn.Module):
    """Faces to unit vectors.

    Args:
        stem: channels at 56 px.
        widths: channels at 28, 14 and 7 px.
        blocks: residual blocks there.
        wide: channels of the head.
        values: length of the embedding.
        norm: with batch norms, for training.
    """

    def __init__(
        self,
        stem: int = 24,
        widths: tuple[int, ...] = (32, 80, 160),
        blocks: tuple[int, ...] = (1, 2, 2),
        wide: int = 512,
        values: int = 128,
        norm: bool = False,
    ):
        super().__init__()
        self.stem = Convolution(3, stem, 2, norm)
        befores = (stem, *widths[:-1])
        self.down = nn.ModuleList(
            Convolution(before, width, 2, norm)
            for before, width in zip(befores, widths, strict=True)
        )
        self.blocks = nn.ModuleList(
            nn.ModuleList(Block(width, norm) for _ in range(count))
            for width, count in zip(widths, blocks, strict=True)
        )
        self.widen = Convolution(widths[-1], wide, 1, norm, kernel_size=1, padding=0)
        self.places = Convolution(wide, wide, 1, norm, kernel_size=LAST, padding=0, groups=wide)
        self.embedding = nn.Linear(wide, values)

    def maps(self, image: Tensor) -> list[Tensor]:
        """What each stage makes of `image`: (N, C, 28, 28), (N, C, 14, 14) and (N, C, 7, 7)."""
        x = F.relu(self.stem(image))
        found = []
        for down, blocks in zip(self.down, self.blocks, strict=True):
            x = F.relu(down(x))
            for block in blocks:
                x = block(x)
            found.append(x)
        return found

    def embed(self, last: Tensor) -> Tensor:
        """The embedding of the last of `maps`."""
        pooled = self.places(F.relu(self.widen(last)))  # (N, wide, 1, 1)
        return F.normalize(self.embedding(pooled.flatten(1)), dim=1)

    def forward(self, image: Tensor) -> Tensor:
        """Embeddings of aligned faces.

        Args:
            image: (N, 3, 112, 112), RGB in [-1, 1], aligned to the ArcFace template.

        Returns:
            (N, 128), of unit length: their scalar product is the cosine similarity.
        """
        return self.embed(self.maps(image)[-1])


def folded(state: StateDict) -> StateDict:
    """The weights of a trained network with its batch norms folded into the convolutions."""
    return fold_batch_norms(state, lambda norm: norm.removesuffix("norm") + "conv")


def _construct(state: StateDict) -> IdentityNet:
    levels = sequence_length(state, "down")
    return IdentityNet(
        stem=len(state["stem.conv.weight"]),
        widths=tuple(len(state[f"down.{level}.conv.weight"]) for level in range(levels)),
        blocks=tuple(sequence_length(state, f"blocks.{level}") for level in range(levels)),
        wide=len(state["widen.conv.weight"]),
        values=len(state["embedding.weight"]),
    )


def _widen(state: StateDict) -> StateDict:
    """The file stores half precision to be small; the network runs in single."""
    return {name: value.float() for name, value in state.items()}


ARCHITECTURE = Architecture(
    name="kintsugi-identity",
    keys=("stem.conv.weight", "places.conv.weight", "embedding.weight", "down.0.conv.weight"),
    construct=_construct,
    convert=_widen,
)
