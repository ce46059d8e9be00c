"""What Estimate Face Damage gives for a batch, and what it refuses."""

from __future__ import annotations

import pytest
import torch
from damage_for_tests import degradation
from faces_for_tests import grainy_picture, place

from kintsugi.models import zoo
from kintsugi.stages import degradation_estimate
from kintsugi.stages.advice import advise
from kintsugi.stages.host import Host


@pytest.fixture
def host(monkeypatch):
    """A host with the built-in models alone; the estimator sees more damage face by face."""

    def estimate(crops, faces=None, host=None):
        return [degradation(0.3 * index, blur=5.0) for index in range(len(crops))]

    monkeypatch.setattr(degradation_estimate, "estimate", estimate)
    return Host(library=zoo.Library({}))


def test_every_face_gets_its_findings_and_a_line(host):
    faces = place(200, 300, [(60, 60, 50, 0), (150, 60, 50, 0), (240, 60, 50, 0)])
    advice = advise(torch.cat([grainy_picture(64, 64)] * 3), faces, host=host)
    assert [face.degradation.severity for face in advice.faces] == pytest.approx([0, 0.3, 0.6])
    assert [face.id for face in advice.faces] == [face.id for face in faces]
    assert faces[0].degradation is None, "the faces that went in are not written to"
    assert advice.severity == pytest.approx(0.6)
    head, *lines = advice.report.splitlines()
    assert head == "3 faces, worst severity 0.60 (face 2)" and len(lines) == 3
    assert "fine: skipped" in lines[0] and "no generative model is on disk" in lines[2]
    assert advice.heat_map.shape == (3, 64, 64, 3)


def test_no_face_is_a_normal_result(host):
    advice = advise(torch.zeros(0, 512, 512, 3), place(100, 100, []), host=host)
    assert (advice.severity, advice.report, len(advice.faces)) == (0.0, "no face", 0)
    assert advice.heat_map.shape == (0, 512, 512, 3)


def test_crops_of_other_faces_and_broken_ones_are_refused(host):
    faces = place(200, 300, [(60, 60, 50, 0)])
    with pytest.raises(ValueError, match="2 crops for 1 faces"):
        advise(torch.zeros(2, 64, 64, 3), faces, host=host)
    with pytest.raises(ValueError, match="NaN"):
        advise(torch.full((1, 64, 64, 3), torch.nan), faces, host=host)
    with pytest.raises(ValueError, match="64 x 32"):
        advise(torch.zeros(1, 32, 64, 3), faces, host=host)


@pytest.mark.parametrize("channels", [1, 4])
def test_grey_and_alpha_are_fine(host, channels):
    faces = place(200, 300, [(60, 60, 50, 0)])
    assert advise(torch.rand(1, 64, 64, channels), faces, host=host).heat_map.shape[-1] == 3


def test_the_heat_map_of_too_bright_crops_is_a_picture(host):
    faces = place(200, 300, [(60, 60, 50, 0)])
    heat_map = advise(3 * torch.rand(1, 64, 64, 3) - 1, faces, host=host).heat_map
    assert heat_map.min() >= 0 and heat_map.max() <= 1
