"""Pictures that Pillow cannot hold: 16 bits a channel in more than one channel; and TIFF writing.

Pillow opens such files but silently drops the low byte of every value.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable

import numpy as np
from PIL import Image, TiffImagePlugin, TiffTags

from .containers import png_chunk

#: FFmpeg's packed formats: channels and byte order.
_PACKED = {
    "gray16be": (1, ">u2"),
    "gray16le": (1, "<u2"),
    "ya16be": (2, ">u2"),
    "ya16le": (2, "<u2"),
    "rgb48be": (3, ">u2"),
    "rgb48le": (3, "<u2"),
    "rgba64be": (4, ">u2"),
    "rgba64le": (4, "<u2"),
}

#: TIFF tags that describe the pixels of one file and mean nothing in another; the colour profile
#: travels apart.
_STRUCTURE = frozenset(
    [*range(254, 260), 262, 263, 264, 265, 266, *range(273, 282), 284, *range(288, 294), 297, 301]
    + [317, *range(320, 331), 332, *range(336, 343), *range(347, 352), *range(512, 522)]
    + [529, 530, 531, 532, 34675]
    + [37724]  # Photoshop's layers: they show the old picture
)

_PNG_COLOUR = {1: 0, 2: 4, 3: 2, 4: 6}
_TIFF_GREY, _TIFF_RGB = 1, 2
_TIFF_DEFLATE, _TIFF_HORIZONTAL = 8, 2


class DeepError(ValueError):
    """A 16-bit file could not be decoded exactly."""


def decode(
    data: bytes, codec: str, high: np.ndarray, upright: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """All 16 bits of every value.

    Args:
        data: the whole file. codec: "png" or "tiff".
        high: (H, W, C) uint8, the high bytes as Pillow decodes them; a second decoder's opinion
            that the result must agree with, since FFmpeg forgives files that are cut short.
        upright: turns the pixels as stored to how `high` has them.

    Returns:
        (H, W, C) uint16.

    Raises:
        DeepError: unsupported layout, or the decoders do not agree.
    """
    import av

    try:
        context = av.CodecContext.create(codec, "r")
        frames = [*context.decode(av.Packet(data)), *context.decode(None)]
    except av.FFmpegError as error:
        raise DeepError(f"its 16-bit pixels cannot be decoded: {error}") from error
    if len(frames) != 1 or frames[0].format.name not in _PACKED:
        found = frames[0].format.name if frames else "nothing"
        raise DeepError(f"its 16-bit layout ({found}) is not supported")
    frame = frames[0]
    channels, order = _PACKED[frame.format.name]
    plane = frame.planes[0]
    rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: frame.height]
    wide = np.ascontiguousarray(rows[:, : frame.width * channels * 2]).view(order)
    wide = upright(wide.reshape(frame.height, frame.width, channels)).astype(np.uint16)
    if wide.shape != high.shape or not np.array_equal((wide >> 8).astype(np.uint8), high):
        raise DeepError("two decoders read different 16-bit pixels from it")
    return wide


def encode_png(pixels: np.ndarray) -> bytes:
    """A PNG file without metadata. pixels: (H, W, C) uint16, C 1 to 4."""
    height, width, channels = pixels.shape
    rows = np.ascontiguousarray(pixels.astype(">u2")).view(np.uint8).reshape(height, -1)
    filtered = np.empty((height, rows.shape[1] + 1), np.uint8)
    filtered[:, 0] = 1  # the filter "Sub": each byte minus the one a pixel before it
    step = 2 * channels
    filtered[:, 1 : 1 + step] = rows[:, :step]
    np.subtract(rows[:, step:], rows[:, :-step], out=filtered[:, 1 + step :])
    header = struct.pack(">IIBBBBB", width, height, 16, _PNG_COLOUR[channels], 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", header)
        + png_chunk(b"IDAT", zlib.compress(filtered, 6))
        + png_chunk(b"IEND", b"")
    )


def tiff_exif(image: Image.Image) -> bytes:
    """The tags of an opened TIFF that are about the photo, as an EXIF block."""
    exif = image.getexif()
    for tag in _STRUCTURE:
        exif.pop(tag, None)
    exif.bigtiff = False  # an EXIF block is a plain TIFF, wherever its tags come from
    return exif.tobytes()[6:]


def encode_tiff(
    pixels: np.ndarray,
    exif: bytes | None = None,
    icc: bytes | None = None,
    dpi: tuple[float, float] | None = None,
    xmp: bytes | None = None,
) -> bytes:
    """A TIFF file, one deflated strip per few rows.

    Args:
        pixels: (H, W, C) uint8 or uint16, C 1 to 4.
        exif: an EXIF block whose tags are carried over. icc: a colour profile.
        dpi: resolution, unless the EXIF block has one.
        xmp: an XMP packet, in place of one among the tags.
    """
    height, width, channels = pixels.shape
    ifd = TiffImagePlugin.ImageFileDirectory_v2(prefix=b"II")
    if exif:
        block = Image.Exif()
        block.load(exif)
        for tag, value in block.items():
            if tag in (0x8769, 0x8825):
                value = block.get_ifd(tag)
            if tag not in _STRUCTURE:
                ifd[tag] = value
    if icc:
        ifd[34675] = icc
    if xmp:
        ifd.tagtype[700], ifd[700] = TiffTags.BYTE, xmp
    if dpi and 282 not in ifd:
        ifd[282], ifd[283], ifd[296] = dpi[0], dpi[1], 2
    ifd[256], ifd[257] = width, height
    ifd[258] = (pixels.dtype.itemsize * 8,) * channels
    ifd[259], ifd[317] = _TIFF_DEFLATE, _TIFF_HORIZONTAL
    ifd[262] = _TIFF_RGB if channels > 2 else _TIFF_GREY
    ifd[274], ifd[277], ifd[284] = 1, channels, 1
    if channels in (2, 4):
        ifd[338] = 2  # alpha that is not multiplied in
    step = max(1, (1 << 20) // (width * channels * pixels.dtype.itemsize))
    ifd[278] = step
    little = pixels.astype(pixels.dtype.newbyteorder("<"))
    strips = []
    for top in range(0, height, step):
        part = little[top : top + step].copy()
        part[:, 1:] -= little[top : top + step, :-1]
        strips.append(zlib.compress(part, 6))
    sizes = [len(strip) for strip in strips]
    ifd.tagtype[273] = ifd.tagtype[279] = 4
    ifd[279] = tuple(sizes)
    ifd[273] = tuple(sum(sizes[:index]) for index in range(len(sizes)))
    head = b"II*\0\x08\0\0\0"
    return head + ifd.tobytes(len(head)) + b"".join(strips)
