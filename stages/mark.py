"""Mark: write into a photo's metadata that its faces were restored by trained models."""

from __future__ import annotations

from dataclasses import replace

from . import xmp
from .pictures import Photo


def marked(photo: Photo, what: str, software: str, kind: str) -> Photo:
    """The same photo with an XMP packet that says what was done; all it had stays.

    Args:
        what: one line, such as `provenance.sentence`.
        software: name and version.
        kind: format that the photo will be written in.

    Returns:
        The photo as it is if its packet leaves no room for more in a JPEG.
    """
    readers = {"JPEG": xmp.jpeg_packet, "PNG": xmp.png_packet}
    writers = {"JPEG": xmp.with_jpeg_packet, "PNG": xmp.with_png_packet}
    old = readers[photo.format](photo.segments) if photo.format in readers else photo.xmp
    packet = xmp.merged(old, what, software)
    if kind == "JPEG":
        packet = xmp.shortened(packet)
        if packet is None:
            return photo
    segments = photo.segments
    if photo.format in writers:
        segments = writers[photo.format](segments, packet)
    return replace(photo, xmp=packet, segments=segments)
