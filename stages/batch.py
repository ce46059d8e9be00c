"""Checks that every stage makes of the pictures and crops handed to it."""

from __future__ import annotations

import torch
from torch import Tensor

from .faces import Faces


def check(image: Tensor, name: str = "image") -> Tensor:
    """A batch of pictures, (B, H, W, C) with 1, 3 or 4 channels, finite; B may be 0.

    Args:
        image: as ComfyUI passes it; a single (H, W, C) picture becomes a batch of one.
        name: what the messages call it.

    Returns:
        The same pictures, (B, H, W, C).

    Raises:
        ValueError: another shape, integers, or values that are not numbers.
    """
    if not isinstance(image, Tensor):
        raise ValueError(f"{name} is a {type(image).__name__}; expected a tensor (B, H, W, C)")
    if image.dim() == 3:
        image = image[None]
    if image.dim() != 4 or image.shape[-1] not in (1, 3, 4):
        raise ValueError(
            f"{name} has shape {tuple(image.shape)}; expected (B, H, W, C) with 1, 3 or 4 channels"
        )
    if 0 in image.shape[1:]:
        raise ValueError(
            f"{name} has shape {tuple(image.shape)}: pictures without a pixel; look at what the "
            "node before it did"
        )
    if not image.is_floating_point():
        raise ValueError(f"{name} is {image.dtype}; expected float values in [0, 1]")
    for frame, picture in enumerate(image):
        # A sum of rows is finite only if all values are, and is many times faster than asking each;
        # float16 may overflow in it, so the values themselves decide.
        if torch.isfinite(picture.flatten(1).sum(dim=1)).all():
            continue
        bad = int((~torch.isfinite(picture)).sum())
        if bad:
            raise ValueError(
                f"{name}: picture {frame} has {bad} values that are NaN or infinite; "
                "the node before it went wrong (a VAE in half precision often does)"
            )
    return image


def check_mask(mask: Tensor, name: str = "mask") -> Tensor:
    """A batch of masks, (B, H, W), finite.

    Args:
        mask: (B, H, W), (H, W), or (B, 1, H, W) as some nodes give it.
        name: what the messages call it.

    Raises:
        ValueError: another shape, or values that are not numbers.
    """
    if isinstance(mask, Tensor) and mask.dim() == 4 and mask.shape[1] == 1:
        mask = mask[:, 0]
    if not isinstance(mask, Tensor) or mask.dim() not in (2, 3) or 0 in mask.shape:
        seen = tuple(mask.shape) if isinstance(mask, Tensor) else type(mask).__name__
        raise ValueError(f"{name} is {seen}; expected (B, H, W) or (H, W)")
    if not torch.isfinite(mask).all():
        raise ValueError(
            f"{name} has values that are NaN or infinite; the node before it went wrong"
        )
    return mask[None] if mask.dim() == 2 else mask


def check_crops(crops: Tensor, name: str = "crops") -> Tensor:
    """Square crops, (N, S, S, C); N may be 0. Raises ValueError naming the shape."""
    if isinstance(crops, Tensor) and crops.dim() == 4 and crops.shape[0] == 0:
        return crops
    crops = check(crops, name)
    if crops.shape[1] != crops.shape[2]:
        raise ValueError(
            f"{name} are {crops.shape[2]} x {crops.shape[1]} pixels; expected squares, "
            "as LandmarkAlign makes them"
        )
    return crops


def check_same_pictures(image: Tensor, faces: Faces) -> None:
    """Raise ValueError unless `faces` were found in pictures of this number and size."""
    frames, height, width = image.shape[:3]
    if (frames, height, width) != (faces.frames, faces.height, faces.width):
        raise ValueError(
            f"the faces were found in {faces.frames} picture(s) of {faces.width} x {faces.height}, "
            f"but the image has {frames} of {width} x {height}; wire the same image to both nodes"
        )
