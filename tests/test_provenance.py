"""The record of what was done: through the stages, as JSON, and in the metadata of every format."""

from __future__ import annotations

import io
import json
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import numpy as np
import pytest
import torch
from damage_for_tests import degradation
from faces_for_tests import grainy_picture, place
from PIL import Image

from kintsugi.models import zoo
from kintsugi.stages import degradation_estimate, pictures, provenance, xmp
from kintsugi.stages.host import Host
from kintsugi.stages.landmark_align import align
from kintsugi.stages.mark import marked
from kintsugi.stages.restore import restore
from kintsugi.stages.strategy import Plan

WHAT = "1 face restored with Kintsugi & Co."
SPACES = {
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "dc": "http://purl.org/dc/elements/1.1/",
    "ext": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
    "mm": "http://ns.adobe.com/xap/1.0/mm/",
    "evt": "http://ns.adobe.com/xap/1.0/sType/ResourceEvent#",
}

#: A packet of another program: attributes, a caption, a history, a source type, padding.
PACKET = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/"
 xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:xmpMM="http://ns.adobe.com/xap/1.0/mm/"
 xmlns:stEvt="http://ns.adobe.com/xap/1.0/sType/ResourceEvent#"
 xmlns:ext="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
 xmp:Rating="4" ext:DigitalSourceType="http://cv.iptc.org/newscodes/digitalsourcetype/negativeFilm">
<dc:description><rdf:Alt>
<rdf:li xml:lang="x-default">Großmutter, 1931</rdf:li></rdf:Alt></dc:description>
<xmpMM:History><rdf:Seq><rdf:li stEvt:action="created"/></rdf:Seq></xmpMM:History>
</rdf:Description></rdf:RDF></x:xmpmeta>
<?xpacket end="w"?>""".encode()


@pytest.fixture
def look_fine(monkeypatch):
    """The estimator finds nothing wrong."""
    fine = degradation()
    monkeypatch.setattr(degradation_estimate, "estimate", lambda crops, **_: [fine] * len(crops))


def tree(packet: bytes) -> ElementTree.Element:
    return ElementTree.fromstring(packet.decode().strip("\ufeff\0 \n"))


def source_types(packet: bytes) -> list[str]:
    root = tree(packet)
    name = f"{{{SPACES['ext']}}}DigitalSourceType"
    found = [element.text for element in root.iter(name)]
    return found + [element.get(name) for element in root.iter() if element.get(name)]


def test_a_photo_without_metadata_says_what_was_done():
    packet = xmp.merged(None, WHAT, "kintsugi 1")
    assert source_types(packet) == [xmp.SOURCE_TYPE]
    root = tree(packet)
    assert root.find(".//dc:description/rdf:Alt/rdf:li", SPACES).text == WHAT
    (entry,) = root.findall(".//mm:History/rdf:Seq/rdf:li", SPACES)
    assert entry.find("evt:parameters", SPACES).text == WHAT
    assert entry.find("evt:softwareAgent", SPACES).text == "kintsugi 1"


def test_what_a_photo_had_is_kept_and_its_source_type_replaced():
    packet = xmp.merged(PACKET, WHAT, "kintsugi 1")
    assert source_types(packet) == [xmp.SOURCE_TYPE]
    root = tree(packet)
    captions = root.findall(".//dc:description/rdf:Alt/rdf:li", SPACES)
    assert [caption.text for caption in captions] == ["Großmutter, 1931"]
    assert len(root.findall(".//mm:History/rdf:Seq/rdf:li", SPACES)) == 2
    assert len(root.findall(".//mm:History", SPACES)) == 1
    assert b'xmp:Rating="4"' in packet


def test_marking_twice_adds_an_entry_and_no_second_type():
    packet = xmp.merged(xmp.merged(None, WHAT, "a"), "again", "b")
    assert source_types(packet) == [xmp.SOURCE_TYPE]
    assert len(tree(packet).findall(".//mm:History/rdf:Seq/rdf:li", SPACES)) == 2


@pytest.mark.parametrize(
    "old",
    [
        b"",
        b"no xml at all",
        PACKET.decode().encode("utf-16"),
        b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"/>',
        PACKET.replace(
            b'ext:DigitalSourceType="http://cv.iptc.org/newscodes/digitalsourcetype/negativeFilm">',
            b'><ext:DigitalSourceType rdf:resource="http://a.b/c"/>',
        ),
        PACKET.replace(
            b'ext:DigitalSourceType="http://cv.iptc.org/newscodes/digitalsourcetype/negativeFilm">',
            b"><ext:DigitalSourceType>http://a.b/c</ext:DigitalSourceType>",
        ),
    ],
)
def test_packets_of_every_shape_come_out_readable(old):
    assert source_types(xmp.merged(old, WHAT, "a")) == [xmp.SOURCE_TYPE]


def test_a_packet_too_long_for_a_jpeg_loses_its_padding_first():
    padded = PACKET.replace(b"<?xpacket end", b" " * 70000 + b"<?xpacket end")
    short = xmp.shortened(xmp.merged(padded, WHAT, "a"))
    assert len(short) <= xmp.JPEG_LONGEST and source_types(short) == [xmp.SOURCE_TYPE]
    full = PACKET.replace(b"1931", b"x" * 70000)
    assert xmp.shortened(xmp.merged(full, WHAT, "a")) is None


def photo_file(folder, ending: str, deep: bool, packet: bytes | None):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (24, 32, 3), np.uint8)
    path = folder / f"photo{ending}"
    if deep:
        values = pixels.astype(np.uint16) * 257
        empty = pictures.Photo(path, values, "TIFF", xmp=packet)
        kind = "TIFF" if "tif" in ending else "PNG"
        path.write_bytes(pictures.encode(values, empty, kind, path))
    else:
        options = {"xmp": packet} if packet and ending != ".tif" else {}
        options |= {"lossless": True} if ending == ".webp" else {}
        if packet and ending == ".tif":
            options = {"tiffinfo": {700: packet}}
        if packet and ending == ".png":
            data = io.BytesIO()
            Image.fromarray(pixels).save(data, "PNG")
            chunks = xmp.with_png_packet(b"", packet)
            path.write_bytes(pictures.containers.with_png_metadata(data.getvalue(), chunks))
        else:
            Image.fromarray(pixels).save(path, **options)
    return path


def written_packet(path) -> bytes:
    with Image.open(path) as image:
        found = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp")
        return found.encode() if isinstance(found, str) else found


@pytest.mark.parametrize("packet", [None, PACKET], ids=["none", "old"])
@pytest.mark.parametrize(
    ("ending", "deep"),
    [(".jpg", False), (".png", False), (".webp", False), (".tif", False), (".png", True),
     (".tif", True)],
)  # fmt: skip
def test_every_format_carries_the_mark_and_its_pixels(tmp_path, ending, deep, packet):
    path = photo_file(tmp_path, ending, deep, packet)
    photo = pictures.read(path)
    out = tmp_path / f"out{ending}"
    nothing = torch.zeros(1, 24, 32)
    pictures.write(out, marked(photo, WHAT, "kintsugi 1", photo.format), photo.tensor(), nothing)
    told = written_packet(out)
    assert source_types(told) == [xmp.SOURCE_TYPE]
    assert ("Großmutter, 1931".encode() in told) == (packet is not None)
    if ending != ".jpg":
        np.testing.assert_array_equal(pictures.read(out).pixels, photo.pixels)


@pytest.mark.parametrize("ending", [".png", ".webp", ".tif"])
def test_only_a_jpeg_limits_a_packet(tmp_path, ending):
    long = PACKET.replace(b"1931", b"x" * 70000)
    photo = pictures.read(photo_file(tmp_path, ending, False, long))
    out = tmp_path / f"out{ending}"
    told = marked(photo, WHAT, "a", photo.format)
    pictures.write(out, told, photo.tensor(), torch.zeros(1, 24, 32))
    assert source_types(written_packet(out)) == [xmp.SOURCE_TYPE]


@pytest.mark.parametrize("ending", [".jpg", ".png", ".webp", ".tif"])
def test_a_change_of_format_keeps_the_mark(tmp_path, ending):
    source = photo_file(tmp_path, ".png" if ending != ".png" else ".tif", False, PACKET)
    photo = pictures.read(source)
    out = tmp_path / f"changed{ending}"
    told = marked(photo, WHAT, "a", pictures.format_of(out, photo))
    pictures.write(out, told, photo.tensor(), torch.zeros(1, 24, 32))
    assert source_types(written_packet(out)) == [xmp.SOURCE_TYPE]


def test_the_record_names_models_hashes_and_licences():
    use = provenance.model_use("kintsugi-restorer")
    card = zoo.card("kintsugi-restorer")
    library = Host().library
    assert use.weights_sha256 == library.sha256(zoo.locate(card.name))
    assert use.card_sha256 == provenance.card_hash(card) and len(use.card_sha256) == 64
    assert use.weights_license == "Apache-2.0" and use.commercial == "yes"
    assert use.card_sha256 != provenance.card_hash(zoo.card("gfpgan-1.4"))


def test_faces_carry_what_restore_did():
    faces = place(300, 300, [(150, 150, 200, 0), (100, 100, 90, 0)])
    crops = torch.rand(2, 64, 64, 3, generator=torch.Generator().manual_seed(0))
    restored = restore(crops, model="kintsugi-restorer", fidelity=0.25, strength=0.5)
    known = provenance.after_restore(faces, restored)
    record = json.loads(json.dumps(provenance.report(known)))
    assert [face["id"] for face in record["faces"]] == [0, 1]
    first = record["faces"][0]
    assert first["models"][0]["name"] == "kintsugi-restorer"
    assert (first["fidelity"], first["strength"]) == (0.25, 0.5)
    assert record["summary"].startswith("2 faces restored with Kintsugi")
    with pytest.raises(ValueError, match="2 restored crops for 1 faces"):
        provenance.after_restore(faces.with_faces(faces.faces[:1]), restored)


def test_two_restorers_in_a_row_are_both_recorded():
    faces = place(200, 200, [(100, 100, 120, 0)])
    crops = torch.rand(1, 64, 64, 3)
    once = restore(crops, model="kintsugi-restorer", host=Host())
    faces = provenance.after_restore(faces, once)
    left = replace(once, models=("",), plans=(Plan("", 1.0, 1.0, "fine: skipped"),))
    (face,) = provenance.after_restore(faces, left)
    assert [use.name for use in face.provenance.models] == ["kintsugi-restorer"]
    assert face.provenance.reason == "fine: skipped"
    (face,) = provenance.after_restore(faces, once)
    assert [use.name for use in face.provenance.models] == ["kintsugi-restorer"] * 2


def test_a_face_that_nobody_touched_has_an_empty_record():
    faces = place(300, 300, [(150, 150, 200, 0)])
    assert provenance.facts(faces[0])["models"] == []
    assert provenance.sentence(faces) == "No face was restored."


def test_a_face_whose_holes_were_filled_is_told_of(look_fine):
    faces = place(200, 200, [(100, 100, 120, 0)])
    mask = torch.zeros(64, 64)
    mask[20:24, 10:50] = 1
    restored = restore(torch.rand(1, 64, 64, 3), missing=mask, host=Host())
    faces = provenance.after_restore(faces, restored)
    assert restored.models == ("",) and provenance.facts(faces[0])["filled"]
    told = provenance.sentence(faces)
    assert told == "holes of 1 face filled from what is around them."


def test_the_sentence_tells_of_the_guard():
    faces = place(300, 300, [(150, 150, 200, 0)])
    restored = restore(torch.rand(1, 64, 64, 3), model="kintsugi-restorer")
    face = provenance.after_restore(faces, restored)[0]
    judgement = provenance.Judgement(
        "e", "structure", 0.5, 0.6, 0.1, 1.0, "refused at 0.10, original back", {"eyes": 0.62}
    )
    told = provenance.sentence(faces.with_faces([provenance.judged(face, judgement)]))
    assert told.startswith("No face was restored; 1 left as before")
    kept = provenance.judged(face, replace(judgement, action="0.90, kept"))
    told = provenance.sentence(faces.with_faces([kept, provenance.judged(face, judgement)]))
    assert told.startswith("1 face restored with Kintsugi restorer; up to 62% of the detail")
    assert "1 left as before" in told
    identity = provenance.facts(provenance.judged(face, judgement))["identity"]
    assert identity["invented"] == {"eyes": 0.62} and identity["similarity_before"] == 0.5


def test_a_face_of_which_nothing_shows_has_no_record():
    faces = place(200, 300, [(100, 100, 120, 0), (240, 100, 80, 0)])
    crops, faces = align(grainy_picture(200, 300), faces, size=64)
    faces = provenance.after_restore(faces, restore(crops, model="kintsugi-restorer"))
    mask = torch.zeros(1, 200, 300)
    assert not any(face.provenance for face in provenance.shown(faces, mask))
    mask[0, 100, 240] = 0.5
    for factor in (1, 2):
        larger = mask.repeat_interleave(factor, 1).repeat_interleave(factor, 2)
        kept = [bool(face.provenance) for face in provenance.shown(faces, larger)]
        assert kept == [False, True]


def test_what_could_not_be_measured_is_null_in_json():
    faces = place(300, 300, [(150, 150, 200, 0)])
    nothing = float("nan")
    judgement = provenance.Judgement("", "structure", nothing, nothing, 0.1, 1.0, "kept", {})
    told = provenance.report(faces.with_faces([provenance.judged(faces[0], judgement)]))
    assert told["faces"][0]["identity"]["similarity_after"] is None
    json.dumps(told, allow_nan=False)
