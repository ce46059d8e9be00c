"""The guard on faces drawn in code: honest work is kept, strangers are not, and it says why."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from faces_for_tests import place

from kintsugi.models import zoo
from kintsugi.stages import back_off, identity_guard, provenance, references
from kintsugi.stages.degradation_estimate import KINDS, Degradation, Finding
from kintsugi.stages.detail import blur
from kintsugi.stages.identity_guard import guard
from kintsugi.stages.landmark_align import align
from kintsugi.stages.octaves import ELLIPSES
from kintsugi.stages.provenance import Provenance
from kintsugi.stages.references import Recogniser
from kintsugi.stages.structure import agreement

SIZE = 256


def portrait(seed: int, size: int = SIZE) -> torch.Tensor:
    """(1, S, S, 3): an oval of skin with features of a person's own, grainy."""
    own = torch.Generator().manual_seed(seed)
    at = (torch.arange(size) + 0.5) / size
    y, x = torch.meshgrid(at, at, indexing="ij")
    picture = torch.full((size, size), 0.35)
    oval = torch.sigmoid((1 - ((x - 0.5) / 0.34) ** 2 - ((y - 0.55) / 0.43) ** 2) * 12)
    picture = picture + 0.35 * oval
    for name in ("eyes", "nose", "mouth"):
        for cx, cy, rx, ry in ELLIPSES[name]:
            for _ in range(6):
                spot = torch.rand(5, generator=own)
                px, py = cx + (spot[0] - 0.5) * rx * 1.6, cy + (spot[1] - 0.5) * ry * 1.6
                wide, high = rx * (0.15 + 0.5 * spot[2]), ry * (0.15 + 0.6 * spot[3])
                blot = torch.exp(-(((x - px) / wide) ** 2) - ((y - py) / high) ** 2)
                picture = picture + (spot[4] - 0.7) * 0.5 * blot
    shade = torch.randn(1, 1, 12, 12, generator=own) * 0.06
    picture = picture + F.interpolate(shade, size=(size, size), mode="bicubic")[0, 0] * oval
    picture = picture + torch.randn(size, size, generator=own) * 0.004
    skin = torch.tensor([1.12, 0.92, 0.80])
    return (picture[..., None] * skin).clamp(0, 1)[None]


def blurred(crops: torch.Tensor, factor: int) -> torch.Tensor:
    planes = crops.permute(0, 3, 1, 2)
    small = F.interpolate(planes, scale_factor=1 / factor, mode="bicubic", antialias=True)
    back = F.interpolate(small, size=planes.shape[-2:], mode="bicubic")
    return back.clamp(0, 1).permute(0, 2, 3, 1)


def embed(crops: torch.Tensor) -> torch.Tensor:
    """A stand-in for an embedder: the forms of 8 px of 256 around the features, unit length."""
    planes = crops[..., :3].mean(-1)[:, None]
    small = F.interpolate(planes, size=(32, 32), mode="bilinear", antialias=True)
    middle = small[..., 12:26, 8:24].flatten(1)
    return F.normalize(middle - middle.mean(1, keepdim=True), dim=1)


RECOGNISER = Recogniser("stand-in", embed, lambda cosine: torch.sigmoid(20 * (cosine - 0.7)))
PEOPLE = torch.cat([portrait(seed) for seed in range(4)])
SOFT = blurred(PEOPLE, 2)
STRANGERS = PEOPLE.roll(1, 0)


def guarded(before, after, **settings):
    return guard(before, after, embedder=settings.pop("embedder", RECOGNISER), **settings)


def test_honest_restorations_are_kept_bit_for_bit():
    result = guarded(SOFT, PEOPLE)
    assert torch.equal(result.crops, PEOPLE)
    assert all(action.endswith("kept") for action in result.actions)
    assert (result.probability_after >= 0.5).all() and result.evaluations == 1
    assert (result.similarity_before > 0.9).all()
    assert result.identity.shape == (4, embed(PEOPLE).shape[1])
    assert all(told.startswith("structure") for told in result.evidence)
    assert "structure, original" in result.evidence


def test_strangers_do_not_get_through_whatever_the_action():
    for action in ("back off", "pick", "refuse"):
        result = guarded(SOFT, STRANGERS, action=action)
        assert (result.probability_after >= 0.5).all()
        assert (result.probability_before < 0.5).all()
        told = agreement(SOFT, result.crops).probability
        assert (told >= 0.5).all(), "what leaves must agree with the original"
        assert result.crops.shape == PEOPLE.shape


def test_report_measures_and_changes_nothing():
    result = guarded(SOFT, STRANGERS, action="report")
    assert torch.equal(result.crops, STRANGERS)
    assert all("only reported" in action for action in result.actions)
    assert torch.equal(result.probability_before, result.probability_after)


def test_refuse_puts_the_original_back():
    result = guarded(SOFT, torch.cat([PEOPLE[:2], STRANGERS[2:]]), action="refuse")
    assert torch.equal(result.crops[2:], SOFT[2:]) and torch.equal(result.crops[:2], PEOPLE[:2])
    assert result.source == (0, 0, -1, -1)
    assert result.actions[2].startswith("refused")


def test_nothing_is_more_alike_than_the_original_itself():
    self_alike = agreement(SOFT, SOFT).probability
    assert (self_alike > 0.95).all()
    for worse in (PEOPLE, SOFT.roll(3, 2), 0.8 * SOFT + 0.1, (SOFT + STRANGERS) / 2):
        assert (agreement(SOFT, worse).probability <= self_alike).all()
    blurred = torch.stack([blur(face.permute(2, 0, 1)[None], 31, 6.0)[0] for face in SOFT])
    result = guarded(SOFT, SOFT, action="pick", candidates=[blurred.permute(0, 2, 3, 1)])
    assert result.source == (0, 0, 0, 0), "the original itself is kept"


def test_threshold_0_refuses_nobody():
    for action in ("back off", "refuse", "pick"):
        result = guarded(SOFT, STRANGERS, threshold=0.0, action=action)
        assert torch.equal(result.crops, STRANGERS), action


def test_back_off_keeps_as_much_as_it_can_in_eight_measurements():
    half = 0.35 * PEOPLE + 0.65 * STRANGERS
    result = guarded(SOFT, half, floor=0.0)
    assert result.evaluations <= back_off.EVALUATIONS
    changed = (result.returned > 0) & (result.returned < 1)
    assert changed.any(), "nothing was mixed"
    assert (result.probability_after >= 0.5).all()
    for face in torch.nonzero(changed).flatten().tolist():
        assert result.actions[face].startswith("backed off to 0.")
        nearer = (result.crops[face] - SOFT[face]).abs().mean()
        assert 0 < nearer < (half[face] - SOFT[face]).abs().mean()


def test_more_of_the_original_comes_back_the_higher_the_threshold():
    half = 0.5 * PEOPLE + 0.5 * STRANGERS
    low, high = (guarded(SOFT, half, threshold=t, floor=0.0) for t in (0.5, 0.9))
    assert (high.returned >= low.returned).all() and (high.returned > low.returned).any()


def test_a_mixture_runs_from_the_result_to_the_original():
    mixer, faces = back_off.Mixer(SOFT, PEOPLE), torch.arange(4)
    torch.testing.assert_close(mixer(faces, torch.zeros(4)), PEOPLE, atol=1e-6, rtol=0)
    torch.testing.assert_close(mixer(faces, torch.ones(4)), SOFT, atol=1e-5, rtol=0)
    odd = back_off.Mixer(
        *(
            F.interpolate(p.permute(0, 3, 1, 2), size=(300, 300)).permute(0, 2, 3, 1)
            for p in (SOFT, PEOPLE)
        )
    )
    assert odd(faces[:1], torch.tensor([0.5])).shape == (1, 300, 300, 3)


def test_candidates_are_tried_before_anything_is_mixed():
    result = guarded(SOFT, STRANGERS, candidates=[STRANGERS.roll(1, 0), PEOPLE])
    assert torch.equal(result.crops, PEOPLE)
    assert result.source == (2, 2, 2, 2) and "candidate 2" in result.actions[0]


def test_pick_takes_the_best_of_all_for_each_face():
    good = torch.cat([PEOPLE[:2], STRANGERS[2:]])
    other = torch.cat([STRANGERS[:2], PEOPLE[2:]])
    result = guarded(SOFT, good, candidates=[other], action="pick")
    assert torch.equal(result.crops, PEOPLE) and result.source == (0, 0, 1, 1)


def test_a_candidate_of_another_length_is_named_and_left_out():
    result = guarded(SOFT, PEOPLE, candidates=[PEOPLE[:2]])
    assert "candidate 1 has 2 crops for 4 faces" in result.report
    assert torch.equal(result.crops, PEOPLE)


def test_no_more_candidates_than_can_be_measured():
    result = guarded(SOFT, STRANGERS, candidates=[STRANGERS] * 9)
    assert result.evaluations <= back_off.EVALUATIONS and "left out" in result.report


def test_a_colour_shift_is_seen():
    tinted = (PEOPLE * torch.tensor([0.7, 1.0, 1.45])).clamp(0, 1)
    result = guarded(SOFT, tinted, action="report")
    assert (result.probability_before < 0.5).all()
    assert (agreement(SOFT, tinted).forms >= 0.5).all(), "the forms are the same"


def test_a_grey_original_may_be_coloured():
    grey = SOFT.mean(-1, keepdim=True)
    assert (agreement(grey, PEOPLE).tones >= 0.5).all()


def test_moved_features_are_measured_in_px_of_512():
    moved = PEOPLE.roll(2, dims=2)  # 2 px of 256 to the right
    assert agreement(PEOPLE, moved).shift.median() == pytest.approx(4, abs=1.5)
    assert agreement(PEOPLE, PEOPLE).shift.max() < 0.01


def test_where_the_original_shows_nobody_it_says_so_and_goes_by_structure():
    blind = blurred(PEOPLE, 16)
    result = guarded(blind, PEOPLE, action="report")
    assert set(result.evidence) == {"structure"}
    assert result.report.count("too damaged for its likeness") == 4
    assert "features moved by" in result.report


def severe(face):
    findings = tuple(Finding(kind, 0.0, 0.0, 0.0) for kind in KINDS)
    blank = torch.zeros(32, 32), torch.zeros(256, 256)
    return replace(face, degradation=Degradation(findings, 0.9, *blank, face=1.0))


def scratched(face, mask):
    """The face with the finding that it is missing where `mask` (256, 256) is 1."""
    findings = [Finding(kind, 0.1, float(kind == "missing"), 0.5) for kind in KINDS]
    degradation = Degradation(tuple(findings), 0.5, torch.zeros(32, 32), mask, face=1.0)
    return replace(face, degradation=degradation)


def test_a_scratch_is_nobodys_likeness():
    bar = torch.zeros(SIZE, SIZE)
    bar[:, 100:130] = 1
    before = torch.where(bar[..., None] > 0, torch.ones(3), SOFT)
    unknown = guarded(before, PEOPLE, action="report")
    assert (unknown.probability_before < 0.5).any(), "the bar hides who it is"
    faces = place(300, 300, [(150, 150, 200, 0)] * 4)
    faces = faces.with_faces([scratched(face, bar) for face in faces])
    result = guarded(before, PEOPLE, faces=faces)
    assert torch.equal(result.crops, PEOPLE), "a mended face is kept"
    stranger = guarded(before, STRANGERS, faces=faces)
    mixed = [i for i in range(4) if 0 < stranger.returned[i] < 1]
    inner = stranger.crops[mixed][:, :, 105:125]
    assert mixed and torch.allclose(inner, STRANGERS[mixed][:, :, 105:125], atol=0.02)


def test_findings_say_how_far_an_original_can_be_trusted():
    faces = place(300, 300, [(150, 150, 200, 0)] * 4)
    faces = faces.with_faces([severe(face) for face in faces])
    result = guarded(SOFT, PEOPLE, faces=faces)
    assert set(result.evidence) == {"structure"}


def references_of(monkeypatch, *people: int):
    """References without a detector: each picture is a crop already."""
    faces = place(SIZE, SIZE, [(SIZE / 2, SIZE / 2, SIZE, 0)])
    monkeypatch.setattr(references, "detect", lambda picture, host=None: faces)
    monkeypatch.setattr(references, "align", lambda picture, faces, size: (picture, faces))
    return PEOPLE[list(people)]


def test_references_judge_where_the_original_shows_nobody(monkeypatch):
    given = references_of(monkeypatch, 0, 0)
    blind = blurred(PEOPLE[:1], 16)
    kept = guarded(blind, PEOPLE[:1], references=given)
    assert kept.evidence == ("structure, references",)
    assert float(kept.similarity_before) == pytest.approx(1, abs=0.01)
    lost = guarded(blind, STRANGERS[:1], references=given)
    assert float(lost.similarity_before) < float(kept.similarity_before)
    assert lost.actions[0].startswith("refused")


def test_references_that_do_not_look_like_a_readable_original_are_told_of(monkeypatch):
    given = references_of(monkeypatch, 1, 1)
    result = guarded(SOFT[:1], PEOPLE[:1], references=given)
    assert result.evidence == ("structure, original",)
    assert any("face 0: the references do not look like" in note for note in result.notes)
    own = guarded(SOFT[:1], PEOPLE[:1], references=references_of(monkeypatch, 0, 0))
    assert not own.notes


def test_references_count_for_the_one_face_they_are_like(monkeypatch):
    given = references_of(monkeypatch, 2)
    faces = place(600, 600, [(150, 150, 100, 0), (450, 150, 100, 0), (150, 450, 100, 0)])
    result = guarded(SOFT[:3], PEOPLE[:3], faces=faces, references=given)
    assert [("references" in told) for told in result.evidence] == [False, False, True]


def test_a_stranger_among_the_references_is_named_and_left_out(monkeypatch):
    given = references_of(monkeypatch, 0, 0, 1, 0)
    gathered = references.gather(given, embed(SOFT[:1]), RECOGNISER, None)
    assert len(gathered) == 3
    assert "reference 2 looks like somebody else" in gathered.notes[0]


def test_a_reference_without_a_face_is_named_and_the_run_goes_on():
    blank = torch.full((1, 80, 90, 3), 0.5)
    result = guarded(SOFT[:1], PEOPLE[:1], references=[blank, blank[:, :60]])
    assert "reference 0 shows no face" in result.report
    assert "reference 1 shows no face" in result.report
    assert torch.equal(result.crops, PEOPLE[:1])


def test_without_an_embedder_the_structure_decides(monkeypatch):
    def missing(*args, **settings):
        raise zoo.HubError("no embedder is on disk")

    monkeypatch.setattr(identity_guard.embedders, "choose", missing)
    result = guard(SOFT, torch.cat([PEOPLE[:3], STRANGERS[3:]]), references=PEOPLE)
    assert "no embedder is on disk" in result.report
    assert "references need an embedder" in result.report
    assert result.embedder == "" and math.isnan(float(result.similarity_before[0]))
    assert result.source[:3] == (0, 0, 0) and float(result.probability_before[3]) < 0.5
    assert (result.probability_after >= 0.5).all()


def test_a_profile_is_not_asked_about(monkeypatch):
    faces = place(300, 300, [(150, 150, 200, 0)])
    points = faces[0].points.clone()
    points[2, 0] += 60
    faces = faces.with_faces([replace(faces[0], points=points)])
    result = guarded(SOFT[:1], PEOPLE[:1], faces=faces)
    assert "in profile" in result.report and result.evidence == ("structure",)


def test_faces_get_identity_and_judgement():
    faces = place(300, 300, [(150, 150, 200, 0)] * 4)
    result = guarded(SOFT, PEOPLE, faces=faces)
    assert torch.equal(result.faces[1].identity, result.identity[1])
    judgement = result.faces[1].provenance.judgement
    assert judgement.action == result.actions[1] and judgement.embedder == "stand-in"
    assert judgement.probability_after == pytest.approx(float(result.probability_after[1]))


def test_crops_with_a_margin_are_judged_by_the_face_in_them():
    whole = F.pad(SOFT[:1].permute(0, 3, 1, 2), (128,) * 4, "reflect").permute(0, 2, 3, 1)
    sharp = F.pad(PEOPLE[:1].permute(0, 3, 1, 2), (128,) * 4, "reflect").permute(0, 2, 3, 1)
    placed = place(512, 512, [(255.5, 255.5, 256, 0)])
    before, faces = align(whole, placed, size=512, margin=0.5)
    after, _ = align(sharp, placed, size=512, margin=0.5)
    plain = guarded(before[:, 128:-128, 128:-128], after[:, 128:-128, 128:-128])
    result = guarded(before, after, faces=faces)
    assert torch.allclose(result.similarity_after, plain.similarity_after, atol=1e-5)
    assert torch.allclose(result.probability_after, plain.probability_after, atol=1e-5)
    assert result.invented.shares == plain.invented.shares
    assert torch.equal(result.crops, after) and result.invented.mask.shape == (1, 512, 512)


@pytest.mark.parametrize("level", [0.0, 0.25, 0.5, 0.75, 1.0])
def test_an_even_result_is_refused(level):
    result = guarded(SOFT, torch.full_like(PEOPLE, level), action="refuse")
    assert all(action.startswith("refused") for action in result.actions)


def test_faces_keep_the_names_that_other_reports_give_them():
    faces = place(300, 300, [(100, 100, 90, 0), (200, 200, 90, 0)])
    second = faces.with_faces([severe(faces[1])])
    result = guarded(SOFT[:1], PEOPLE[:1], faces=second)
    assert "face 1: 0." in result.report and "face 1: the original is too damaged" in result.report
    assert "face 0" not in result.report


def test_a_candidate_leaves_the_record_of_what_it_replaced_behind():
    faces = place(300, 300, [(100, 100, 90, 0)])
    made = Provenance(provenance.unrecorded("x").models, fidelity=0.3, reason="asked for")
    faces = faces.with_faces([replace(faces[0], provenance=made)])
    result = guarded(
        SOFT[:1], STRANGERS[:1], faces=faces, candidates=[PEOPLE[:1]], action="pick"
    )
    assert result.source == (1,)
    told = result.faces[0].provenance
    assert told.fidelity is None and told.reason == "candidate 1 of Guard Identity"
    assert told.judgement.action.startswith("candidate 1 taken")
    assert provenance.sentence(result.faces).startswith("1 face restored with an unrecorded model")


def test_no_faces_and_other_sizes_and_grey():
    empty = guarded(SOFT[:0], PEOPLE[:0])
    assert len(empty.crops) == 0 and empty.actions == () and "no faces" in empty.report
    small = guarded(SOFT[:, ::2, ::2], PEOPLE)
    assert small.crops.shape == PEOPLE.shape
    grey = guarded(SOFT[..., :1], PEOPLE[..., :1])
    assert grey.crops.shape == PEOPLE.shape


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"threshold": 1.2}, "threshold is 1.2"),
        ({"floor": -1}, "floor is -1"),
        ({"action": "hope"}, "action is 'hope'"),
        ({"embedder": "nobody"}, "unknown embedder 'nobody'"),
    ],
)
def test_settings_out_of_range_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        guarded(SOFT[:1], PEOPLE[:1], **settings)


def test_batches_that_do_not_match_are_named():
    with pytest.raises(ValueError, match="4 crops before and 3 after"):
        guarded(SOFT, PEOPLE[:3])
    faces = place(300, 300, [(150, 150, 200, 0)])
    assert "1 faces wired for 4 crops" in guarded(SOFT, PEOPLE, faces=faces).report


def test_inputs_are_not_written_to():
    before, after = SOFT.clone(), STRANGERS.clone()
    guarded(before, after)
    assert torch.equal(before, SOFT) and torch.equal(after, STRANGERS)
