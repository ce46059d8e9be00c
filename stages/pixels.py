"""How pixels in [0, 1] become what a network is fed, by the name its card gives that (`pixels`)."""

from __future__ import annotations

import torch
from torch import Tensor

#: For each name: are the channels blue, green, red; what is subtracted; what that is divided by.
#: Means and deviations are in [0, 1] and in the network's channel order. "imagenet": torchvision's
#: normalisation; "bgr-mean": Caffe's mean of ImageNet, left in 0..255.
_FEEDS: dict[str, tuple[bool, tuple[float, ...], tuple[float, ...]]] = {
    "0..1": (False, (0.0,), (1.0,)),
    "0..255": (False, (0.0,), (1 / 255,)),
    "-1..1": (False, (0.5,), (0.5,)),
    "imagenet": (False, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "bgr-0..1": (True, (0.0,), (1.0,)),
    "bgr-255": (True, (0.0,), (1 / 255,)),
    "bgr-mean": (True, (104 / 255, 117 / 255, 123 / 255), (1 / 255,)),
}


def feed(pictures: Tensor, pixels: str) -> Tensor:
    """Pictures as a network wants them.

    Args:
        pictures: (N, 3, H, W), RGB in [0, 1].
        pixels: one of `ModelCard.pixels`.

    Returns:
        (N, 3, H, W) in the network's range and channel order.

    Raises:
        ValueError: no such range.
    """
    if pixels == "0..1":
        return pictures
    flipped, mean, deviation = _range(pixels, pictures)
    return ((pictures.flip(1) if flipped else pictures) - mean) / deviation


def read(output: Tensor, pixels: str) -> Tensor:
    """The inverse of `feed`: what a network answers in its own range, as RGB in [0, 1].

    Args:
        output: (N, 3, H, W) in the network's range and channel order.
        pixels: one of `ModelCard.pixels`.

    Raises:
        ValueError: no such range.
    """
    flipped, mean, deviation = _range(pixels, output)
    pictures = output * deviation + mean
    return pictures.flip(1) if flipped else pictures


def _range(pixels: str, like: Tensor) -> tuple[bool, Tensor, Tensor]:
    if pixels not in _FEEDS:
        raise ValueError(f"unknown pixel range {pixels!r}; known: {', '.join(_FEEDS)}")
    flipped, *numbers = _FEEDS[pixels]
    mean, deviation = (like.new_tensor(values).view(-1, 1, 1) for values in numbers)
    return flipped, mean, deviation


def run(network: torch.nn.Module, pictures: Tensor, pixels: str):
    """What `network` says of `pictures`: (N, 3, H, W), RGB in [0, 1], on its device."""
    dtype = next(network.parameters()).dtype
    with torch.inference_mode():
        return network(feed(pictures, pixels).to(dtype))
