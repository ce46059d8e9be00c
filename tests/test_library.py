"""Finding weights that are already there, whoever put them there, and refusing impostors."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import pytest

from kintsugi.models import hub, zoo
from kintsugi.models.hub import HubError
from kintsugi.models.library import PRIVATE, Library, RefusedFileError

BODY = b"the published bytes" * 100
SHA256 = hashlib.sha256(BODY).hexdigest()


def small(name: str):
    """The card `name` as if its file were BODY."""
    return replace(zoo.CARDS[name], sha256=SHA256, size=len(BODY))


def put(path: Path, body: bytes = BODY) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(body)
    return path


@pytest.fixture
def library(tmp_path):
    categories = ("facerestore_models", "facedetection", "kintsugi")
    return Library({category: [tmp_path / category] for category in categories})


@pytest.mark.parametrize(
    "name, place",
    [
        # ReActor
        ("gfpgan-1.4", "facerestore_models/GFPGANv1.4.pth"),
        ("codeformer", "facerestore_models/codeformer-v0.1.0.pth"),
        ("retinaface-resnet50", "facedetection/detection_Resnet50_Final.pth"),
        ("parsenet", "facedetection/parsing_parsenet.pth"),
        # facerestore_cf, and the layout of fofr/comfyui
        ("codeformer", "facerestore_models/codeformer.pth"),
        ("gfpgan-1.3", "facerestore_models/GFPGANv1.3.pth"),
        ("restoreformer", "facerestore_models/RestoreFormer.pth"),
        ("retinaface-mobilenet0.25", "facedetection/detection_mobilenet0.25_Final.pth"),
        ("bisenet", "facedetection/parsing_bisenet.pth"),
        # renamed, sorted into folders, put beside another kind
        ("bisenet", "facedetection/79999_iter.pth"),
        ("gfpgan-1.4", "facerestore_models/old/2023/gfpganv1.4.PTH"),
        ("gfpgan-1.4", "facerestore_models/my favourite.pth"),
        ("arcface-ir-se50", "facedetection/recognition_arcface_ir_se50.pth"),
    ],
)
def test_files_of_other_packs_are_found(library, tmp_path, name, place):
    path = put(tmp_path / place)
    assert library.find(small(name)) == path
    assert hub.locate(small(name), library) == path


def test_nothing_there_is_none(library):
    assert library.find(small("gfpgan-1.4")) is None


def test_another_file_of_the_same_size_is_not_taken(library, tmp_path):
    put(tmp_path / "facerestore_models" / "some.pth", BODY[:-1] + b"?")
    assert library.find(small("gfpgan-1.4")) is None


def test_a_menu_does_not_read_files(library, tmp_path, monkeypatch):
    put(tmp_path / "facerestore_models" / "some.pth")
    monkeypatch.setattr(Library, "sha256", lambda *_: pytest.fail("a file was hashed"))
    assert library.find(small("gfpgan-1.4"), by_hash=False) is None
    path = put(tmp_path / "facerestore_models" / "GFPGANv1.4.pth")
    unmeasured = replace(small("gfpgan-1.4"), size=None)
    assert library.find(unmeasured, by_hash=False) == path


def test_a_file_is_hashed_once_and_again_when_it_changes(library, tmp_path, monkeypatch):
    path = put(tmp_path / "facerestore_models" / "some.pth", BODY[:-1] + b"?")
    assert library.find(small("gfpgan-1.4")) is None
    read = []
    assert library.find(small("gfpgan-1.4"), tick=lambda: read.append(1)) is None
    assert not read
    put(path)
    os.utime(path, ns=(1, 1))
    assert library.find(small("gfpgan-1.4")) == path


def test_an_unfinished_download_of_another_program_is_named(library, tmp_path):
    path = put(tmp_path / "facerestore_models" / "GFPGANv1.4.pth", BODY[:100])
    with pytest.raises(RefusedFileError, match="100 bytes, 1900 expected"):
        library.find(small("gfpgan-1.4"))
    with pytest.raises(HubError, match="delete or rename it"):
        hub.locate(small("gfpgan-1.4"), library)
    assert path.read_bytes() == BODY[:100]


def test_a_good_file_beside_a_bad_one_is_enough(library, tmp_path):
    put(tmp_path / "facerestore_models" / "GFPGANv1.4.pth", b"broken")
    good = put(tmp_path / "facerestore_models" / "sub" / "GFPGANv1.4.pth")
    assert library.find(small("gfpgan-1.4")) == good


def test_a_name_that_means_two_models_is_settled_by_hash(library, tmp_path):
    card = replace(zoo.CARDS["auraface"], sha256=SHA256)
    path = put(tmp_path / "kintsugi" / card.file, b"another network")
    with pytest.raises(RefusedFileError, match="not the published file"):
        library.find(card)
    put(path)
    assert library.find(card) == path


def test_a_file_placed_by_hand_is_taken_as_it_is(library, tmp_path):
    path = put(tmp_path / "facerestore_models" / "latest_net_G.pth", b"whatever the authors sent")
    assert library.find(zoo.CARDS["hifacegan"]) == path


def test_unfinished_downloads_are_not_taken_for_models(library, tmp_path):
    put(tmp_path / "facerestore_models" / PRIVATE / "GFPGANv1.4.pth")
    assert library.find(small("gfpgan-1.4")) is None


def test_a_registered_folder_may_be_a_link(tmp_path):
    put(tmp_path / "big disk" / "GFPGANv1.4.pth")
    (tmp_path / "models").symlink_to(tmp_path / "big disk")
    library = Library({"facerestore_models": [tmp_path / "models"]})
    assert library.find(small("gfpgan-1.4")) == tmp_path / "models" / "GFPGANv1.4.pth"


@pytest.mark.parametrize("linked", ["file", "folder"])
def test_a_link_out_of_the_folders_is_refused_by_name_until_its_target_is_registered(
    tmp_path, linked
):
    target = put(tmp_path / "elsewhere" / "GFPGANv1.4.pth")
    folder = tmp_path / "models"
    folder.mkdir()
    if linked == "file":
        (folder / "GFPGANv1.4.pth").symlink_to(target)
    else:
        (folder / "sub").symlink_to(target.parent)
    library = Library({"facerestore_models": [folder]})
    with pytest.raises(RefusedFileError, match="link to .*elsewhere.*register"):
        library.find(small("gfpgan-1.4"))
    both = Library({"facerestore_models": [folder, target.parent]})
    assert both.find(small("gfpgan-1.4")) is not None


def test_an_unnamed_link_out_of_the_folders_is_not_read(tmp_path):
    target = put(tmp_path / "elsewhere" / "some.pth")
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "other.pth").symlink_to(target)
    (folder / "dangling.pth").symlink_to(tmp_path / "nothing")
    assert Library({"facerestore_models": [folder]}).find(small("gfpgan-1.4")) is None


def test_links_in_a_circle_end(tmp_path):
    path = put(tmp_path / "GFPGANv1.4.pth")
    (tmp_path / "again").symlink_to(tmp_path)
    assert Library({"facerestore_models": [tmp_path]}).find(small("gfpgan-1.4")) == path


@pytest.mark.parametrize(
    "name",
    [
        "../secret.pth",
        "sub/../../secret.pth",
        "..\\secret.pth",
        "/etc/passwd",
        "\\\\server\\share\\x.pth",
        "C:\\x.pth",
        "C:x.pth",
        "",
        ".",
    ],
)
def test_a_name_that_leads_out_is_refused(library, tmp_path, name):
    put(tmp_path / "secret.pth")
    (tmp_path / "facerestore_models" / "sub").mkdir(parents=True)
    with pytest.raises(RefusedFileError, match="not the name of a file|no file"):
        library.path("facerestore_models", name)
    with pytest.raises(KeyError):
        zoo.load(name)


def test_a_name_inside_is_found_with_either_slash(library, tmp_path):
    path = put(tmp_path / "facerestore_models" / "sub" / "mine.pth")
    assert library.path("facerestore_models", "sub/mine.pth") == path
    assert library.path("facerestore_models", "sub\\mine.pth") == path
    with pytest.raises(RefusedFileError, match="no file 'yours.pth'"):
        library.path("facerestore_models", "yours.pth")


def test_a_name_whose_link_leads_out_is_refused(library, tmp_path):
    put(tmp_path / "secret.pth")
    (tmp_path / "kintsugi").mkdir()
    (tmp_path / "kintsugi" / "nice.pth").symlink_to(tmp_path / "secret.pth")
    with pytest.raises(RefusedFileError, match="outside the model folders"):
        library.path("kintsugi", "nice.pth")


def test_an_unregistered_category_is_named():
    with pytest.raises(RefusedFileError, match="'facedetection'.*registered: kintsugi"):
        Library({"kintsugi": ["x"]}).destination(zoo.CARDS["bisenet"])


def test_the_command_lines_folders_come_from_the_environment(tmp_path, monkeypatch):
    first, second, comfyui = (tmp_path / name for name in ("first", "second", "comfyui"))
    monkeypatch.setenv("KINTSUGI_MODELS", os.pathsep.join([str(first), str(second)]))
    monkeypatch.setenv("COMFYUI_PATH", str(comfyui))
    library = hub.default_library()
    assert library.folders["facedetection"] == (
        first / "facedetection",
        second / "facedetection",
        comfyui / "models" / "facedetection",
    )
    card = small("gfpgan-1.4")
    assert library.destination(card) == first / "facerestore_models"
    path = put(comfyui / "models" / "facerestore_models" / card.file)
    assert hub.locate(card, library) == path


@pytest.mark.skipif(os.name != "posix", reason="XDG folders are for Linux and the like")
def test_without_an_environment_it_is_the_users_cache(tmp_path, monkeypatch):
    for key in ("KINTSUGI_MODELS", "COMFYUI_PATH"):
        monkeypatch.delenv(key, raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert hub.default_library().folders["kintsugi"] == (tmp_path / "kintsugi/models/kintsugi",)
