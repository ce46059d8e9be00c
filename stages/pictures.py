"""Photo files: read upright in their own integers, write back with only the masked pixels changed.

JPEG, PNG, WebP and TIFF with 8 or 16 bits a channel, grey or colour, with or without alpha.
"""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image, JpegImagePlugin, UnidentifiedImageError
from torch import Tensor

from . import containers, deep
from .files import PictureError, save
from .xmp import with_png_packet

#: File name endings and the format each stands for.
FORMATS = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".jpe": "JPEG",
    ".jfif": "JPEG",
    ".png": "PNG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
}

#: Endings of photos that are not read; whoever has some in a folder wants to know.
UNREAD = frozenset(
    (".avif", ".bmp", ".gif", ".heic", ".heif", ".j2k", ".jp2", ".jxl")
    + (".arw", ".cr2", ".cr3", ".dng", ".nef", ".orf", ".raf", ".rw2")
)

#: Largest picture taken, in pixels: its float copies fill about 2 GB each.
MAX_PIXELS = 150_000_000

#: Worst steps of a JPEG table that a restored face is written with (quality 92 of Annex K.1 / 4).
_JPEG_STEP = 8

#: How a format is written into which another one turns.
_UNTOLD = {"JPEG": {"quality": 95}, "WEBP": {"lossless": True}}

#: Colour type of a PNG that is grey with alpha.
_PNG_GREY_ALPHA = 4

#: Rec. 601 luma, as Pillow makes grey of colour.
_LUMA = (0.299, 0.587, 0.114)

#: What brings stored pixels upright, by EXIF orientation.
_UPRIGHT = {
    1: lambda p: p,
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.swapaxes(0, 1),
    6: lambda p: p.swapaxes(0, 1)[:, ::-1],
    7: lambda p: p.swapaxes(0, 1)[::-1, ::-1],
    8: lambda p: p.swapaxes(0, 1)[::-1],
}


@dataclass(frozen=True, eq=False)
class Photo:
    """A photo file in memory.

    path: where it was read. pixels: (H, W, C) uint8 or uint16, upright, never written to; C is 1
    (grey), 2 (grey and alpha), 3 (RGB) or 4 (RGB and alpha). format: "JPEG", "PNG", "WEBP" or
    "TIFF". exif, xmp, icc: metadata blocks or None, the orientation reset. dpi: or None.
    segments: the metadata of a JPEG or PNG as it stands in the file. encoding: arguments that make
    Pillow write as the source was written.
    """

    path: Path
    pixels: np.ndarray
    format: str
    exif: bytes | None = None
    xmp: bytes | None = None
    icc: bytes | None = None
    dpi: tuple[float, float] | None = None
    segments: bytes = b""
    encoding: dict = field(default_factory=dict)

    @property
    def colours(self) -> int:
        """Channels without alpha: 1 or 3."""
        return 1 if self.pixels.shape[2] < 3 else 3

    def tensor(self) -> Tensor:
        """(1, H, W, 3) float32 in [0, 1], RGB; alpha has no part in restoration."""
        colour = self.pixels[..., : self.colours].astype(np.float32)
        image = torch.from_numpy(colour).div_(np.iinfo(self.pixels.dtype).max)[None]
        return image.expand(-1, -1, -1, 3).contiguous() if self.colours == 1 else image


def read(path: Path) -> Photo:
    """Read a photo.

    Raises:
        PictureError: no picture, damaged, a kind that has no exact 8 or 16 bit form, too large or
            too small.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise PictureError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _decode(path, data)
    except PictureError as error:
        raise PictureError(f"{path}: {error}") from error
    except UnidentifiedImageError as error:
        raise PictureError(
            f"{path}: is not a JPEG, PNG, WebP or TIFF picture that can be read; convert it to one "
            "of these, grey or RGB with 8 or 16 bits a channel"
        ) from error
    except Image.DecompressionBombError as error:
        raise PictureError(f"{path}: {error}; make it smaller or cut it into parts") from error
    except ImportError as error:
        raise PictureError(
            f"{path}: cannot be decoded without the package {error.name}; install what "
            "requirements.txt lists"
        ) from error
    except Exception as error:  # decoders raise nearly anything on broken bytes
        raise PictureError(
            f"{path}: is damaged and cannot be decoded ({error}); get a complete copy of the file"
        ) from error


def _decode(path: Path, data: bytes) -> Photo:
    image = Image.open(io.BytesIO(data), formats=("JPEG", "PNG", "WEBP", "TIFF"))
    kind = "JPEG" if image.format == "MPO" else image.format
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise PictureError(
            f"is {width} x {height} pixels; at most {MAX_PIXELS // 1_000_000} million fit; "
            "make it smaller or cut it into parts"
        )
    if min(width, height) < 2:
        raise PictureError(f"is {width} x {height} pixels; at least 2 x 2 are needed")
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":
        raise PictureError(f"holds {frames} pictures; split it and restore each one by itself")
    pixels = _pixels(image, data)
    exif, xmp, segments, orientation = None, image.info.get("xmp"), b"", 1
    if kind == "TIFF":
        orientation = image.tag_v2.get(274, 1)
        exif = deep.tiff_exif(image)
    elif image.info.get("exif"):
        orientation, exif = containers.upright(image.info["exif"].removeprefix(b"Exif\0\0"))
    if kind == "JPEG":
        orientation, segments = containers.jpeg_metadata(data)
    elif kind == "PNG":
        orientation, segments = containers.png_metadata(data)
    pixels = np.ascontiguousarray(_UPRIGHT.get(orientation, _UPRIGHT[1])(pixels))
    pixels.setflags(write=False)
    return Photo(
        path=path,
        pixels=pixels,
        format=kind,
        exif=exif,
        xmp=containers.upright_xmp(xmp) if isinstance(xmp, bytes) else None,
        icc=image.info.get("icc_profile"),
        # Pillow gives a TIFF without a resolution one of 1 dpi.
        dpi=image.info.get("dpi") if kind != "TIFF" or 282 in image.tag_v2 else None,
        segments=segments,
        encoding=_encoding(image, kind, data),
    )


_ONE_CLEAR = "marks one 16-bit colour as transparent; save it with alpha instead"


def _pixels(image: Image.Image, data: bytes) -> np.ndarray:
    """(H, W, C) uint8 or uint16 as stored, palettes and single bits expanded."""
    deep_bits = 16 in _bits(image, data)
    # Pillow turns a TIFF upright as it loads it, and forgets that it was turned.
    turned = image.tag_v2.get(274, 1) if image.format == "TIFF" else 1
    if image.format == "TIFF" and 1 in image.tag_v2.get(338, ()):
        raise PictureError("has its alpha multiplied in; save it with plain (unassociated) alpha")
    if image.format == "TIFF" and 2 in image.tag_v2.get(339, ()):
        raise PictureError("has signed values; save it as unsigned 8 or 16 bit")
    if image.format == "TIFF" and image.tag_v2.get(277, 1) > len(image.getbands()):
        raise PictureError(
            f"has {image.tag_v2[277]} channels, of which only {', '.join(image.getbands())} would "
            "be kept; save it as grey or RGB with one alpha channel or none"
        )
    if image.mode in ("I;16", "I;16B", "I;16L", "I;16N") or (image.mode == "I" and deep_bits):
        if image.format == "TIFF" and image.tag_v2.get(262) == 0:
            raise PictureError("is a 16-bit TIFF in which 0 is white; save it with 0 as black")
        if not deep_bits:
            bits = _bits(image, data)[0]
            raise PictureError(f"has {bits} bits a channel; save it with 8 or 16")
        if image.has_transparency_data:
            raise PictureError(_ONE_CLEAR)
        return np.asarray(image).astype(np.uint16)[..., None]
    if image.mode in ("1", "P", "PA", "L", "RGB") and image.has_transparency_data:
        grey = image.mode in ("1", "L")
        if deep_bits:
            raise PictureError(_ONE_CLEAR)
        image = image.convert("LA" if grey else "RGBA")
    elif image.mode == "1":
        image = image.convert("L")
    elif image.mode == "P":
        image = image.convert("RGB")
    if image.mode not in ("L", "LA", "RGB", "RGBA"):
        raise PictureError(
            f"is a {image.mode} picture, which has no exact RGB form; convert it to 8 or 16 bit "
            "grey or RGB"
        )
    narrow = np.asarray(image)
    narrow = narrow[..., None] if narrow.ndim == 2 else narrow
    if not deep_bits:
        return narrow
    codec = "png" if image.format == "PNG" else "tiff"
    if codec == "png" and data[25] == _PNG_GREY_ALPHA:
        narrow = narrow[..., [0, 3]]  # Pillow spreads 16-bit grey with alpha over RGBA
    try:
        return deep.decode(data, codec, narrow, _UPRIGHT.get(turned, _UPRIGHT[1]))
    except deep.DeepError as error:
        raise PictureError(
            f"{error}; save it as a PNG, or as a TIFF without compression, its channels interleaved"
        ) from error


def _bits(image: Image.Image, data: bytes) -> tuple[int, ...]:
    """Bits of each channel in the file."""
    if image.format == "PNG":
        return (data[24],)
    return tuple(image.tag_v2.get(258, (1,))) if image.format == "TIFF" else (8,)


def _encoding(image: Image.Image, kind: str, data: bytes) -> dict:
    if kind == "JPEG":
        steps = [table for _, table in sorted(image.quantization.items())]
        tables = [[_finer(step) for step in table] for table in steps]
        encoding = {"qtables": tables, "progressive": "progressive" in image.info}
        # Ways of sampling that Pillow does not write become full ones, which lose nothing.
        sampling = max(JpegImagePlugin.get_sampling(image), 0)
        return encoding | ({"subsampling": sampling} if image.mode == "RGB" else {})
    if kind == "WEBP":
        return {"lossless": True} if containers.lossless_webp(data) else {"quality": 95}
    return {}


def _finer(step: int) -> int:
    """A step that a restored face may be written with: the largest divisor of the source's that is
    fine enough. A divisor, because then every value of the source falls on a step again."""
    return max(divisor for divisor in range(1, _JPEG_STEP + 1) if step % divisor == 0)


def changed(photo: Photo, image: Tensor, mask: Tensor) -> np.ndarray:
    """The photo's pixels with those under the mask taken from `image`.

    Args:
        image: (1, H, W, 3) in [0, 1]. mask: (1, H, W); 0 leaves a pixel as it is.

    Returns:
        (H, W, C) in the photo's dtype; alpha, and everything where the mask is 0, is the source's.
    """
    touched = (mask[0] > 0).cpu().numpy()
    pixels = photo.pixels.copy()
    top = np.iinfo(pixels.dtype).max
    values = image[0][torch.from_numpy(touched).to(image.device)].float().cpu().double()
    if photo.colours == 1:
        values = (values @ values.new_tensor(_LUMA))[:, None]
    whole = (values.clamp_(0, 1) * top).round_().numpy().astype(pixels.dtype)
    pixels[touched, : photo.colours] = whole
    return pixels


def write(path: Path, photo: Photo, image: Tensor, mask: Tensor) -> None:
    """Write a restored photo with the metadata of its source, the whole file or nothing.

    Args:
        path, photo, image, mask: as `encoded` takes them.

    Raises:
        PictureError: the format cannot hold the picture, or the file cannot be written.
    """
    save(path, encoded(path, photo, image, mask))


def encoded(path: Path, photo: Photo, image: Tensor, mask: Tensor) -> bytes:
    """The file of a restored photo with the metadata of its source.

    Args:
        path: its ending names the format, as in `format_of`.
        image, mask: as in `changed`.

    Raises:
        PictureError: the format cannot hold the picture.
    """
    return encode(changed(photo, image, mask), photo, format_of(path, photo), path)


def format_of(path: Path, photo: Photo) -> str:
    """The format that a restored photo has by the name `path`: what its ending says, or the
    source's own where the endings agree.

    Raises:
        PictureError: the ending is of no format.
    """
    same = path.suffix.lower() == photo.path.suffix.lower()
    kind = photo.format if same else FORMATS.get(path.suffix.lower())
    if kind is None:
        raise PictureError(f"{path}: unknown ending; choose one of {', '.join(FORMATS)}")
    return kind


def encode(pixels: np.ndarray, photo: Photo, kind: str, path: Path) -> bytes:
    """The bytes of a file of format `kind`; `path` serves the messages."""
    wide, channels = pixels.dtype == np.uint16, pixels.shape[2]
    if (wide and kind in ("JPEG", "WEBP")) or (kind == "JPEG" and channels in (2, 4)):
        what = "16 bits a channel" if wide else "alpha"
        raise PictureError(f"{path}: {kind} has no {what}; write .png or .tif")
    if kind == "TIFF":
        return deep.encode_tiff(pixels, photo.exif, photo.icc, photo.dpi, photo.xmp)
    same = kind == photo.format
    options = dict(photo.encoding if same else _UNTOLD.get(kind, {}))
    # Only where a JPEG is written does Pillow leave the head of an EXIF block to its caller.
    exif = photo.exif and (b"Exif\0\0" + photo.exif if kind == "JPEG" else photo.exif)
    blocks = {"exif": exif, "icc_profile": photo.icc, "xmp": photo.xmp, "dpi": photo.dpi}
    if same and photo.segments:
        blocks = {"dpi": photo.dpi if kind == "JPEG" else None}
    options |= {name: block for name, block in blocks.items() if block}
    # Pillow writes no XMP into a PNG.
    packet = options.pop("xmp", None) if kind == "PNG" else None
    file = io.BytesIO()
    if wide:
        return containers.with_png_metadata(
            deep.encode_png(pixels), photo.segments if same else _png_chunks(options, packet)
        )
    mode = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[channels]
    height, width = pixels.shape[:2]
    picture = Image.frombytes(mode, (width, height), np.ascontiguousarray(pixels).tobytes())
    if kind == "WEBP":
        options["exact"] = True
    try:
        try:
            picture.save(file, kind, **options)
        except OSError:
            # Pillow's buffer is too short for the finest progressive files.
            if not options.pop("progressive", False):
                raise
            file = io.BytesIO()
            picture.save(file, kind, **options)
    except (OSError, ValueError) as error:
        raise PictureError(
            f"{path}: {kind} cannot hold {width} x {height} pixels with this metadata "
            f"({error}); write .png or .tif"
        ) from error
    splice = {"JPEG": containers.with_jpeg_metadata, "PNG": containers.with_png_metadata}.get(kind)
    if kind == "PNG" and not same and packet:
        return containers.with_png_metadata(file.getvalue(), with_png_packet(b"", packet))
    return splice(file.getvalue(), photo.segments) if same and splice else file.getvalue()


def _png_chunks(options: dict, packet: bytes | None) -> bytes:
    """Metadata chunks by letting Pillow write them around a single pixel, and an XMP packet."""
    file = io.BytesIO()
    Image.new("L", (1, 1)).save(file, "PNG", **options)
    chunks = containers.png_metadata(file.getvalue())[1]
    return with_png_packet(chunks, packet) if packet else chunks
