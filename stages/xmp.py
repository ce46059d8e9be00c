"""XMP: say in a photo's metadata that a model had a hand in it, and lose nothing that was there.

The packet of the photo is kept byte for byte; what this module adds is a block of its own before
the end, a replaced source type and one more entry in the edit history. Formats: XMP specification
part 1 (ISO 16684-1), part 3 for the files; IPTC Photo Metadata 2025.1, digital source type; PNG 3rd
edition, section 11.3.3.4.
"""

from __future__ import annotations

import re
import struct
import zlib
from xml.sax.saxutils import escape, quoteattr

from .containers import png_chunk

#: IPTC's word for a real picture of which a trained model made a part.
SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"

#: Prefix and namespace of what is written.
_SPACES = {
    "dc": "http://purl.org/dc/elements/1.1/",
    "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
    "xmpMM": "http://ns.adobe.com/xap/1.0/mm/",
    "stEvt": "http://ns.adobe.com/xap/1.0/sType/ResourceEvent#",
}
_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"

_EMPTY = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
    f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="{_RDF}">\n'
    '</rdf:RDF></x:xmpmeta>\n<?xpacket end="w"?>'
)

#: Head of the JPEG segment, keyword of the PNG chunk, longest packet a JPEG segment holds.
_JPEG_HEAD, _PNG_HEAD = b"http://ns.adobe.com/xap/1.0/\0", b"XML:com.adobe.xmp"
JPEG_LONGEST = 65533 - len(_JPEG_HEAD)


def merged(packet: bytes | None, what: str, software: str) -> bytes:
    """A packet that says a model worked on the photo.

    Args:
        packet: the photo's packet, None for none. One that cannot be read as XMP is replaced.
        what: one line on what was done; the photo's caption stays its own, and only a photo
            without one gets this line.
        software: name and version.

    Returns:
        The packet in UTF-8: the old one with digital source type, an entry in the edit history and
        no other change. No time is written, so that the same photo gives the same file.
    """
    text = _text(packet)
    names = {prefix: _prefix(text, prefix) for prefix in _SPACES}
    rdf = _prefix(text, "rdf", _RDF)
    source, history, caption = (
        f"{names[space]}:{name}"
        for space, name in (
            ("Iptc4xmpExt", "DigitalSourceType"),
            ("xmpMM", "History"),
            ("dc", "description"),
        )
    )
    event = names["stEvt"]
    entry = (
        f'<{rdf}:li {rdf}:parseType="Resource" xmlns:{event}="{_SPACES["stEvt"]}">'
        f"<{event}:action>edited</{event}:action>"
        f"<{event}:softwareAgent>{escape(software)}</{event}:softwareAgent>"
        f"<{event}:parameters>{escape(what)}</{event}:parameters></{rdf}:li>"
    )
    block = ""
    text, replaced = _set(text, source, SOURCE_TYPE)
    if not replaced:
        block += f"<{source}>{SOURCE_TYPE}</{source}>"
    text, replaced = _append(text, history, rdf, entry)
    if not replaced:
        block += f"<{history}><{rdf}:Seq>{entry}</{rdf}:Seq></{history}>"
    if f"<{caption}" not in text and f"{caption}=" not in text:
        line = f'<{rdf}:li xml:lang="x-default">{escape(what)}</{rdf}:li>'
        block += f"<{caption}><{rdf}:Alt>{line}</{rdf}:Alt></{caption}>"
    spaces = " ".join(f"xmlns:{names[key]}={quoteattr(uri)}" for key, uri in _SPACES.items())
    description = f'<{rdf}:Description {rdf}:about="" {spaces}>{block}</{rdf}:Description>\n'
    if block:
        end = f"</{rdf}:RDF>"
        at = text.rindex(end)
        text = text[:at] + description + text[at:]
    return text.encode("utf-8")


def _text(packet: bytes | None) -> str:
    """The packet as text; an empty one if there is none that holds an RDF block."""
    for encoding in ("utf-8", "utf-16", "utf-16-le", "utf-16-be"):
        try:
            text = (packet or b"").rstrip(b"\0").decode(encoding)
        except UnicodeDecodeError:
            continue
        rdf = _prefix(text, "rdf", _RDF)
        text = re.sub(rf"<{rdf}:RDF([^<>]*)/>", rf"<{rdf}:RDF\1></{rdf}:RDF>", text)
        if f"</{rdf}:RDF>" in text:
            return text
    return _EMPTY


def _prefix(text: str, usual: str, space: str | None = None) -> str:
    """The prefix that a packet has for a namespace, the usual one if it has none."""
    uri = re.escape(space or _SPACES[usual])
    found = re.search(rf"xmlns:([\w.-]+)\s*=\s*[\"']{uri}[\"']", text)
    return found.group(1) if found else usual


def _set(text: str, name: str, value: str) -> tuple[str, bool]:
    """`text` with a simple property set where it stands as an attribute or an element."""
    text, links = re.subn(rf"<{name}\s[^<>]*/>", f"<{name}>{value}</{name}>", text)
    text, elements = re.subn(rf"(<{name}\b[^<>/]*>)[^<]*(</{name}>)", rf"\g<1>{value}\g<2>", text)
    text, attributes = re.subn(
        rf"(\s{name}\s*=\s*)(?:\"[^\"]*\"|'[^']*')", rf'\g<1>"{value}"', text
    )
    return text, links + elements + attributes > 0


def _append(text: str, name: str, rdf: str, entry: str) -> tuple[str, bool]:
    """`text` with one more entry in a sequence, if it has that sequence."""
    found = re.search(rf"<{name}\b[^<>]*>.*?(</{rdf}:Seq>)", text, re.DOTALL)
    if not found:
        return text, False
    return text[: found.start(1)] + entry + text[found.start(1) :], True


def shortened(packet: bytes, longest: int = JPEG_LONGEST) -> bytes | None:
    """A packet without its padding if it is too long for a JPEG; None if it stays too long."""
    if len(packet) > longest:
        packet = re.sub(rb"\s{16,}(?=<\?xpacket end)", b"\n", packet)
    return packet if len(packet) <= longest else None


def jpeg_packet(segments: bytes) -> bytes | None:
    """The XMP packet among JPEG segments."""
    spans = _jpeg_spans(segments)
    return segments[spans[0][0] + 4 + len(_JPEG_HEAD) : spans[0][1]] if spans else None


def _jpeg_spans(segments: bytes) -> list[tuple[int, int]]:
    """Start and end of every segment that holds an XMP packet."""
    at, spans = 0, []
    while at + 4 <= len(segments):
        marker, length = segments[at + 1], struct.unpack_from(">H", segments, at + 2)[0]
        body = segments[at + 4 : at + 2 + length]
        if marker == 0xE1 and body.startswith(_JPEG_HEAD):
            spans.append((at, at + 2 + length))
        at += 2 + length
    return spans


def with_jpeg_packet(segments: bytes, packet: bytes) -> bytes:
    """JPEG segments with this packet in place of theirs, or after them if they have none."""
    body = _JPEG_HEAD + packet
    segment = struct.pack(">BBH", 0xFF, 0xE1, len(body) + 2) + body
    spans = _jpeg_spans(segments)
    if not spans:
        return segments + segment
    start, end = spans[0]
    return segments[:start] + segment + segments[end:]


def png_packet(chunks: bytes) -> bytes | None:
    """The XMP packet among PNG chunks."""
    for start, end in _png_spans(chunks):
        packet = _itxt(chunks[start + 8 : end - 4])
        if packet is not None:
            return packet
    return None


def _png_spans(chunks: bytes) -> list[tuple[int, int]]:
    """Start and end of every chunk that holds an XMP packet."""
    at, spans = 0, []
    while at + 12 <= len(chunks):
        (length,) = struct.unpack_from(">I", chunks, at)
        body = chunks[at + 8 : at + 8 + length]
        if chunks[at + 4 : at + 8] == b"iTXt" and body.startswith(_PNG_HEAD + b"\0"):
            spans.append((at, at + 12 + length))
        at += 12 + length
    return spans


def _itxt(body: bytes) -> bytes | None:
    """The text of an iTXt chunk."""
    compressed = body[len(_PNG_HEAD) + 1 : len(_PNG_HEAD) + 2] == b"\1"
    parts = body[len(_PNG_HEAD) + 3 :].split(b"\0", 2)
    if len(parts) < 3:
        return None
    try:
        return zlib.decompress(parts[2]) if compressed else parts[2]
    except zlib.error:
        return None


def with_png_packet(chunks: bytes, packet: bytes) -> bytes:
    """PNG chunks with this packet in place of theirs, or after them if they have none."""
    chunk = png_chunk(b"iTXt", _PNG_HEAD + b"\0\0\0\0\0" + packet)
    spans = _png_spans(chunks)
    if not spans:
        return chunks + chunk
    start, end = spans[0]
    return chunks[:start] + chunk + chunks[end:]
