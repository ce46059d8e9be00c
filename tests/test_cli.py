"""The command line: what it writes, what it leaves alone, what it says, how it ends.

Detection and restoration are stood in for here, so that every picture has the faces a test wants;
alignment, blending and files are the real ones. `test_demo.py` runs the real models.
"""

from __future__ import annotations

import json
import os
import resource
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from damage_for_tests import degradation
from faces_for_tests import place
from PIL import Image

from kintsugi import cli, cli_photos
from kintsugi.models import zoo
from kintsugi.stages.files import PictureError
from kintsugi.stages.identity_guard import guard
from kintsugi.stages.restore import Restored
from kintsugi.stages.strategy import Plan


@pytest.fixture
def stages(monkeypatch):
    """Stand-ins: a face in the middle of every picture that is not plain; restored is negative."""
    calls = {"detect": [], "restore": [], "placements": None, "hosts": set()}
    calls |= {"damages": (), "fine": (), "plain": (), "guard": []}

    def detect(image, **options):
        calls["detect"].append(options)
        calls["hosts"].add(id(options["host"]))
        height, width = image.shape[1:3]
        placements = calls["placements"]
        if placements is None:
            plain = float(image.std((1, 2)).max()) < 1e-3
            placements = [] if plain else [(width / 2, height / 2, 0.8 * min(height, width), 5)]
        return place(height, width, placements)

    def restore(crops, **options):
        calls["restore"].append(options | {"shape": tuple(crops.shape)})
        strength = options["strength"]
        damages = (calls["damages"] or (degradation(),)) * len(crops)
        plans = [
            Plan("stand-in" if strength else "", options["fidelity"], strength, "because")
            for _ in crops
        ]
        made = torch.lerp(crops, 1 - crops, strength)
        if options["colourise"]:
            plans = [replace(plan, colorizer="stand-in") for plan in plans]
            made = made * made.new_tensor([1.0, 0.5, 0.2])
        for index in calls["plain"]:
            plans[index], made[index] = replace(plans[index], colorizer=""), 1 - crops[index]
        for index in calls["fine"]:
            plans[index], made[index] = Plan("", 1.0, 1.0, "fine: skipped"), crops[index]
        return Restored(
            made,
            tuple(plan.model for plan in plans),
            options["fidelity"],
            strength,
            options["seed"],
            "restored\nface 0: because",
            tuple(plans),
            damages[: len(crops)],
        )

    def keep(before, after, **options):
        """Measures as the real one does, but lets the negatives through."""
        calls["guard"].append(options)
        return guard(before, after, **options | {"action": "report"})

    monkeypatch.setattr(cli_photos, "guard", keep)
    monkeypatch.setattr(cli_photos, "detect", detect)
    monkeypatch.setattr(cli_photos, "restore", restore)
    monkeypatch.setattr(cli_photos, "choose", lambda *_: zoo.CARDS["kintsugi-restorer"])
    return calls


@pytest.fixture
def rng():
    return np.random.default_rng(1)


def photo(path, rng, dtype=np.uint8, channels=3, height=96, width=130):
    high = np.iinfo(dtype).max + 1
    pixels = rng.integers(0, high, (height, width, channels)).astype(dtype)
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), pixels)
    return pixels


def load(path):
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


def run(*arguments):
    return cli.main([str(argument) for argument in arguments])


def names(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_outside_the_mask_nothing_changes(tmp_path, stages, rng, dtype, channels, suffix):
    photo(tmp_path / f"a{suffix}", rng, dtype, channels)
    assert run(tmp_path / f"a{suffix}", "-o", tmp_path / "out") == 0
    # OpenCV multiplies the alpha of an 8-bit TIFF in, Pillow drops half of 16 bits.
    look = load if dtype == np.uint16 else lambda path: np.asarray(Image.open(path))
    before, after = look(tmp_path / f"a{suffix}"), look(tmp_path / "out" / f"a{suffix}")
    assert before.dtype == after.dtype == dtype and before.shape == after.shape
    differs = before != after
    differs = differs if differs.ndim == 2 else differs.any(-1)
    # The face's oval is inside its crop, 0.8 of the height wide and turned by 5 degrees.
    ys, xs = np.nonzero(differs)
    assert 0.2 < differs.mean() < 0.6
    assert np.abs(xs - 65).max() < 45 and np.abs(ys - 48).max() < 45
    if channels == 4:
        assert np.array_equal(before[..., 3], after[..., 3])


def test_the_same_photo_gives_the_same_bytes(tmp_path, stages, rng):
    for suffix in (".png", ".jpg", ".webp", ".tif"):
        photo(tmp_path / "in" / f"a{suffix}", rng)
    assert run(tmp_path / "in", "-o", tmp_path / "one") == 0
    assert run(tmp_path / "in", "-o", tmp_path / "two") == 0
    assert names(tmp_path / "one") == ["a.jpg", "a.png", "a.tif", "a.webp"]
    for name in names(tmp_path / "one"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_orientation_is_honoured(tmp_path, stages, rng):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(rng.integers(0, 256, (60, 90, 3), np.uint8)).save(tmp_path / "a.jpg", exif=exif)
    assert run(tmp_path / "a.jpg", "-o", tmp_path / "out") == 0
    with Image.open(tmp_path / "out" / "a.jpg") as out:
        assert out.size == (60, 90) and out.getexif()[0x0112] == 1


def test_folders(tmp_path, stages, rng):
    for name in ("a.png", "b.JPG", "deep/c.png", ".hidden.png"):
        photo(tmp_path / "in" / name, rng)
    (tmp_path / "in" / "notes.txt").write_text("no photo")
    assert run(tmp_path / "in", "-o", tmp_path / "flat") == 0
    assert names(tmp_path / "flat") == ["a.png", "b.JPG"]
    # The results lie inside the folder and are no photos to do the second time.
    for _ in range(2):
        assert run(tmp_path / "in", "-r", "-o", tmp_path / "in" / "out", "--overwrite") == 0
    assert names(tmp_path / "in" / "out") == ["a.png", "b.JPG", "deep/c.png"]
    assert len(stages["detect"]) == 2 + 2 * 3
    assert len(stages["hosts"]) <= 3, "one host serves a whole run"


def test_one_photo_to_one_file_in_another_format(tmp_path, stages, rng):
    photo(tmp_path / "a.jpg", rng)
    assert run(tmp_path / "a.jpg", "-o", tmp_path / "new" / "b.png") == 0
    assert names(tmp_path / "new") == ["b.png"]
    assert load(tmp_path / "new" / "b.png").shape == (96, 130, 3)


def test_an_existing_result_is_left_alone(tmp_path, stages, rng, capsys):
    photo(tmp_path / "a.png", rng)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.png").write_bytes(b"mine")
    assert run(tmp_path / "a.png", "-o", tmp_path / "out") == 0
    assert "--overwrite" in capsys.readouterr().err and not stages["detect"]
    assert run(tmp_path / "a.png", "-o", tmp_path / "out", "--report") == 0
    assert "a.report.json would show another picture (--overwrite" in capsys.readouterr().err
    assert names(tmp_path / "out") == ["a.png"]
    assert (tmp_path / "out" / "a.png").read_bytes() == b"mine"
    assert run(tmp_path / "a.png", "-o", tmp_path / "out", "--overwrite") == 0
    assert (tmp_path / "out" / "a.png").read_bytes() != b"mine"


def test_no_result_may_replace_an_input(tmp_path, stages, rng, capsys):
    photo(tmp_path / "a" / "x.png", rng)
    photo(tmp_path / "b" / "x.png", rng)
    os.symlink(tmp_path / "a" / "x.png", tmp_path / "link.png")
    before = {name: (tmp_path / name).read_bytes() for name in ("a/x.png", "b/x.png")}
    assert run(tmp_path / "a", "-o", tmp_path / "a", "--overwrite") == 1
    assert run(tmp_path / "a", tmp_path / "b", "-o", tmp_path / "a", "--overwrite") == 1
    assert run(tmp_path / "a" / "x.png", "-o", tmp_path / "link.png", "--overwrite") == 1
    assert capsys.readouterr().err.count("would replace an input") == 4
    assert before == {name: (tmp_path / name).read_bytes() for name in before}


def test_a_face_that_is_no_longer_the_person_stays_as_it_was(
    tmp_path, stages, rng, monkeypatch, capsys
):
    monkeypatch.setattr(cli_photos, "guard", guard)
    photo(tmp_path / "a.png", rng)
    assert run(tmp_path / "a.png", "-o", tmp_path / "out", "--report") == 0
    assert (tmp_path / "out" / "a.png").read_bytes() == (tmp_path / "a.png").read_bytes()
    assert "refused" in capsys.readouterr().err
    told = json.loads((tmp_path / "out" / "a.report.json").read_text())
    assert told["faces"][0]["identity"]["action"].startswith("refused")
    assert "refused" in told["guard"][0]
    assert run(tmp_path / "a.png", "-o", tmp_path / "off", "--guard", "off", "--report") == 0
    assert (tmp_path / "off" / "a.png").read_bytes() != (tmp_path / "a.png").read_bytes()
    off = json.loads((tmp_path / "off" / "a.report.json").read_text())
    assert off["guard"] is None and off["faces"][0]["identity"] is None
    assert off["faces"][0]["weights"][0]["name"] == "stand-in"


def test_references_and_threshold_reach_the_guard(tmp_path, stages, rng, capsys):
    photo(tmp_path / "a.png", rng)
    photo(tmp_path / "b.png", rng, height=50, width=60)
    settings = ["--reference", tmp_path / "b.png", "--threshold", 0.7, "--guard", "refuse"]
    assert run(tmp_path / "a.png", "-o", tmp_path / "out", *settings) == 0
    (options,) = stages["guard"]
    assert options["threshold"] == 0.7 and options["action"] == "refuse"
    assert [tuple(part.shape) for part in options["references"]] == [(1, 50, 60, 3)]
    with pytest.raises(SystemExit):
        run(tmp_path / "a.png", "-o", tmp_path / "x", "--reference", tmp_path / "none.png")
    assert "none.png: cannot be read" in capsys.readouterr().err


def test_a_restored_photo_says_so_in_its_metadata(tmp_path, stages, rng):
    photo(tmp_path / "a.png", rng)
    assert run(tmp_path / "a.png", "-o", tmp_path / "out") == 0
    data = (tmp_path / "out" / "a.png").read_bytes()
    assert b"compositeWithTrainedAlgorithmicMedia" in data and b"1 face restored" in data
    stages["placements"] = []
    assert run(tmp_path / "a.png", "-o", tmp_path / "none") == 0
    assert b"Algorithmic" not in (tmp_path / "none" / "a.png").read_bytes()


def test_two_inputs_with_one_result(tmp_path, stages, rng, capsys):
    photo(tmp_path / "a" / "x.png", rng)
    photo(tmp_path / "b" / "x.png", rng)
    assert run(tmp_path / "a", tmp_path / "b", "-o", tmp_path / "out") == 1
    assert "another input has the same result" in capsys.readouterr().err
    assert names(tmp_path / "out") == ["x.png"]


def test_photos_of_one_name_in_two_formats_have_reports_of_their_own(tmp_path, stages, rng):
    for name in ("a.png", "a.TIF", "b.png"):
        photo(tmp_path / "in" / name, rng)
    assert run(tmp_path / "in", "-o", tmp_path / "out", "--report", "--compare") == 0
    assert names(tmp_path / "out") == [
        *("a.TIF", "a.TIF.compare.png", "a.TIF.report.json"),
        *("a.png", "a.png.compare.png", "a.png.report.json"),
        *("b.compare.png", "b.png", "b.report.json"),
    ]


def test_reports_of_one_name_stay_apart_over_the_days(tmp_path, stages, rng, capsys):
    for name in ("a.png", "a.TIF"):
        photo(tmp_path / "in" / name, rng)
    options = "-o", tmp_path / "out", "--report", "--compare"
    assert run(tmp_path / "in" / "a.png", *options) == 0
    first = (tmp_path / "out" / "a.report.json").read_bytes()
    for more in ((), (), ("--overwrite",)):
        assert run(tmp_path / "in" / "a.TIF", *options, *more) == 0
    assert names(tmp_path / "out") == [
        *("a.TIF", "a.TIF.compare.png", "a.TIF.report.json"),
        *("a.compare.png", "a.png", "a.report.json"),
    ]
    assert (tmp_path / "out" / "a.report.json").read_bytes() == first
    assert run(tmp_path / "in" / "a.png", *options) == 0
    assert len(stages["detect"]) == 3, "the second and the last run found all there"


def test_a_photo_linked_into_an_album_has_a_result_in_each_folder(tmp_path, stages, rng):
    photo(tmp_path / "in" / "originals" / "aunt.png", rng)
    (tmp_path / "in" / "album").mkdir()
    os.symlink("../originals/aunt.png", tmp_path / "in" / "album" / "best.png")
    folder = tmp_path / "in"
    assert run(folder, folder / "originals" / ".." / "originals", "-r", "-o", tmp_path / "out") == 0
    assert names(tmp_path / "out") == ["album/best.png", "aunt.png", "originals/aunt.png"]


def test_what_is_no_file_is_told_and_never_waited_for(tmp_path, stages, rng, capsys, monkeypatch):
    photo(tmp_path / "in" / "good.png", rng)
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "circle.png").symlink_to("circle.png")
    (tmp_path / "in" / "locked").mkdir()
    scandir = os.scandir

    def locked(path):
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", locked)
    odd = [tmp_path / name for name in ("pipe.png", "circle.png", "x" * 300)]
    assert run(*odd, tmp_path / "in", "-r", "-o", tmp_path / "out") == 1
    told = capsys.readouterr().err
    assert "pipe.png: is neither a file nor a folder" in told
    assert told.count("there is no such file or folder") == 2
    assert "locked: cannot be looked into: Permission denied" in told
    assert names(tmp_path / "out") == ["good.png"]


@pytest.mark.parametrize("output", ["circle", "circle/deeper", "x" * 300])
def test_a_place_that_cannot_be_is_told(tmp_path, stages, rng, capsys, output):
    photo(tmp_path / "a.png", rng)
    (tmp_path / "circle").symlink_to("circle")
    assert run(tmp_path / "a.png", "-o", tmp_path / output) == 1
    assert "its folder cannot be made" in capsys.readouterr().err


def test_a_name_that_is_no_unicode(tmp_path, stages, rng):
    source = tmp_path / "in" / os.fsdecode(b"caf\xe9.png")
    photo(tmp_path / "a.png", rng)
    source.parent.mkdir()
    (tmp_path / "a.png").rename(source)
    assert run(source, "-o", tmp_path / "out", "--report") == 0
    (report,) = (tmp_path / "out").glob("*.json")
    assert json.loads(report.read_text("utf-8"))["photo"] == source.name


def test_no_face_copies_the_file(tmp_path, stages, capsys):
    Image.new("RGB", (80, 60), (90, 80, 70)).save(tmp_path / "a.jpg", quality=40)
    assert run(tmp_path / "a.jpg", "-o", tmp_path / "out", "--compare", "--report") == 0
    assert "no face found" in capsys.readouterr().err
    assert (tmp_path / "out" / "a.jpg").read_bytes() == (tmp_path / "a.jpg").read_bytes()
    assert json.loads((tmp_path / "out" / "a.report.json").read_text())["faces"] == []


def test_faces_that_the_settings_left_out_may_be_why_there_is_none(tmp_path, stages, capsys):
    Image.new("RGB", (80, 60), (90, 80, 70)).save(tmp_path / "a.png")
    chosen = ["--select", 1, "--max-size", 40]
    assert run(tmp_path / "a.png", "-o", tmp_path / "out", *chosen) == 0
    assert "(do without --select and --max-size, or try a lower" in capsys.readouterr().err


def test_photos_in_a_folder_that_are_not_read_are_told(tmp_path, stages, rng, capsys):
    photo(tmp_path / "in" / "a.png", rng)
    for name in ("b.HEIC", "c.heic", "d.bmp", ".e.bmp", "notes.txt"):
        (tmp_path / "in" / name).write_bytes(b"?")
    Image.new("RGB", (80, 60), (90, 80, 70)).save(tmp_path / "in" / "f.jfif", "JPEG")
    assert run(tmp_path / "in", "-o", tmp_path / "out") == 1
    assert "in: 1 .bmp, 2 .heic left out; save them as" in capsys.readouterr().err
    assert names(tmp_path / "out") == ["a.png", "f.jfif"]


def test_an_ending_spelt_otherwise_copies_too(tmp_path, stages):
    Image.new("RGB", (80, 60), (90, 80, 70)).save(tmp_path / "a.jpeg", quality=40)
    assert run(tmp_path / "a.jpeg", "-o", tmp_path / "b.jpg") == 0
    assert (tmp_path / "b.jpg").read_bytes() == (tmp_path / "a.jpeg").read_bytes()
    with pytest.raises(SystemExit):
        run(tmp_path / "a.jpeg", "-o", tmp_path / "b.bmp")
    assert not (tmp_path / "b.bmp").exists()


def test_strength_0_copies_the_file(tmp_path, stages, rng, capsys):
    photo(tmp_path / "a.png", rng)
    assert run(tmp_path / "a.png", "-o", tmp_path / "out", "--strength", 0) == 0
    assert "restored, copied" in capsys.readouterr().err
    assert (tmp_path / "out" / "a.png").read_bytes() == (tmp_path / "a.png").read_bytes()


def test_report(tmp_path, stages, rng):
    photo(tmp_path / "a.png", rng)
    options = ["--fidelity", 0.3, "--strength", 0.9, "--seed", 7]
    assert run(tmp_path / "a.png", "-o", tmp_path / "out", "--report", *options) == 0
    report = json.loads((tmp_path / "out" / "a.report.json").read_text())
    (face,) = report["faces"]
    assert (report["width"], report["height"]) == (130, 96)
    assert face["model"] == "stand-in" and face["score"] == 0.9 and len(face["points"]) == 5
    assert (face["fidelity"], face["strength"], face["seed"]) == (0.3, 0.9, 7)
    assert (face["reason"], face["models"]) == ("because", ["stand-in"])
    assert (face["severity"], face["findings"]) == (0.0, [])
    assert report["summary"] == "restored", "lines on single faces stand with them"
    assert set(report["seconds"]) == {"detect", "align", "restore", "guard", "blend"}
    assert report["versions"]["torch"] == torch.__version__
    changed = (load(tmp_path / "a.png") != load(tmp_path / "out" / "a.png")).any(-1).mean()
    assert report["changed_share"] == pytest.approx(changed, abs=0.02)


def test_the_report_tells_what_was_wrong_with_a_face(tmp_path, stages, rng):
    photo(tmp_path / "a.png", rng)
    stages["damages"] = (degradation(0.42, motion=9.0, jpeg=31.0),)
    assert run(tmp_path / "a.png", "-o", tmp_path / "out", "--report", "--colourise") == 0
    (face,) = json.loads((tmp_path / "out" / "a.report.json").read_text())["faces"]
    assert face["severity"] == 0.42
    motion, jpeg = face["findings"]
    assert (motion["kind"], motion["strength"], motion["angle"]) == ("motion", 9.0, 30.0)
    assert (jpeg["words"], jpeg["angle"]) == ("JPEG quality 31", None)
    (asked,) = stages["restore"]
    assert asked["colourise"] is True and asked["model"] == "auto" and len(asked["faces"]) == 1


def test_a_face_that_is_fine_keeps_every_pixel(tmp_path, stages, rng):
    photo(tmp_path / "a.png", rng, width=260)
    stages["placements"] = [(60, 48, 70, 5), (190, 48, 70, 5)]
    stages["fine"] = (0,)
    assert run(tmp_path / "a.png", "-o", tmp_path / "out", "--report") == 0
    changed = (load(tmp_path / "a.png") != load(tmp_path / "out" / "a.png")).any(-1)
    assert not changed[:, :125].any() and changed[:, 150:230].any()
    stages["fine"] = (0, 1)
    calls = len(stages["guard"])
    assert run(tmp_path / "a.png", "-o", tmp_path / "two", "--report") == 0
    assert len(stages["guard"]) == calls
    assert json.loads((tmp_path / "two" / "a.report.json").read_text())["guard"] is None
    assert (tmp_path / "two" / "a.png").read_bytes() == (tmp_path / "a.png").read_bytes()


@pytest.mark.parametrize(
    ("size", "sheet"),
    [((130, 96), (260 + 4, 96 + 12 + 256)), ((900, 200), (900, 404 + 12 + 256))],
    ids=["side by side", "panorama"],
)
def test_compare(tmp_path, stages, rng, size, sheet):
    photo(tmp_path / "a.png", rng, width=size[0], height=size[1])
    assert run(tmp_path / "a.png", "-o", tmp_path / "out", "--compare") == 0
    drawn = load(tmp_path / "out" / "a.compare.png")
    pair = 2 * 256 + 4
    assert drawn.shape == (sheet[1], max(sheet[0], pair), 3)
    before, after = load(tmp_path / "a.png"), load(tmp_path / "out" / "a.png")
    height, width = before.shape[:2]
    assert np.array_equal(drawn[:height, :width], before)
    second = drawn[height + 4 :, :] if width > 2 * height else drawn[:, width + 4 :]
    assert np.abs(second[:height, :width].astype(int) - after).max() <= 1
    close_ups = drawn[-256:, :256].astype(int), drawn[-256:, 260 : 260 + 256].astype(int)
    assert np.abs(close_ups[0] - close_ups[1]).mean() > 20


def test_settings_reach_the_stages(tmp_path, stages, rng):
    photo(tmp_path / "a.png", rng)
    detection = ["--confidence", 0.7, "--min-size", 9, "--max-size", 900, "--count", 3]
    detection += ["--order", "left-to-right", "--select", "0,2-4", "--detector", "yunet"]
    restoration = ["--model", "gfpgan-1.4", "--commercial-only", "--size", 128, "--seed", 5]
    restoration += ["--steps", 3]
    assert run(tmp_path / "a.png", "-o", tmp_path / "out", *detection, *restoration) == 0
    asked = stages["detect"][0]
    del asked["host"]
    assert asked == {
        "detector": "yunet",
        "confidence": 0.7,
        "min_size": 9,
        "max_size": 900,
        "count": 3,
        "order": "left to right",
        "selection": "0,2-4",
    }
    asked = stages["restore"][0]
    assert (asked["model"], asked["commercial_only"], asked["seed"]) == ("gfpgan-1.4", True, 5)
    assert asked["steps"] == 3
    assert asked["shape"] == (1, 128, 128, 3)


@pytest.mark.parametrize(
    ("option", "value", "say"),
    [
        ("--order", "smallest", "left-to-right"),
        ("--select", "first", "first"),
        ("--detector", "none", "detector"),
        ("--device", "cuda:99", "cannot be used here"),
        ("--size", "9", "64 to 4096"),
        ("--fidelity", "1.5", "not in 0 to 1"),
        ("--min-size", "-4", "negative"),
        ("--min-size", "small", "small is not a whole number"),
        ("--min-size", "²", "not a whole number"),
        ("--fidelity", "high", "high is not in 0 to 1"),
        ("--fidelity", "nan", "nan is not in 0 to 1"),
        ("--seed", str(2**64), "is not a whole number in 0 to 18446744073709551615"),
        ("--seed", "-1", "not a whole number in 0"),
    ],
)
def test_wrong_usage(tmp_path, stages, rng, capsys, option, value, say):
    photo(tmp_path / "a.png", rng)
    with pytest.raises(SystemExit) as stopped:
        run(tmp_path / "a.png", "-o", tmp_path / "out", option, value)
    assert stopped.value.code == 2 and say in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_sizes_that_no_face_can_have_are_wrong_usage(tmp_path, stages, rng, capsys):
    photo(tmp_path / "a.png", rng)
    with pytest.raises(SystemExit):
        run(tmp_path / "a.png", "-o", tmp_path / "out", "--min-size", 50, "--max-size", 10)
    assert "--min-size 50 is above --max-size 10" in capsys.readouterr().err


def test_an_unknown_or_refused_model_is_wrong_usage(tmp_path, rng, capsys):
    photo(tmp_path / "a.png", rng)
    with pytest.raises(SystemExit) as stopped:
        run(tmp_path / "a.png", "-o", tmp_path / "out", "--model", "nonesuch")
    assert stopped.value.code == 2 and "unknown restorer 'nonesuch'" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        run(tmp_path / "a.png", "-o", "out", "--model", "codeformer", "--commercial-only")
    assert "not cleared for commercial use" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        run(tmp_path / "a.png", "-o", "out", "--model", "codeformer-inpainting")
    assert "fills what a mask names" in capsys.readouterr().err


def test_bad_photos_do_not_stop_the_others(tmp_path, stages, rng, capsys):
    folder = tmp_path / "in"
    photo(folder / "a_good.png", rng)
    photo(folder / "z_good.png", rng)
    data = (folder / "a_good.png").read_bytes()
    (folder / "b_text.jpg").write_text("no picture")
    (folder / "c_cut.png").write_bytes(data[: len(data) // 2])
    Image.new("RGB", (1, 30)).save(folder / "d_thin.png")
    assert run(folder, tmp_path / "missing.jpg", "-o", tmp_path / "out") == 1
    complaints = [line for line in capsys.readouterr().err.splitlines() if "kintsugi: " in line]
    for name, say in (
        ("b_text.jpg", "is not a JPEG"),
        ("c_cut.png", "damaged"),
        ("d_thin.png", "1 x 30"),
        ("missing.jpg", "no such file"),
    ):
        assert any(name in line and say in line for line in complaints), complaints
    assert names(tmp_path / "out") == ["a_good.png", "z_good.png"]


def test_a_failing_stage_is_told_and_the_others_go_on(tmp_path, stages, rng, capsys, monkeypatch):
    photo(tmp_path / "in" / "a.png", rng)
    photo(tmp_path / "in" / "b.png", rng)
    blend, calls = cli_photos.blend, []

    def once(*args, **options):
        calls.append(1)
        if len(calls) == 1:
            raise RuntimeError("the network gave values that are not numbers")
        return blend(*args, **options)

    monkeypatch.setattr(cli_photos, "blend", once)
    assert run(tmp_path / "in", "-o", tmp_path / "out") == 1
    assert "a.png: could not be restored: the network gave" in capsys.readouterr().err
    assert names(tmp_path / "out") == ["b.png"]


def test_disk_full(tmp_path, stages, rng, capsys):
    photo(tmp_path / "in" / "big.png", rng, height=400, width=500)
    photo(tmp_path / "in" / "small.png", rng, height=40, width=50)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        assert run(tmp_path / "in", "-o", tmp_path / "out") == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "big.png: cannot be written: File too large" in capsys.readouterr().err
    assert names(tmp_path / "out") == ["small.png"]


def test_what_a_failed_run_left_out_is_added_by_the_next(
    tmp_path, stages, rng, capsys, monkeypatch
):
    photo(tmp_path / "a.png", rng)
    arguments = tmp_path / "a.png", "-o", tmp_path / "out", "--compare", "--report"
    with monkeypatch.context() as broken:

        def full(path, *_):
            raise PictureError(f"{path}: cannot be written: No space left on device")

        broken.setattr(cli_photos.compare, "save", full)
        assert run(*arguments) == 1
    assert names(tmp_path / "out") == ["a.png"]
    whole = (tmp_path / "out" / "a.png").read_bytes()
    assert run(*arguments) == 0
    assert "a.compare.png and a.report.json added" in capsys.readouterr().err
    assert names(tmp_path / "out") == ["a.compare.png", "a.png", "a.report.json"]
    assert (tmp_path / "out" / "a.png").read_bytes() == whole
    assert run(*arguments) == 0 and len(stages["detect"]) == 2, "all is there"

    # A comparison of another restoration would belong to a picture that is not there.
    (tmp_path / "out" / "a.compare.png").unlink()
    assert run(*arguments, "--strength", "0.3") == 0
    assert "was made otherwise" in capsys.readouterr().err
    assert names(tmp_path / "out") == ["a.png", "a.report.json"]


def test_an_output_folder_that_cannot_be_written(tmp_path, stages, rng, capsys, monkeypatch):
    photo(tmp_path / "a.png", rng)
    (tmp_path / "file").write_text("not a folder")
    assert run(tmp_path / "a.png", "-o", tmp_path / "file") == 1
    assert run(tmp_path / "a.png", "-o", tmp_path / "file" / "deeper") == 1
    assert capsys.readouterr().err.count("choose another") == 2
    if os.geteuid() == 0:  # to root every folder is open
        import builtins

        real = builtins.open

        def refused(path, mode="r", *args, **options):
            if "w" in mode and Path(path).parent == tmp_path / "locked":
                raise PermissionError(13, "Permission denied")
            return real(path, mode, *args, **options)

        monkeypatch.setattr(builtins, "open", refused)
    (tmp_path / "locked").mkdir(mode=0o555)
    assert run(tmp_path / "a.png", "-o", tmp_path / "locked") == 1
    assert "cannot be written: Permission denied" in capsys.readouterr().err
    assert names(tmp_path / "locked") == []


def test_stopping_leaves_whole_files_only(tmp_path, stages, rng, capsys, monkeypatch):
    for name in ("a.png", "b.png", "c.png"):
        photo(tmp_path / "in" / name, rng)
    fsync, calls = os.fsync, []

    def stop(number):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return fsync(number)

    monkeypatch.setattr(os, "fsync", stop)
    assert run(tmp_path / "in", "-o", tmp_path / "out") == 130
    assert "stopped" in capsys.readouterr().err
    assert names(tmp_path / "out") == ["a.png"]


def test_a_crowd(tmp_path, stages, rng):
    photo(tmp_path / "a.png", rng, height=260, width=500)
    stages["placements"] = [
        (25 + 23 * column, 25 + 21 * row, 22, 0) for row in range(10) for column in range(20)
    ]
    assert run(tmp_path / "a.png", "-o", tmp_path / "out", "--report", "--size", 64) == 0
    assert len(json.loads((tmp_path / "out" / "a.report.json").read_text())["faces"]) == 200


def test_colours_that_were_given_stay(tmp_path, stages, rng, capsys):
    grey = np.repeat(rng.integers(60, 200, (96, 130, 1), np.uint8), 3, axis=2)
    Image.fromarray(grey).save(tmp_path / "rgb.png")
    Image.fromarray(grey[..., 0]).save(tmp_path / "grey.png")
    assert run(tmp_path / "rgb.png", "-o", tmp_path / "out", "--colourise") == 0
    assert np.ptp(load(tmp_path / "out" / "rgb.png")[40:56, 57:73].mean((0, 1))) > 40
    assert "save the photo as RGB" not in capsys.readouterr().err
    assert run(tmp_path / "grey.png", "-o", tmp_path / "out", "--colourise") == 0
    assert "save the photo as RGB" in capsys.readouterr().err
    assert load(tmp_path / "out" / "grey.png").ndim == 2


def test_a_face_beside_a_coloured_one_keeps_its_tones(tmp_path, stages, rng):
    grey = np.repeat(rng.integers(95, 125, (100, 240, 1), np.uint8), 3, axis=2)
    Image.fromarray(grey).save(tmp_path / "a.png")
    stages["placements"] = [(60, 50, 80, 0), (180, 50, 80, 0)]
    stages["plain"] = (1,)
    assert run(tmp_path / "a.png", "-o", tmp_path / "out", "--colourise", "--guard", "off") == 0
    coloured, plain = (
        load(tmp_path / "out" / "a.png")[40:60, x - 10 : x + 10].mean((0, 1)) for x in (60, 180)
    )
    assert np.ptp(coloured) > 40
    assert np.ptp(plain) < 3 and abs(plain.mean() - 110) < 8, "a negative in the tones it had"


@pytest.mark.parametrize(("count", "size"), [(0, 512), (170, 512), (600, 256), (10**6, 128)])
def test_crops_of_many_faces_fit_into_memory(count, size):
    assert cli_photos.crop_size(count) == size


def test_a_wide_panorama(tmp_path, stages):
    Image.linear_gradient("L").resize((20_000, 500)).save(tmp_path / "a.jpg")
    stages["placements"] = [(19_000, 250, 300, 0)]
    assert run(tmp_path / "a.jpg", "-o", tmp_path / "out", "--compare") == 0
    with Image.open(tmp_path / "out" / "a.jpg") as out:
        assert out.size == (20_000, 500) and out.mode == "L"


def test_models_is_a_command(capsys):
    assert run("models", "--table") == 0
    assert "kintsugi-restorer" in capsys.readouterr().out


def test_the_command_line_knows_every_way_of_matching_tones():
    from kintsugi import cli
    from kintsugi.stages import colour

    assert cli.COLOURS == colour.METHODS
