"""A sample picture to try the pack on: an album page of public-domain portraits, damaged in code.

The portraits come with two packages of the extra `demo`: Eileen Collins (NASA, scikit-image's
`astronaut`) and Grace Hopper (United States Navy, matplotlib's sample data).
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageOps

Damage = Callable[[Image.Image, np.random.Generator], Image.Image]

SIZE = (1200, 720)
_PAPER = (206, 199, 186)


class SamplesMissingError(RuntimeError):
    """The packages that carry the portraits are not installed."""


def portraits() -> dict[str, Image.Image]:
    """The two portraits in RGB: "collins" (512 x 512) and "hopper" (512 x 600).

    Raises:
        SamplesMissingError: the extra `demo` is not installed.
    """
    try:
        from matplotlib import cbook
        from skimage import data
    except ImportError as error:
        raise SamplesMissingError(
            f"the sample portraits need {error.name}, which is not installed; "
            'run: pip install "kintsugi-faces[demo]"'
        ) from error
    with Image.open(cbook.get_sample_data("grace_hopper.jpg")) as hopper:
        return {"collins": Image.fromarray(data.astronaut()), "hopper": hopper.convert("RGB")}


def _jpeg(picture: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


def _noise(picture: Image.Image, rng: np.random.Generator, deviation: float) -> Image.Image:
    noisy = np.asarray(picture) + rng.normal(0, deviation, (picture.height, picture.width, 3))
    return Image.fromarray(noisy.round().clip(0, 255).astype(np.uint8))


def out_of_focus(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Blurred, grainy and saved at a low quality."""
    return _jpeg(_noise(picture.filter(ImageFilter.GaussianBlur(2.6)), rng, 9), 35)


def aged(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """An old print: soft, faded, brown, scratched."""
    grey = np.asarray(picture.filter(ImageFilter.GaussianBlur(1.3)).convert("L")) / 255
    brown = (0.22 + 0.62 * grey)[..., None] * np.array([255, 228, 184])
    old = _noise(Image.fromarray(brown.astype(np.uint8)), rng, 6)
    draw = ImageDraw.Draw(old)
    for _ in range(7):
        x, y = rng.uniform(0, old.width), rng.uniform(0, old.height)
        length, lean = rng.uniform(40, 200), rng.uniform(-0.25, 0.25)
        draw.line((x, y, x + lean * length, y + length), fill=(236, 222, 192), width=1)
    return old


def enlarged(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Blown up from a third of its size, with the blocks of a small JPEG."""
    small = picture.resize((picture.width // 3, picture.height // 3), Image.Resampling.LANCZOS)
    return _jpeg(small, 60).resize(picture.size, Image.Resampling.BICUBIC)


def grainy(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Little light: strong noise on a slightly soft picture."""
    return _jpeg(_noise(picture.filter(ImageFilter.GaussianBlur(0.8)), rng, 16), 70)


@dataclass(frozen=True)
class _Print:
    """A photo on the page: whose portrait, which part of it (box), its width and place there."""

    who: str
    box: tuple[int, int, int, int]
    width: int
    place: tuple[int, int]
    damage: Damage
    angle: float = 0.0
    mirrored: bool = False


#: Faces of about 200, 110, 70, 60 and 40 px.
_PAGE = (
    _Print("hopper", (0, 0, 512, 600), 512, (45, 50), out_of_focus),
    _Print("collins", (50, 0, 450, 330), 420, (630, 45), aged),
    _Print("collins", (90, 0, 390, 320), 200, (620, 440), enlarged, angle=8, mirrored=True),
    _Print("hopper", (90, 0, 460, 400), 130, (860, 450), grainy, angle=-6),
    _Print("collins", (90, 0, 390, 320), 110, (1030, 470), grainy),
)


def album(*, damage: bool = True, seed: int = 0) -> Image.Image:
    """The album page, `SIZE` pixels, RGB.

    Args:
        damage: False gives the same page with the portraits as they are.
        seed: of the noise and the scratches; the same seed gives the same pixels.

    Raises:
        SamplesMissingError: the extra `demo` is not installed.
    """
    people, rng = portraits(), np.random.default_rng(seed)
    page = Image.new("RGB", SIZE, _PAPER)
    for photo in _PAGE:
        picture = people[photo.who].crop(photo.box)
        height = round(picture.height * photo.width / picture.width)
        picture = picture.resize((photo.width, height), Image.Resampling.LANCZOS)
        picture = ImageOps.mirror(picture) if photo.mirrored else picture
        picture = photo.damage(picture, rng) if damage else picture
        framed = ImageOps.expand(picture, 10, (245, 243, 238)).convert("RGBA")
        turned = framed.rotate(photo.angle, Image.Resampling.BICUBIC, expand=True)
        shadow = Image.new("RGBA", turned.size, (60, 54, 46))
        shadow.putalpha(turned.getchannel("A").point(lambda alpha: alpha * 0.45))
        page.paste(shadow, (photo.place[0] + 4, photo.place[1] + 5), shadow)
        page.paste(turned, photo.place, turned)
    return page
