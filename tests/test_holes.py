import torch
import torch.nn.functional as F

from kintsugi.stages import holes


def marked(*boxes):
    missing = torch.zeros(256, 256)
    for top, left, bottom, right in boxes:
        missing[top:bottom, left:right] = 0.9
    return missing


def test_what_lies_beside_the_face_is_left_out():
    star, eye = (10, 10, 24, 24), (110, 90, 130, 120)
    found = holes.on_face(marked(star, eye))
    assert torch.equal(found, (marked(eye) > 0.5).float())
    assert not holes.on_face(marked(star)).any()
    assert not holes.on_face(torch.full((256, 256), 0.4)).any()


def test_a_scratch_through_the_face_counts_beyond_it():
    scratch = marked((0, 128, 256, 130))
    assert torch.equal(holes.on_face(scratch), (scratch > 0.5).float())


def test_holes_in_more_pixels_are_judged_alike():
    missing = marked((10, 10, 24, 24), (110, 90, 130, 120), (0, 128, 256, 130))
    found = holes.on_face(missing)
    finer = F.interpolate(missing[None, None], (512, 512), mode="nearest-exact")
    wanted = F.interpolate(found[None, None], (512, 512), mode="nearest-exact")
    assert torch.equal(holes.on_face(finer[0, 0]), wanted[0, 0])
    coarse = holes.widened(missing.round()[None, None])
    wanted = F.interpolate(coarse, (512, 512), mode="nearest-exact")
    assert torch.equal(holes.widened(finer.round()), wanted), "by the same part of the crop"


def test_every_hole_has_a_number_of_its_own():
    missing = (marked((10, 10, 24, 24), (110, 90, 130, 120)) > 0.5).float()
    names = holes.named(missing[None, None])
    assert len(names.unique()) == 3 and torch.equal((names > 0).float()[0, 0], missing)
    assert len(names[..., 10:24, 10:24].unique()) == 1


def test_the_whites_of_both_eyes_are_no_holes():
    left, right, chin = (110, 80, 130, 110), (112, 148, 130, 176), (200, 120, 215, 140)
    assert not holes.on_face(marked(left, right)).any()
    one = holes.on_face(marked(left))
    assert torch.equal(one, (marked(left) > 0.5).float()), "a hole over one eye is one"
    both = holes.on_face(marked(left, right, chin))
    assert torch.equal(both, (marked(chin) > 0.5).float())
    bar = (115, 70, 125, 190)
    assert torch.equal(holes.on_face(marked(bar)), (marked(bar) > 0.5).float())
