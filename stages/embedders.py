"""Face embeddings behind one interface: which person a crop shows, as a unit vector.

An embedder sees its own cut of the FFHQ crop, and its cosine similarities have their own scale; the
table here turns both into something common: crops in, probabilities of the same person out.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..models import zoo
from ..models.onnx_network import OnnxNetwork, installed, load_onnx
from . import geometry
from .batch import check_crops
from .host import Host
from .passes import in_passes
from .pixels import feed


@dataclass(frozen=True)
class Embedder:
    """What is known of one embedder's similarities.

    values: length of its embedding. centre, slope: of the logistic curve that turns a cosine into
    the probability of the same person when both answers are equally likely beforehand.
    calibrated: "measured", fitted by this project to pairs of people it was not trained on;
    "published", from a threshold and an accuracy its authors publish, see `_published`; "borrowed",
    the same with the threshold of a network of its family, for its authors publish none.
    source: of those figures.
    """

    values: int
    centre: float
    slope: float
    calibrated: str
    source: str


def _published(threshold: float, quantile: float) -> tuple[float, float]:
    """Centre and slope from one published operating point.

    If both kinds of pairs are spread alike, strangers around a cosine of 0 and the same person
    around twice the threshold, the posterior is logistic; its slope is then 2 z^2 / threshold, z
    the normal quantile of the accuracy at the threshold.
    """
    return threshold, 2 * quantile**2 / threshold


#: By card name, best first: what "auto" takes of those on disk. AdaFace before ArcFace by the
#: accuracies both papers give on IJB-C; ours, the smallest, last.
EMBEDDERS: dict[str, Embedder] = {
    "adaface-ir101": Embedder(
        512, *_published(0.3, 2.88), "published",
        "threshold 0.3: its author in mk-minchul/AdaFace, issue 161; accuracy 99.8 % on LFW: the "
        "paper, table 3",
    ),
    "adaface-ir50": Embedder(
        512, *_published(0.3, 2.88), "published",
        "threshold 0.3: its author in mk-minchul/AdaFace, issue 161; accuracy 99.8 % on LFW: the "
        "paper, table 3",
    ),
    "arcface-ir-se50": Embedder(
        512, *_published(0.23, 2.59), "published",
        "squared distance 1.54, which is a cosine of 0.23, and 99.52 % on LFW: "
        "TreB1eN/InsightFace_Pytorch, face_verify.py and README",
    ),
    "auraface": Embedder(
        512,
        *_published(0.32, 2.59),
        "borrowed",
        "no threshold found published; that of deepface for ArcFace (cosine distance 0.68) and the "
        "accuracy of ArcFace IR-SE50 stand in",
    ),
    "facenet-vggface2": Embedder(
        512, *_published(0.45, 2.70), "published",
        "squared distance 1.1, which is a cosine of 0.45: the FaceNet paper, figure 1; accuracy "
        "99.65 % on LFW: timesler/facenet-pytorch, README",
    ),
    "sface": Embedder(
        128, *_published(0.363, 2.51), "published",
        "threshold 0.363 and 99.4 % on LFW: opencv/opencv_zoo, models/face_recognition_sface",
    ),
    "kintsugi-identity": Embedder(
        128, 0.3532, 19.14, "measured", "benchmarks/results/identity.md",
    ),
}  # fmt: skip

#: Where a detector's box lies in an FFHQ crop of 512 px (x0, y0, x1, y1), and how much of the 160
#: px that FaceNet sees lies outside it: median box of the project's training faces; margin 14 of
#: facenet-pytorch's LFW evaluation.
FACE_BOX, BOX_MARGIN = (115.7, 89.5, 397.7, 471.7), 14


def choose(
    name: str, commercial_only: bool = False, library: zoo.Library | None = None
) -> zoo.ModelCard:
    """The card that an embedder's name stands for, or "auto": the best one that can run now.

    Args:
        name: a key of EMBEDDERS, or "auto"; that takes nothing that would have to be fetched, and
            an ONNX graph only where onnxruntime is installed.
        commercial_only: refuse models whose licence does not clearly allow commercial use.
        library: where files are looked for; the command line's folders without it.

    Raises:
        ValueError: no such embedder, or its licence does not pass the filter.
        HubError: "auto", and not even the built-in one is there.
    """
    if name == "auto":
        found = {card.name: card for card in zoo.available("embedder", library)}
        for known in EMBEDDERS:
            card = found.get(known)
            if card and zoo.allowed(card, commercial_only=commercial_only) and _runs(card):
                return card
        raise zoo.HubError("no embedder is on disk, not even kintsugi-identity; reinstall the pack")
    card = zoo.CARDS.get(name)
    if name not in EMBEDDERS or card is None:
        raise ValueError(f"unknown embedder {name!r}; choose auto or one of {', '.join(EMBEDDERS)}")
    zoo.check_allowed(card, commercial_only)
    return card


def _runs(card: zoo.ModelCard) -> bool:
    return card.architecture != "onnx" or installed()


def embed(
    crops: Tensor,
    *,
    model: str = "auto",
    commercial_only: bool = False,
    host: Host | None = None,
) -> Tensor:
    """Who the crops show.

    Args:
        crops: (N, S, S, C) in [0, 1], FFHQ-aligned, any S, C of 1, 3 or 4; N may be 0.
        model: a key of EMBEDDERS or "auto", see `choose`.
        commercial_only: see `choose`.

    Returns:
        (N, D) float32 on the CPU, of unit length: scalar products are cosine similarities.

    Raises:
        ValueError: wrong shapes, no such embedder, refused licence.
        RuntimeMissingError: the embedder is an ONNX graph and onnxruntime is missing.
    """
    crops = check_crops(crops)
    host = host or Host()
    card = choose(model, commercial_only, host.library)
    if not len(crops):
        return torch.zeros(0, EMBEDDERS[card.name].values)
    crops = crops.expand(-1, -1, -1, 3) if crops.shape[-1] == 1 else crops[..., :3]
    network = _load(card, host)

    @torch.inference_mode()
    def run(part: Tensor) -> Tensor:
        fed = feed(view(part.permute(0, 3, 1, 2).float(), card), card.pixels)
        return F.normalize(network(fed).float(), dim=1)

    return in_passes(crops, run, host)


def _load(card: zoo.ModelCard, host: Host) -> torch.nn.Module | OnnxNetwork:
    if card.architecture != "onnx":
        return host.load(card.name)
    return load_onnx(zoo.locate(card.name, library=host.library, progress=host.progress))


def view(crops: Tensor, card: zoo.ModelCard) -> Tensor:
    """What an embedder is shown of FFHQ crops, antialiased where that is smaller.

    Args:
        crops: (N, 3, S, S) in [0, 1].
        card: whose `template` and `crop` say what it wants.

    Returns:
        (N, 3, card.crop, card.crop) in [0, 1].

    Convention: pixel centres (align_corners=False); the FFHQ template is `geometry.template`'s.
    """
    theta = placement(card)
    count, _, size, _ = crops.shape
    # Pixels of the view for one pixel of the crop, across and down.
    across, down = (float(card.crop / (theta[i, i] * size)) for i in (0, 1))
    sides = [max(round(size * min(ratio, 1)), 1) for ratio in (down, across)]
    if min(across, down) < 1:
        crops = F.interpolate(crops, size=sides, mode="bicubic", antialias=True)
    grid = F.affine_grid(
        theta.to(crops).expand(count, -1, -1), [count, 3, card.crop, card.crop], align_corners=False
    )
    seen = F.grid_sample(
        crops, grid, mode="bicubic", padding_mode="reflection", align_corners=False
    )
    return seen.clamp(0, 1)


def placement(card: zoo.ModelCard) -> Tensor:
    """(2, 3) from the view to the FFHQ crop, both from -1 to 1 over their sides."""
    ffhq = geometry.template("ffhq")
    if card.template == "box":
        x0, y0, x1, y1 = FACE_BOX
        inner = card.crop - BOX_MARGIN
        across, down, start = (x1 - x0) / inner, (y1 - y0) / inner, BOX_MARGIN / 2 - 0.5
        to_crop = torch.tensor([[across, 0, x0 - across * start], [0, down, y0 - down * start]])
    else:
        own = geometry.template(card.template)
        to_crop = geometry.similarity(own.points(card.crop)[None], ffhq.points(ffhq.size))[0]
    half, whole = card.crop / 2, ffhq.size / 2
    enter = torch.tensor([[half, 0, half - 0.5], [0, half, half - 0.5]], dtype=torch.float64)
    leave = torch.tensor(
        [[1 / whole, 0, 0.5 / whole - 1], [0, 1 / whole, 0.5 / whole - 1]], dtype=torch.float64
    )
    return geometry.compose(leave, geometry.compose(to_crop.double(), enter)).float()


def similarity(first: Tensor, second: Tensor) -> Tensor:
    """Cosine similarities (...) of unit vectors (..., D), row by row; shapes broadcast."""
    return (first * second).sum(-1)


def probability(similarity: Tensor, model: str) -> Tensor:
    """How likely it is that two faces are one person's, both answers equally likely beforehand.

    Args:
        similarity: cosines, any shape.
        model: the embedder they come from, a key of EMBEDDERS; how far its curve is to be trusted
            is said by its `calibrated`.

    Returns:
        Probabilities in [0, 1], rising with the similarity.

    Raises:
        ValueError: no such embedder.
    """
    curve = _curve(model)
    return torch.sigmoid(curve.slope * (similarity - curve.centre))


def similarity_at(probability: float, model: str) -> float:
    """The cosine at which `probability` (0 to 1, exclusive) is reached: the curve's inverse."""
    if not 0 < probability < 1:
        raise ValueError(f"probability is {probability}; choose a number between 0 and 1")
    curve = _curve(model)
    return curve.centre + float(torch.logit(torch.tensor(probability).double())) / curve.slope


def _curve(model: str) -> Embedder:
    if model not in EMBEDDERS:
        raise ValueError(f"unknown embedder {model!r}; choose one of {', '.join(EMBEDDERS)}")
    return EMBEDDERS[model]
