"""Fetching: against a Hub on 127.0.0.1 that breaks in every way a Hub breaks."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from checkpoints import retinaface, saved
from fakehub import FakeHub, Fault

from kintsugi.models import hub, loader, transfer, zoo
from kintsugi.models.hub import HubError, address, locate
from kintsugi.models.library import PRIVATE, Library

BODY = saved(retinaface())
DEAD = [Fault(status=503)] * 20


def of(body: bytes, name: str = "retinaface-mobilenet0.25", **changes):
    """The card `name`, sources and all, for another file."""
    facts = {"sha256": hashlib.sha256(body).hexdigest(), "size": len(body), **changes}
    return replace(zoo.CARDS[name], **facts)


CARD = of(BODY)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(transfer, "WAITS", (0.01, 0.01))
    monkeypatch.setattr(hub, "SPARE", 1 << 20)


@pytest.fixture
def server(monkeypatch, tmp_path):
    with FakeHub() as server:
        for key in ("HF_TOKEN", "HF_HUB_OFFLINE", "HUGGING_FACE_HUB_TOKEN"):
            monkeypatch.delenv(key, raising=False)
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        server.publish(CARD.sources[0], BODY)
        yield server


@pytest.fixture
def library(tmp_path):
    return Library({"facedetection": [tmp_path / "facedetection"]})


def final(library: Library) -> Path:
    return library.destination(CARD) / CARD.file


def partials(library: Library) -> list[Path]:
    return list((library.destination(CARD) / PRIVATE).glob("*.part"))


def test_fetches_whole_and_checked_and_then_never_asks_again(server, library):
    path = locate(CARD, library)
    assert path == final(library) and path.read_bytes() == BODY
    assert type(loader.build(loader.load_file(path))).__name__ == "RetinaFace"
    assert not partials(library)
    asked = len(server.seen)
    assert locate(CARD, library) == path
    assert len(server.seen) == asked


def test_asks_for_the_pinned_commit_of_the_published_place(server, library):
    locate(CARD, library)
    source = CARD.sources[0]
    assert server.seen[0].path == f"/{source.repo}/resolve/{source.revision}/{source.file}"


@pytest.mark.parametrize("repo_type", ["dataset", "space"])
def test_datasets_and_spaces_have_their_prefix(server, library, repo_type):
    source = replace(CARD.sources[0], repo="some/where", repo_type=repo_type)
    card = replace(CARD, sources=(source,))
    with pytest.raises(HubError, match=f"/{repo_type}s/some/where/resolve/"):
        locate(card, library)
    server.publish(source, BODY)
    assert locate(card, library).read_bytes() == BODY


@pytest.mark.parametrize("tenth", range(10))
def test_cut_at_a_tenth_leaves_nothing_by_that_name_and_the_next_run_resumes(
    server, library, tenth
):
    at = len(BODY) * tenth // 10
    server.cdn_faults = [Fault(cut=at), *DEAD]
    with pytest.raises(HubError, match="503"):
        locate(CARD, library)
    assert not final(library).exists()
    server.cdn_faults = []
    server.seen.clear()
    assert locate(CARD, library).read_bytes() == BODY
    assert server.starts() == [at or None]


def test_a_cut_is_mended_in_the_same_run(server, library):
    half = len(BODY) // 2
    server.cdn_faults = [Fault(cut=half), Fault(cut=half + 1), Fault(status=503)]
    assert locate(CARD, library).read_bytes() == BODY
    assert server.starts() == [None, half, half + 1, half + 1]


@pytest.mark.parametrize("status", [401, 403, 404])
def test_an_address_that_expires_after_a_cut_is_asked_for_anew(server, library, status):
    third = len(BODY) // 3
    expired = Fault(status=status)
    server.cdn_faults = [Fault(cut=third), expired, Fault(cut=2 * third), expired]
    assert locate(CARD, library).read_bytes() == BODY
    assert server.starts() == [None, third, third, 2 * third, 2 * third]
    assert len([seen for seen in server.seen if seen.method == "HEAD"]) == 3


def test_the_proxy_for_everything_carries_the_bytes_too(server, library, monkeypatch):
    for name in ("http_proxy", "https_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("ALL_PROXY", server.url)
    monkeypatch.setattr(transfer, "_opener", transfer._opener.__wrapped__)
    with pytest.raises(transfer.TransferError):
        transfer.download("http://nowhere.invalid/a", {}, library.destination(CARD), 1, int, None)
    assert [seen.path for seen in server.seen] == ["http://nowhere.invalid/a"]


def test_a_server_that_ignores_ranges_is_read_from_the_start(server, library):
    server.cdn_faults = [Fault(cut=len(BODY) // 3), Fault(whole=True)]
    assert locate(CARD, library).read_bytes() == BODY


@pytest.mark.parametrize(
    "alter",
    [
        pytest.param(lambda body: body[:-1] + bytes([body[-1] ^ 1]), id="one bit"),
        pytest.param(lambda body: bytes(len(body)), id="zeros"),
        pytest.param(lambda body: body[: len(body) // 2], id="too short"),
        pytest.param(lambda body: body + b"more", id="too long"),
        pytest.param(lambda body: b"<!doctype html><title>sign in</title>", id="web page"),
        pytest.param(lambda body: b"", id="empty"),
    ],
)
def test_wrong_bytes_never_get_the_name_and_the_next_run_succeeds(server, library, alter):
    server.cdn_faults = [Fault(alter=alter)] * 8
    card = replace(CARD, sources=CARD.sources[:1])
    with pytest.raises(HubError, match=CARD.file):
        locate(card, library)
    assert not final(library).exists()
    server.cdn_faults = []
    try:
        locate(card, library)
    except HubError:  # what was kept of a short body was wrong: deleted now
        locate(card, library)
    assert final(library).read_bytes() == BODY


def test_wrong_bytes_are_deleted_and_said(server, library):
    server.cdn_faults = [Fault(alter=lambda body: bytes(len(body)))]
    with pytest.raises(HubError, match="not the file.*was deleted"):
        locate(replace(CARD, sources=CARD.sources[:1]), library)
    assert not partials(library)


def test_another_file_at_the_source_is_not_even_fetched(server, library):
    server.publish(CARD.sources[0], BODY + b"new")
    with pytest.raises(HubError, match="holds another file"):
        locate(replace(CARD, sources=CARD.sources[:1]), library)
    assert server.starts() == []


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_the_second_source_is_asked_when_the_first_is_gone(server, library, status):
    server.publish(CARD.sources[1], BODY)
    server.hub_faults = [Fault(status=status)]
    assert locate(CARD, library).read_bytes() == BODY
    assert CARD.sources[1].repo in server.seen[-2].path


def test_the_second_source_goes_on_where_the_first_broke_off(server, library):
    server.publish(CARD.sources[1], BODY)
    server.cdn_faults = [Fault(cut=1000), Fault(status=404)]
    assert locate(CARD, library).read_bytes() == BODY
    assert server.starts() == [None, 1000, 1000]


def test_the_second_source_replaces_wrong_bytes_of_the_first(server, library):
    server.publish(CARD.sources[1], BODY)
    server.cdn_faults = [Fault(alter=lambda body: bytes(len(body)))]
    assert locate(CARD, library).read_bytes() == BODY


def test_a_hub_that_points_at_local_files_is_not_followed(server, library, tmp_path):
    (tmp_path / "local").write_bytes(BODY)
    server.hub_faults = [Fault(location=(tmp_path / "local").as_uri())]
    with pytest.raises(HubError, match="no web address"):
        locate(replace(CARD, sources=CARD.sources[:1]), library)


def test_a_spoilt_partial_file_is_noticed_and_the_next_run_starts_anew(server, library):
    server.cdn_faults = [Fault(cut=5000), *DEAD]
    with pytest.raises(HubError):
        locate(CARD, library)
    server.cdn_faults = []
    partials(library)[0].write_bytes(bytes(5000))
    with pytest.raises(HubError, match="was deleted"):
        locate(replace(CARD, sources=CARD.sources[:1]), library)
    assert locate(CARD, library).read_bytes() == BODY


def test_one_error_names_file_address_folder_and_each_reason(server, library):
    server.files.clear()
    with pytest.raises(HubError) as caught:
        locate(CARD, library)
    said = str(caught.value)
    assert CARD.file in said and str(library.destination(CARD)) in said
    assert address(CARD.sources[0]) in said and CARD.page in said
    assert all(source.repo in said for source in CARD.sources)


@pytest.mark.parametrize("faults", ["hub_faults", "cdn_faults"])
def test_429_waits_as_long_as_the_server_asks(server, library, faults):
    setattr(server, faults, [Fault(status=429, headers={"Retry-After": "1"})])
    started = time.monotonic()
    assert locate(CARD, library).read_bytes() == BODY
    assert time.monotonic() - started >= 1.0


def test_a_server_that_wants_an_hour_is_reported(server, library):
    server.cdn_faults = [Fault(status=429, headers={"Retry-After": "3600"})]
    with pytest.raises(HubError, match="429"):
        locate(CARD, library)


def test_503_is_tried_again_and_then_reported(server, library):
    server.hub_faults = [Fault(status=503)]
    assert locate(CARD, library).read_bytes() == BODY
    final(library).unlink()
    server.hub_faults = list(DEAD)
    with pytest.raises(HubError, match="503"):
        locate(CARD, library)


def test_no_hub_at_all(server, library, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(HubError, match=CARD.file):
        locate(CARD, library)


def test_progress_grows_to_the_whole(server, library):
    server.cdn_faults = [Fault(pause=0.01)]
    told = []
    locate(CARD, library, lambda done, total: told.append((done, total)))
    done = [value for value, _ in told]
    assert done == sorted(done) and done[-1] == len(BODY)
    assert len(set(done)) > 5 and {total for _, total in told} == {len(BODY)}


class StopButtonError(Exception):
    pass


def test_stopping_is_prompt_keeps_what_came_and_resumes(server, library):
    server.cdn_faults = [Fault(pause=0.05)]

    def progress(done, total):
        if done > 200_000:
            raise StopButtonError

    with pytest.raises(StopButtonError):
        locate(CARD, library, progress)
    kept = partials(library)[0].stat().st_size
    assert 200_000 < kept < len(BODY) and not final(library).exists()
    server.seen.clear()
    assert locate(CARD, library).read_bytes() == BODY
    assert server.starts() == [kept]


@pytest.mark.parametrize("where", ["bytes", "retry"])
def test_stopping_does_not_wait_for_a_server_that_says_nothing(server, library, where):
    if where == "bytes":
        server.cdn_faults = [Fault(pause=20.0)]
    else:
        server.hub_faults = [Fault(status=429, headers={"Retry-After": "20"})]
    started = time.monotonic()

    def progress(done, total):
        if time.monotonic() - started > 0.5:
            raise StopButtonError

    with pytest.raises(StopButtonError):
        locate(CARD, library, progress)
    assert time.monotonic() - started < 3.0


def test_a_token_opens_a_private_repository_and_stays_on_its_host(server, library, monkeypatch):
    server.tokens[CARD.sources[0].repo] = "hf_right"
    with pytest.raises(HubError, match="401"):
        locate(CARD, library)
    monkeypatch.setenv("HF_TOKEN", "hf_right")
    assert locate(CARD, library).read_bytes() == BODY
    assert {seen.token for seen in server.seen if seen.host == "cdn"} == {None}


def test_a_stale_token_does_not_hide_a_public_file(server, library, monkeypatch):
    server.rejected.add("hf_stale")
    monkeypatch.setenv("HF_TOKEN", "hf_stale")
    assert locate(CARD, library).read_bytes() == BODY


def test_small_files_in_git_come_from_the_hub_itself(server, library):
    server.publish(CARD.sources[0], BODY, in_git=True)
    assert locate(CARD, library).read_bytes() == BODY
    assert server.starts() == []


def test_offline_asks_nobody_and_still_finds_files(server, library, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(HubError, match="HF_HUB_OFFLINE"):
        locate(CARD, library)
    assert server.seen == []
    final(library).parent.mkdir(parents=True)
    final(library).write_bytes(BODY)
    assert locate(CARD, library) == final(library)


def test_a_full_disk_is_noticed_before(server, library, monkeypatch):
    usage = shutil.disk_usage("/")._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(HubError, match="MB free"):
        locate(CARD, library)
    assert server.starts() == []


def test_a_folder_that_is_a_file_is_named(server, library):
    library.destination(CARD).write_text("not a folder")
    with pytest.raises(HubError, match="facedetection"):
        locate(CARD, library)


def test_models_without_a_source_say_where_to_get_them_and_where_to_put_them(tmp_path):
    card = zoo.CARDS["hifacegan"]
    library = Library({"facerestore_models": [tmp_path]})
    with pytest.raises(HubError, match="on no hub") as caught:
        locate(card, library)
    assert card.page in str(caught.value) and str(tmp_path) in str(caught.value)


def test_without_a_public_hash_the_first_download_counts(server, library):
    card = of(BODY, sha256=None, size=None)
    path = locate(card, library)
    record = json.loads(library.private(card, "json").read_text())
    assert record["sha256"] == CARD.sha256 and record["size"] == len(BODY)
    path.unlink()
    server.publish(card.sources[0], BODY[:-1] + b"!")
    with pytest.raises(HubError, match="holds another file"):
        locate(card, library)
    server.publish(card.sources[0], BODY[:-1] + b"!", in_git=True)  # no sha256 told beforehand
    with pytest.raises(HubError, match="was deleted"):
        locate(card, library)
    assert not path.exists()


FETCH = """
import sys
sys.path.insert(0, {tests!r})
import conftest
from dataclasses import replace
from kintsugi.models import hub, zoo
card = replace(zoo.CARDS["retinaface-mobilenet0.25"], sha256={sha256!r}, size={size})
print(hub.locate(card, hub.default_library()))
"""


def test_two_processes_at_once_download_once(server, tmp_path):
    server.cdn_faults = [Fault(pause=0.05)]
    code = FETCH.format(tests=str(Path(__file__).parent), sha256=CARD.sha256, size=CARD.size)
    environment = {**os.environ, "KINTSUGI_MODELS": str(tmp_path), "HF_ENDPOINT": server.url}
    environment.pop("COMFYUI_PATH", None)
    both = [
        subprocess.Popen(
            [sys.executable, "-c", code], env=environment, stdout=-1, stderr=-1, text=True
        )
        for _ in range(2)
    ]
    said = [process.communicate(timeout=300) for process in both]
    path = tmp_path / "facedetection" / CARD.file
    assert [out.strip() for out, _ in said] == [str(path)] * 2, said
    assert path.read_bytes() == BODY
    assert server.starts() == [None]
