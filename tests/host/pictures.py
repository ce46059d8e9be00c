"""Pictures for the host lane, and the pipeline of the example workflow called without ComfyUI."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageFilter
from skimage import data

from kintsugi.models import zoo
from kintsugi.stages.blend import blend
from kintsugi.stages.face_detect import detect
from kintsugi.stages.host import Host
from kintsugi.stages.landmark_align import align
from kintsugi.stages.provenance import after_restore
from kintsugi.stages.restore import restore


def damaged_portrait() -> Image.Image:
    """A public-domain portrait, small, blurred and noisy."""
    sharp = Image.fromarray(data.astronaut()).crop((0, 0, 400, 400))
    pixels = np.asarray(sharp.filter(ImageFilter.GaussianBlur(2)), np.float32)
    noise = np.random.default_rng(7).normal(0, 8, pixels.shape)
    return Image.fromarray(np.clip(pixels + noise, 0, 255).astype(np.uint8))


def transparent_portrait() -> Image.Image:
    """The damaged portrait, fading out to the left."""
    portrait = damaged_portrait()
    fading = np.linspace(40, 255, portrait.width).astype(np.uint8)
    portrait.putalpha(Image.fromarray(np.tile(fading, (portrait.height, 1))))
    return portrait


def group() -> Image.Image:
    """Three times the damaged portrait: large, smaller, and small and tilted."""
    portrait = damaged_portrait()
    picture = Image.new("RGB", (1000, 500), (70, 80, 90))
    picture.paste(portrait, (40, 50))
    picture.paste(portrait.resize((240, 240)), (480, 20))
    picture.paste(portrait.resize((170, 170)).rotate(12), (740, 280))
    return picture


def no_face() -> Image.Image:
    """A picture of the same size without a person: a rocket on its launch pad."""
    return Image.fromarray(np.ascontiguousarray(data.rocket()[:400, :400]))


def loaded(path: Path) -> torch.Tensor:
    """(1, H, W, C) of a file, as LoadImage reads it."""
    return torch.from_numpy(pixels(path).astype(np.float32) / 255.0)[None]


def pixels(path: Path) -> np.ndarray:
    """uint8 (H, W, C) of a file."""
    with Image.open(path) as picture:
        return np.asarray(picture)


def as_saved(image: torch.Tensor) -> np.ndarray:
    """uint8 (B, H, W, C), rounded as SaveImage does."""
    return np.clip(255.0 * image.cpu().numpy(), 0, 255).astype(np.uint8)


@torch.inference_mode()
def pipeline(image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Picture and mask of the example workflow's settings, by the stages themselves.

    The server has no model files, so its "auto" has the built-in restorer alone, and so it has
    here.
    """
    faces = detect(image)
    crops, faces = align(image, faces)
    host = Host(library=zoo.Library({}))
    restored = restore(crops, faces=faces, host=host)
    return blend(image, restored.crops, after_restore(faces, restored, host))
