"""What a picture file carries beside its pixels: EXIF, XMP, colour profile, captions.

JPEG and PNG metadata is carried over as the raw segments and chunks of the source, so that nothing
is lost that this module does not know. Only what the restoration makes untrue is changed: the
orientation (the pixels are written upright) and the EXIF thumbnail (it shows the old picture).
Formats: EXIF 2.32, section 4.5; PNG 3rd edition, section 5; JPEG, ITU T.81 annex B.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

#: Chunks that say how to show the picture or where it comes from, whatever its colour type.
_PNG_KEPT = frozenset(b"iCCP sRGB gAMA cHRM cICP mDCV cLLI eXIf pHYs tEXt zTXt iTXt tIME".split())

_EXIF = b"Exif\0\0"
_ORIENTATION = 0x0112
_XMP_ORIENTATION = re.compile(rb"(tiff:Orientation(?:=[\"']|>)\s*)[2-8]")

#: JPEG segments that Pillow writes anew: JFIF (APP0) and Adobe's colour transform (APP14).
_JPEG_REWRITTEN = frozenset({0xE0, 0xEE})


def upright(exif: bytes) -> tuple[int, bytes]:
    """Read the orientation of an EXIF block and reset it.

    Args:
        exif: the block from its byte order mark on; an unreadable one counts as having none.

    Returns:
        The orientation, 1 to 8, and the same block with orientation 1 and no thumbnail.
    """
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    if order is None or len(exif) < 8:
        return 1, exif
    block = bytearray(exif)
    orientation = 1
    try:
        (start,) = struct.unpack_from(order + "I", block, 4)
        (entries,) = struct.unpack_from(order + "H", block, start)
        for at in range(start + 2, start + 2 + 12 * entries, 12):
            tag, kind, count, value = struct.unpack_from(order + "HHIH", block, at)
            if (tag, kind, count) == (_ORIENTATION, 3, 1):
                orientation = value if 1 <= value <= 8 else 1
                struct.pack_into(order + "H", block, at + 8, 1)
        struct.pack_into(order + "I", block, start + 2 + 12 * entries, 0)
    except struct.error:
        return 1, exif
    return orientation, bytes(block)


def upright_xmp(xmp: bytes) -> bytes:
    """The same XMP packet with its orientation, if it tells one, reset to 1."""
    return _XMP_ORIENTATION.sub(rb"\g<1>1", xmp)


def png_chunk(kind: bytes, body: bytes) -> bytes:
    """One PNG chunk with its length and checksum."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_metadata(data: bytes) -> tuple[int, bytes]:
    """Orientation of a PNG file and its metadata chunks, upright, ready to stand after IHDR."""
    orientation, kept = 1, []
    for kind, body in _png_chunks(data):
        if kind == b"eXIf":
            orientation, body = upright(body)
        elif kind == b"iTXt" and body.startswith(b"XML:com.adobe.xmp"):
            body = upright_xmp(body)
        if kind in _PNG_KEPT:
            kept.append(png_chunk(kind, body))
    return orientation, b"".join(kept)


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = len(_PNG_SIGNATURE)
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        yield data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        at += 12 + length


def with_png_metadata(data: bytes, metadata: bytes) -> bytes:
    """A PNG file without metadata of its own, with these chunks after its header."""
    header = len(_PNG_SIGNATURE) + 12 + 13
    return data[:header] + metadata + data[header:]


def jpeg_metadata(data: bytes) -> tuple[int, bytes]:
    """Orientation of a JPEG file and its application and comment segments, upright."""
    orientation, kept = 1, []
    for marker, body in _jpeg_segments(data):
        if marker == 0xE1 and body.startswith(_EXIF):
            orientation, exif = upright(body[len(_EXIF) :])
            body = _EXIF + exif
        elif marker == 0xE1:
            body = upright_xmp(body)
        # A multi-picture index points into the old file, and only the first picture is kept.
        index = marker == 0xE2 and body.startswith(b"MPF\0")
        metadata = 0xE0 <= marker <= 0xEF or marker == 0xFE
        if metadata and marker not in _JPEG_REWRITTEN and not index:
            kept.append(struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body)
    return orientation, b"".join(kept)


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Marker and body of each segment up to the first scan."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        if marker == 0xDA:
            return
        (length,) = struct.unpack_from(">H", data, at + 2)
        yield marker, data[at + 4 : at + 2 + length]
        at += 2 + length


def with_jpeg_metadata(data: bytes, metadata: bytes) -> bytes:
    """A JPEG file that starts with a JFIF segment, with these segments after that."""
    (length,) = struct.unpack_from(">H", data, 4)
    return data[: 4 + length] + metadata + data[4 + length :]


def lossless_webp(data: bytes) -> bool:
    """Whether a WebP file holds its pixels without loss, in a VP8L chunk."""
    at = 12
    while at + 8 <= len(data):
        if data[at : at + 4] == b"VP8L":
            return True
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        at += 8 + length + length % 2
    return False
