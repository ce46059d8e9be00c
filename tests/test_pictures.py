"""Photo files: exact pixels in and out, metadata kept, clear errors, nothing half-written."""

from __future__ import annotations

import errno
import os
import struct
import sys
import zlib
from dataclasses import replace

import cv2
import numpy as np
import pytest
import tifffile
import torch
from PIL import Image, ImageCms, ImageOps, JpegImagePlugin
from PIL.PngImagePlugin import PngInfo

from kintsugi import samples
from kintsugi.stages import containers, pictures
from kintsugi.stages.files import PictureError, save

HEIGHT, WIDTH = 37, 53
BOX = (slice(10, 20), slice(12, 30))


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def mask(height=HEIGHT, width=WIDTH):
    made = torch.zeros(1, height, width)
    made[(slice(None), *BOX)] = 0.5
    return made


def noise(rng, channels, dtype=np.uint8):
    high = np.iinfo(dtype).max + 1
    return rng.integers(0, high, (HEIGHT, WIDTH, channels)).astype(dtype)


def smooth(rng, channels=3):
    small = rng.integers(30, 220, (6, 8, channels)).astype(np.uint8)
    big = cv2.resize(small, (160, 120), interpolation=cv2.INTER_CUBIC)
    return big if channels > 1 else big.reshape(120, 160)


def rgb(pixels):
    """OpenCV's order to ours, and back."""
    return np.ascontiguousarray(pixels[..., [2, 1, 0, 3][: pixels.shape[2]]])


def store(path, pixels):
    """Write with a library that is not the one under test."""
    channels = pixels.shape[2]
    if path.suffix == ".tif":
        kind = "rgb" if channels > 2 else "minisblack"
        extra = {"extrasamples": ["unassalpha"]} if channels in (2, 4) else {}
        shown = pixels[..., 0] if channels == 1 else pixels
        tifffile.imwrite(path, shown, photometric=kind, metadata=None, **extra)
    elif path.suffix == ".webp":
        Image.fromarray(pixels).save(path, lossless=True, exact=True)
    elif channels == 2:
        Image.fromarray(pixels, "LA").save(path)
    else:
        cv2.imwrite(str(path), pixels if channels == 1 else rgb(pixels))


def look(path):
    """Read with a library that is not the one under test."""
    if path.suffix == ".tif":
        found = tifffile.imread(path)
    else:
        found = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        found = rgb(found) if found.ndim == 3 else found
    return found if found.ndim == 3 else found[..., None]


KINDS = [
    (".png", np.uint8, 1),
    (".png", np.uint8, 3),
    (".png", np.uint8, 4),
    (".png", np.uint16, 1),
    (".png", np.uint16, 3),
    (".png", np.uint16, 4),
    (".tif", np.uint8, 1),
    (".tif", np.uint8, 3),
    (".tif", np.uint8, 4),
    (".tif", np.uint16, 1),
    (".tif", np.uint16, 3),
    (".tif", np.uint16, 4),
    (".webp", np.uint8, 3),
    (".webp", np.uint8, 4),
]


@pytest.mark.parametrize(("suffix", "dtype", "channels"), KINDS)
def test_outside_the_mask_every_integer_is_the_sources(tmp_path, rng, suffix, dtype, channels):
    source = noise(rng, channels, dtype)
    store(tmp_path / f"in{suffix}", source)
    photo = pictures.read(tmp_path / f"in{suffix}")
    assert photo.pixels.dtype == dtype
    assert np.array_equal(photo.pixels, source)

    pictures.write(tmp_path / f"out{suffix}", photo, 1 - photo.tensor(), mask())

    colours = 1 if channels == 1 else 3
    wanted = source.copy()
    wanted[BOX][..., :colours] = np.iinfo(dtype).max - source[BOX][..., :colours]
    assert np.array_equal(look(tmp_path / f"out{suffix}"), wanted)
    assert np.array_equal(pictures.read(tmp_path / f"out{suffix}").pixels, wanted)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_integers_survive_the_way_through_floats(tmp_path, dtype):
    every = np.arange(np.iinfo(dtype).max + 1, dtype=dtype).reshape(256, -1, 1)
    every = np.repeat(np.pad(every, ((0, 0), (0, 1), (0, 0))), 3, 2)
    store(tmp_path / "all.png", every)
    photo = pictures.read(tmp_path / "all.png")
    image = photo.tensor()
    assert float(image.min()) == 0 and float(image.max()) == 1
    whole = torch.ones(1, *every.shape[:2])
    assert np.array_equal(pictures.changed(photo, image, whole), every)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_grey_with_alpha(tmp_path, rng, dtype):
    source = noise(rng, 2, dtype)
    if dtype == np.uint8:
        store(tmp_path / "in.png", source)
    else:
        rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in source)
        header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 16, 4, 0, 0, 0)
        (tmp_path / "in.png").write_bytes(
            b"\x89PNG\r\n\x1a\n"
            + containers.png_chunk(b"IHDR", header)
            + containers.png_chunk(b"IDAT", zlib.compress(rows))
            + containers.png_chunk(b"IEND", b"")
        )
    photo = pictures.read(tmp_path / "in.png")
    assert np.array_equal(photo.pixels, source)
    assert photo.tensor().shape == (1, HEIGHT, WIDTH, 3)
    pictures.write(tmp_path / "out.png", photo, 1 - photo.tensor(), mask())
    found = pictures.read(tmp_path / "out.png").pixels
    assert np.array_equal(found[..., 1], source[..., 1])
    assert np.array_equal(found[BOX][..., 0], np.iinfo(dtype).max - source[BOX][..., 0])


@pytest.mark.parametrize(
    "options",
    [
        {"byteorder": ">"},
        {"compression": "zlib", "predictor": True},
        {"compression": "lzw"},
        {"rowsperstrip": 5},
    ],
    ids=str,
)
def test_ways_to_store_a_deep_tiff(tmp_path, rng, options):
    source = noise(rng, 3, np.uint16)
    if options.get("compression") == "lzw":
        cv2.imwrite(str(tmp_path / "in.tif"), rgb(source))
    else:
        tifffile.imwrite(tmp_path / "in.tif", source, photometric="rgb", **options)
    assert np.array_equal(pictures.read(tmp_path / "in.tif").pixels, source)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_deep_tiff_comes_upright(tmp_path, rng, orientation):
    source = noise(rng, 3, np.uint16)
    turned = [(274, 3, 1, orientation, True)]
    tifffile.imwrite(tmp_path / "in.tif", source, photometric="rgb", extratags=turned)
    shallow = Image.fromarray((source >> 8).astype(np.uint8))
    exif = Image.Exif()
    exif[274] = orientation
    shallow.info["exif"] = exif.tobytes()
    upright = np.asarray(ImageOps.exif_transpose(shallow))
    photo = pictures.read(tmp_path / "in.tif")
    assert np.array_equal(photo.pixels >> 8, upright)
    nothing = torch.zeros(1, *upright.shape[:2])
    pictures.write(tmp_path / "out.tif", photo, photo.tensor(), nothing)
    assert np.array_equal(pictures.read(tmp_path / "out.tif").pixels, photo.pixels)


@pytest.mark.parametrize("options", [{"tile": (16, 16)}, {"planarconfig": "separate"}], ids=str)
def test_a_deep_tiff_is_exact_or_refused(tmp_path, rng, options):
    source = noise(rng, 3, np.uint16)
    stored = source.transpose(2, 0, 1) if "planarconfig" in options else source
    tifffile.imwrite(tmp_path / "in.tif", stored, photometric="rgb", **options)
    try:
        found = pictures.read(tmp_path / "in.tif").pixels
    except PictureError as error:
        assert "in.tif" in str(error)
    else:
        assert np.array_equal(found, source)


def test_a_big_tiff_is_written_as_a_plain_one(tmp_path, rng):
    source = noise(rng, 3)
    options = {"bigtiff": True, "photometric": "rgb", "description": "the family, 1931"}
    tifffile.imwrite(tmp_path / "in.tif", source, **options)
    photo = pictures.read(tmp_path / "in.tif")
    pictures.write(tmp_path / "out.tif", photo, photo.tensor(), torch.zeros(1, HEIGHT, WIDTH))
    assert np.array_equal(look(tmp_path / "out.tif"), source)
    with tifffile.TiffFile(tmp_path / "out.tif") as out:
        assert out.pages[0].description == "the family, 1931"


def test_layers_of_the_old_picture_are_left_behind(tmp_path, rng):
    # Photoshop shows the layers of tag 37724 and not the picture beside them.
    layers = [(37724, "B", 8, b"8BIMLayr", True), (315, "s", 4, "Ann", True)]
    tifffile.imwrite(tmp_path / "in.tif", noise(rng, 3), photometric="rgb", extratags=layers)
    photo = pictures.read(tmp_path / "in.tif")
    pictures.write(tmp_path / "out.tif", photo, photo.tensor(), mask())
    with tifffile.TiffFile(tmp_path / "out.tif") as out:
        assert out.pages[0].tags[315].value == "Ann"
        assert 37724 not in out.pages[0].tags


def test_a_lossy_webp_stays_lossy_and_a_lossless_one_lossless(tmp_path):
    portrait = samples.portraits()["collins"]
    for name, options in (("lossy", {"quality": 80}), ("lossless", {"lossless": True})):
        portrait.save(tmp_path / f"{name}.webp", **options)
        photo = pictures.read(tmp_path / f"{name}.webp")
        pictures.write(
            tmp_path / f"{name}-out.webp", photo, photo.tensor(), torch.zeros(1, 512, 512)
        )
        data = (tmp_path / f"{name}-out.webp").read_bytes()
        assert containers.lossless_webp(data) == (name == "lossless")
        assert psnr(pictures.read(tmp_path / f"{name}-out.webp").pixels, photo.pixels) > 40


def test_palettes_and_single_bits_are_expanded(tmp_path, rng):
    colours = Image.fromarray(noise(rng, 3)).quantize(16)
    colours.save(tmp_path / "palette.png")
    assert np.array_equal(
        pictures.read(tmp_path / "palette.png").pixels, np.asarray(colours.convert("RGB"))
    )
    colours.save(tmp_path / "clear.png", transparency=3)
    clear = pictures.read(tmp_path / "clear.png").pixels
    assert clear.shape[2] == 4
    assert np.array_equal(clear[..., 3] == 0, np.asarray(colours) == 3)
    bits = Image.fromarray(noise(rng, 1)[..., 0]).convert("1")
    bits.save(tmp_path / "bits.png")
    assert np.array_equal(
        pictures.read(tmp_path / "bits.png").pixels[..., 0], np.asarray(bits.convert("L"))
    )


def psnr(found, wanted):
    return cv2.PSNR(np.asarray(found), np.asarray(wanted))


@pytest.mark.parametrize("quality", [30, 75, 97])
@pytest.mark.parametrize("sampling", [0, 2])
def test_a_jpeg_hardly_changes_outside_and_keeps_faces_fine(tmp_path, quality, sampling):
    portrait = samples.portraits()["collins"]
    portrait.save(tmp_path / "in.jpg", quality=quality, subsampling=sampling, progressive=True)
    photo = pictures.read(tmp_path / "in.jpg")
    pictures.write(tmp_path / "out.jpg", photo, photo.tensor(), torch.zeros(1, 512, 512))
    with Image.open(tmp_path / "out.jpg") as out:
        assert psnr(out, photo.pixels) > 46
        assert max(max(table) for table in out.quantization.values()) <= 8
        assert out.info.get("progressive")
        assert JpegImagePlugin.get_sampling(out) == sampling


def test_the_finest_progressive_jpeg_can_be_written(tmp_path, rng):
    source = rng.integers(0, 256, (300, 300, 3)).astype(np.uint8)
    options = {"quality": 100, "subsampling": 0}
    Image.fromarray(source).save(tmp_path / "in.jpg", **options)
    photo = pictures.read(tmp_path / "in.jpg")
    # Other programs write such files; Pillow cannot.
    photo = replace(photo, encoding=photo.encoding | {"progressive": True})
    pictures.write(tmp_path / "out.jpg", photo, photo.tensor(), torch.zeros(1, 300, 300))
    with Image.open(tmp_path / "out.jpg") as out:
        assert psnr(out, photo.pixels) > 46


def test_sampling_that_pillow_does_not_write_keeps_its_colours(tmp_path, rng):
    options = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_440]
    stripes = np.zeros((120, 160, 3), np.uint8)
    stripes[:, ::4, 0] = stripes[:, 1::4, 0] = 200
    cv2.imwrite(str(tmp_path / "in.jpg"), stripes, options)
    photo = pictures.read(tmp_path / "in.jpg")
    pictures.write(tmp_path / "out.jpg", photo, photo.tensor(), torch.zeros(1, 120, 160))
    with Image.open(tmp_path / "out.jpg") as out:
        assert psnr(out, photo.pixels) > 46


def test_a_jpeg_whose_tables_stand_in_another_order_keeps_their_meaning(tmp_path, rng):
    Image.fromarray(smooth(rng)).save(tmp_path / "in.jpg", quality=60)
    data = (tmp_path / "in.jpg").read_bytes()
    at = data.index(b"\xff\xdb")
    size = 4 + 65
    first, second = data[at : at + size], data[at + size : at + 2 * size]
    assert second[:2] == b"\xff\xdb" and (first[4], second[4]) == (0, 1)
    (tmp_path / "swapped.jpg").write_bytes(data[:at] + second + first + data[at + 2 * size :])
    told = [pictures.read(tmp_path / name).encoding for name in ("in.jpg", "swapped.jpg")]
    assert told[0] == told[1]


def test_a_grey_jpeg_stays_grey(tmp_path, rng):
    Image.fromarray(smooth(rng, 1)).save(tmp_path / "in.jpg")
    photo = pictures.read(tmp_path / "in.jpg")
    assert photo.pixels.shape[2] == 1 and photo.tensor().shape[-1] == 3
    pictures.write(tmp_path / "out.jpg", photo, photo.tensor(), mask(120, 160))
    with Image.open(tmp_path / "out.jpg") as out:
        assert out.mode == "L"


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg", ".webp"])
def test_orientation_is_honoured_once(tmp_path, rng, suffix, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = "Kintsugi Camera"
    exif.get_ifd(0x8769)[0x9286] = b"ASCII\0\0\0a note"
    exif[0x8769] = exif.get_ifd(0x8769)
    options = {".webp": {"lossless": True}, ".jpg": {"quality": 95}}.get(suffix, {})
    stored = Image.fromarray(smooth(rng))
    stored.save(tmp_path / f"in{suffix}", exif=exif, **options)
    with Image.open(tmp_path / f"in{suffix}") as opened:
        upright = np.asarray(ImageOps.exif_transpose(opened))
    photo = pictures.read(tmp_path / f"in{suffix}")
    assert np.array_equal(photo.pixels, upright)
    nothing = torch.zeros(1, *upright.shape[:2])
    pictures.write(tmp_path / f"out{suffix}", photo, photo.tensor(), nothing)
    with Image.open(tmp_path / f"out{suffix}") as out:
        found = out.getexif()
        assert found.get(0x0112, 1) == 1
        assert found[0x010F] == "Kintsugi Camera"
        assert found.get_ifd(0x8769)[0x9286] == b"ASCII\0\0\0a note"
        if suffix == ".jpg":
            assert psnr(out, upright) > 38
        else:
            assert np.array_equal(np.asarray(out), upright)


@pytest.mark.parametrize(
    ("suffix", "dtype"),
    [(suffix, np.uint8) for suffix in (".png", ".tif", ".jpg", ".webp")]
    + [(".png", np.uint16), (".tif", np.uint16)],
)
def test_profile_and_resolution_are_kept(tmp_path, rng, suffix, dtype):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    source = tmp_path / f"in{suffix}"
    if dtype == np.uint16 and suffix == ".png":
        store(source, noise(rng, 3, dtype))
        body = b"profile\0\0" + zlib.compress(profile)
        extra = containers.png_chunk(b"iCCP", body) + containers.png_chunk(
            b"pHYs", struct.pack(">IIB", 11811, 11811, 1)
        )
        source.write_bytes(containers.with_png_metadata(source.read_bytes(), extra))
    elif dtype == np.uint16:
        tifffile.imwrite(
            source,
            noise(rng, 3, dtype),
            photometric="rgb",
            iccprofile=profile,
            resolution=(300, 300),
            resolutionunit="INCH",
        )
    else:
        Image.fromarray(noise(rng, 3)).save(source, icc_profile=profile, dpi=(300, 300))
    photo = pictures.read(source)
    pictures.write(tmp_path / f"out{suffix}", photo, photo.tensor(), mask())
    with Image.open(tmp_path / f"out{suffix}") as out:
        assert out.info["icc_profile"] == profile
        if suffix != ".webp":
            assert np.allclose([float(value) for value in out.info["dpi"]], 300, atol=0.1)


def test_captions_and_colour_chunks_are_kept(tmp_path, rng):
    text = PngInfo()
    text.add_text("Description", "the family, 1931")
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a tiff:Orientation="6"/></x:xmpmeta>'
    Image.fromarray(noise(rng, 3)).save(tmp_path / "in.png", pnginfo=text)
    gamma = containers.png_chunk(b"gAMA", struct.pack(">I", 45455))
    data = containers.with_png_metadata((tmp_path / "in.png").read_bytes(), gamma)
    (tmp_path / "in.png").write_bytes(data)
    photo = pictures.read(tmp_path / "in.png")
    pictures.write(tmp_path / "out.png", photo, photo.tensor(), mask())
    with Image.open(tmp_path / "out.png") as out:
        assert out.info["Description"] == "the family, 1931"
        assert out.info["gamma"] == pytest.approx(0.45455)

    Image.fromarray(smooth(rng)).save(tmp_path / "in.jpg", comment="a comment", xmp=xmp)
    photo = pictures.read(tmp_path / "in.jpg")
    pictures.write(tmp_path / "out.jpg", photo, photo.tensor(), mask(120, 160))
    with Image.open(tmp_path / "out.jpg") as out:
        assert out.info["comment"] == b"a comment"
        assert out.info["xmp"] == xmp.replace(b'"6"', b'"1"')


def test_the_old_thumbnail_is_dropped():
    first = struct.pack("<HHHII", 1, 0x0112, 3, 1, 8) + struct.pack("<I", 26)
    exif = b"II*\0\x08\0\0\0" + first + struct.pack("<HI", 0, 0)
    orientation, block = containers.upright(exif)
    assert orientation == 8 and len(block) == len(exif)
    assert containers.upright(block)[0] == 1
    assert block[22:26] == b"\0\0\0\0"


@pytest.mark.parametrize("block", [b"", b"II*\0", b"MM\0*\xff\xff\xff\xff", b"nonsense"])
def test_broken_exif_counts_as_none(block):
    assert containers.upright(block) == (1, block)


def test_another_ending_converts(tmp_path, rng):
    exif = Image.Exif()
    exif[0x010F] = "Kintsugi Camera"
    Image.fromarray(smooth(rng)).save(tmp_path / "in.jpg", exif=exif, dpi=(300, 300))
    photo = pictures.read(tmp_path / "in.jpg")
    nothing = torch.zeros(1, 120, 160)
    for suffix in (".png", ".tif", ".webp"):
        pictures.write(tmp_path / f"out{suffix}", photo, photo.tensor(), nothing)
        with Image.open(tmp_path / f"out{suffix}") as out:
            assert out.getexif()[0x010F] == "Kintsugi Camera"
            assert np.array_equal(np.asarray(out), photo.pixels)
        again = pictures.read(tmp_path / f"out{suffix}")
        pictures.write(tmp_path / "again.jpg", again, again.tensor(), nothing)
        with Image.open(tmp_path / "again.jpg") as out:
            assert out.getexif()[0x010F] == "Kintsugi Camera"
    store(tmp_path / "deep.tif", noise(rng, 3, np.uint16))
    photo = pictures.read(tmp_path / "deep.tif")
    pictures.write(tmp_path / "deep.png", photo, photo.tensor(), torch.zeros(1, HEIGHT, WIDTH))
    assert np.array_equal(look(tmp_path / "deep.png"), photo.pixels)
    with pytest.raises(PictureError, match="16 bits"):
        pictures.write(tmp_path / "deep.jpg", photo, photo.tensor(), mask())
    store(tmp_path / "alpha.png", noise(rng, 4))
    photo = pictures.read(tmp_path / "alpha.png")
    with pytest.raises(PictureError, match="alpha"):
        pictures.write(tmp_path / "alpha.jpg", photo, photo.tensor(), mask())
    Image.new("RGB", (17_000, 2)).save(tmp_path / "wide.png")
    photo = pictures.read(tmp_path / "wide.png")
    with pytest.raises(PictureError, match="cannot hold 17000 x 2 pixels.*write .png"):
        pictures.write(tmp_path / "wide.webp", photo, photo.tensor(), torch.zeros(1, 2, 17_000))
    assert not (tmp_path / "wide.webp").exists()


def bad_files(folder, rng):
    """Name, bytes, and what the message must say."""
    good = {}
    for name in ("good.png", "good.jpg", "good.webp", "good.tif"):
        Image.fromarray(smooth(rng)).save(folder / name)
        good[name] = (folder / name).read_bytes()
    store(folder / "deep.png", noise(rng, 3, np.uint16))
    store(folder / "deep.tif", noise(rng, 3, np.uint16))
    for name in ("deep.png", "deep.tif"):
        good[name] = (folder / name).read_bytes()
    yield "empty.jpg", b"", "not a JPEG"
    yield "text.jpg", b"this is no picture\n" * 50, "not a JPEG"
    for name, data in good.items():
        yield f"cut-{name}", data[: len(data) * 2 // 3], "damaged|not a JPEG|16-bit"
    for name, size in (("thin.png", (1, 40)), ("dot.png", (1, 1))):
        Image.new("RGB", size).save(folder / name)
        yield name, (folder / name).read_bytes(), "at least 2 x 2"
    header = struct.pack(">IIBBBBB", 0, 10, 8, 2, 0, 0, 0)
    zero = b"\x89PNG\r\n\x1a\n" + containers.png_chunk(b"IHDR", header)
    yield "zero.png", zero + containers.png_chunk(b"IEND", b""), "damaged|not a JPEG|at least"
    for side, say in ((13_000, "at most 150 million"), (60_000, "make it smaller")):
        header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
        bomb = b"\x89PNG\r\n\x1a\n" + containers.png_chunk(b"IHDR", header)
        yield f"bomb{side}.png", bomb + containers.png_chunk(b"IDAT", b""), say
    Image.fromarray(smooth(rng)).convert("CMYK").save(folder / "cmyk.jpg")
    yield "cmyk.jpg", (folder / "cmyk.jpg").read_bytes(), "CMYK"
    tifffile.imwrite(folder / "float.tif", rng.random((20, 30), np.float32))
    yield "float.tif", (folder / "float.tif").read_bytes(), "no exact RGB form"
    tifffile.imwrite(folder / "float3.tif", rng.random((20, 30, 3), np.float32), photometric="rgb")
    yield "float3.tif", (folder / "float3.tif").read_bytes(), "8 or 16 bits"
    for name, dtype in (("signed8.tif", np.int8), ("signed16.tif", np.int16)):
        tifffile.imwrite(folder / name, noise(rng, 1, dtype)[..., 0])
        yield name, (folder / name).read_bytes(), "signed values"
    # Scanners keep infrared in such a channel, Photoshop selections.
    for channels, dtype, extra in (
        (4, np.uint8, (0,)), (4, np.uint16, (0,)), (5, np.uint8, (0, 0)), (5, np.uint8, (2, 0))
    ):  # fmt: skip
        name = f"{channels}_{dtype.__name__}_{extra[0]}.tif"
        many = noise(rng, channels, dtype)
        tifffile.imwrite(folder / name, many, photometric="rgb", extrasamples=extra)
        yield name, (folder / name).read_bytes(), f"has {channels} channels, of which only R, G, B"
    frames = [Image.fromarray(noise(rng, 3)) for _ in range(3)]
    frames[0].save(folder / "moving.webp", save_all=True, append_images=frames[1:])
    yield "moving.webp", (folder / "moving.webp").read_bytes(), "holds 3 pictures"


def test_bad_files_get_one_clear_line(tmp_path, rng, recwarn):
    for name, data, say in bad_files(tmp_path, rng):
        path = tmp_path / name
        path.write_bytes(data)
        with pytest.raises(PictureError, match=say) as caught:
            pictures.read(path)
        assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)
    assert not recwarn.list


def test_a_panorama_is_read(tmp_path, recwarn):
    Image.new("RGB", (20_000, 500), (9, 8, 7)).save(tmp_path / "wide.jpg")
    assert pictures.read(tmp_path / "wide.jpg").tensor().shape == (1, 500, 20_000, 3)
    assert not recwarn.list


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(PictureError, match="cannot be read: No such file"):
        pictures.read(tmp_path / "none.jpg")
    with pytest.raises(PictureError, match="cannot be read: Is a directory"):
        pictures.read(tmp_path)


@pytest.mark.parametrize("step", ["open", "fsync", "replace"])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, step):
    def full(*_args, **_options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    (tmp_path / "photo.png").write_bytes(b"old")
    if step == "open":
        monkeypatch.setattr("builtins.open", full)
    else:
        monkeypatch.setattr(os, step, full)
    with pytest.raises(PictureError, match="No space left on device; free some space"):
        save(tmp_path / "photo.png", b"new" * 1000)
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == ["photo.png"]
    assert (tmp_path / "photo.png").read_bytes() == b"old"


@pytest.mark.parametrize("letter", ["x", "é"])
def test_the_longest_name_can_be_written_and_a_longer_one_is_called_too_long(tmp_path, letter):
    longest = letter * (251 // len(letter.encode())) + ".png"
    save(tmp_path / longest, b"new")
    assert [path.name for path in tmp_path.iterdir()] == [longest]
    with pytest.raises(PictureError, match="File name too long; choose a shorter name"):
        save(tmp_path / f"{letter * 5}{longest}", b"new")
    assert [path.name for path in tmp_path.iterdir()] == [longest]


def test_an_interrupted_write_leaves_nothing(tmp_path, monkeypatch):
    def stop(*_args):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", stop)
    with pytest.raises(KeyboardInterrupt):
        save(tmp_path / "photo.png", b"new")
    assert list(tmp_path.iterdir()) == []


def test_a_real_limit_on_file_size(tmp_path):
    resource = pytest.importorskip("resource", reason="file size limits are POSIX")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(PictureError, match="File too large"):
            save(tmp_path / "photo.png", bytes(100_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def test_a_package_that_lacks_is_named_and_the_file_not_called_damaged(tmp_path, rng, monkeypatch):
    path = tmp_path / "a.png"
    store(path, noise(rng, 3, np.uint16))
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(PictureError, match="without the package av; install") as told:
        pictures.read(path)
    assert "damaged" not in str(told.value)


def test_grey_of_other_depths_and_with_one_clear_grey_is_refused(tmp_path, rng):
    values = rng.integers(0, 4096, (HEIGHT, WIDTH + 1)).astype(np.uint16)  # even: whole bytes
    rows = np.stack([values[:, ::2] >> 4, (values[:, ::2] & 15) << 4 | values[:, 1::2] >> 8], 2)
    rows = np.concatenate([rows, values[:, 1::2, None] & 255], 2).astype(np.uint8)
    entries = {256: WIDTH + 1, 257: HEIGHT, 258: 12, 259: 1, 262: 1, 273: 122, 277: 1, 278: HEIGHT}
    entries[279] = rows.nbytes
    packed = [struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries.items()]
    head = struct.pack("<2sHIH", b"II", 42, 8, len(packed)) + b"".join(packed) + bytes(4)
    assert len(head) == 122
    (tmp_path / "deep.tif").write_bytes(head + rows.tobytes())
    with pytest.raises(PictureError, match="12 bits a channel; save it with 8 or 16"):
        pictures.read(tmp_path / "deep.tif")
    store(tmp_path / "plain.png", noise(rng, 1, np.uint16))
    plain = (tmp_path / "plain.png").read_bytes()
    chunk = b"tRNS" + b"\0\7"
    clear = struct.pack(">I", 2) + chunk + struct.pack(">I", zlib.crc32(chunk))
    (tmp_path / "clear.png").write_bytes(plain[:33] + clear + plain[33:])
    with pytest.raises(PictureError, match="one 16-bit colour as transparent"):
        pictures.read(tmp_path / "clear.png")
