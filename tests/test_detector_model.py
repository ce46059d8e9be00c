"""kintsugi-detector: its arithmetic on small numbers, its weights, and what trains it."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from kintsugi.models import detector, zoo
from kintsugi.models.loader import build

WEIGHTS = Path(detector.__file__).parent / "weights" / "kintsugi-detector.safetensors"


def network(seed: int = 0) -> detector.Detector:
    torch.manual_seed(seed)
    return detector.Detector().eval()


def test_it_has_at_most_half_a_million_parameters():
    assert sum(p.numel() for p in network().parameters()) <= 500_000


@pytest.mark.parametrize("sizes", [{}, {"stem": 8, "fine": 16, "coarse": 24, "blocks": (2, 1, 1)}])
def test_the_loader_reads_its_sizes_off_the_shapes(sizes):
    ours = detector.Detector(**sizes).eval()
    built = build(ours.state_dict())
    picture = torch.rand(1, 3, 64, 96)
    for got, want in zip(built(picture), ours(picture), strict=True):
        torch.testing.assert_close(got, want)
    crop = torch.rand(2, 3, detector.LOOK_SIZE, detector.LOOK_SIZE)
    torch.testing.assert_close(built.refine(crop), ours.refine(crop))


def test_the_weights_of_the_pack_are_whole_and_float32():
    state = load_file(WEIGHTS)
    assert {value.dtype for value in state.values()} == {torch.float32}
    assert all(torch.isfinite(value).all() for value in state.values())
    assert isinstance(zoo.load("kintsugi-detector"), detector.Detector)


def test_cells_are_centred_between_pixels():
    centres = detector.cell_centres(2, 3, 4)
    assert centres.tolist() == [
        [1.5, 1.5],
        [5.5, 1.5],
        [9.5, 1.5],
        [1.5, 5.5],
        [5.5, 5.5],
        [9.5, 5.5],
    ]


def test_one_cell_decoded_by_hand():
    raw = torch.zeros(1, detector.FIELDS, 1, 2)
    raw[0, 0, 0, 1] = 3.0
    raw[0, 1:5, 0, 1] = torch.tensor([0.25, -0.5, math.log(0.5), math.log(2.0)])
    raw[0, 5:7, 0, 1] = torch.tensor([-0.25, 0.125])
    logits, boxes, points = detector.decode(raw, 8)  # a unit is 32 px, the cell lies at (11.5, 3.5)
    assert logits.tolist() == [[0.0, 3.0]]
    torch.testing.assert_close(boxes[0, 1], torch.tensor([11.5, -44.5, 27.5, 19.5]))
    torch.testing.assert_close(points[0, 1, 0], torch.tensor([3.5, 7.5]))
    torch.testing.assert_close(points[0, 1, 1], torch.tensor([11.5, 3.5]))


def test_it_keeps_one_candidate_of_neighbouring_cells():
    ours = network()
    found = ours.detect(torch.rand(1, 3, 64, 64))
    kept = found.scores[0, : 16 * 16].reshape(16, 16) > 0
    pairs = (kept[:, 1:] & kept[:, :-1]).sum() + (kept[1:] & kept[:-1]).sum()
    assert kept.any() and int(pairs) == 0
    assert found.boxes.shape == (1, 16 * 16 + 8 * 8 + 4 * 4, 4)


def test_a_refiner_that_says_nothing_means_the_average_face():
    refiner = network().refine
    torch.nn.init.zeros_(refiner.read.weight)
    torch.nn.init.zeros_(refiner.read.bias)
    points, _ = refiner(torch.rand(1, 3, detector.LOOK_SIZE, detector.LOOK_SIZE))
    torch.testing.assert_close(points[0], torch.tensor(detector.MEAN_POINTS))


def test_batch_norms_of_the_training_fold_away():
    pytest.importorskip("cv2", reason="training needs OpenCV")
    from kintsugi.training.detector import folded, initialise

    ours = network()
    initialise(ours)
    for _ in range(3):
        ours.train()(torch.rand(2, 3, 64, 64))
    ours.eval()
    picture = torch.rand(1, 3, 64, 64)
    for got, want in zip(build(folded(ours))(picture), ours(picture), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)


def labels(*faces):
    from kintsugi.training.composites import Labels

    boxes = torch.tensor([[x - s / 2, y - s / 2, x + s / 2, y + s / 2] for x, y, s, _ in faces])
    points = torch.zeros(len(faces), 5, 2)
    return Labels(boxes.numpy(), points.numpy(), torch.tensor([bool(f[3]) for f in faces]).numpy())


def test_cells_answer_for_the_face_whose_size_is_theirs():
    pytest.importorskip("cv2", reason="training needs OpenCV")
    from kintsugi.training.detector import assign, cells

    centres, strides = cells(128)
    taken = assign(labels((32.0, 32.0, 14.0, 0), (90.0, 90.0, 60.0, 0)), centres, strides)
    assert set(strides[taken == 0].tolist()) == {4.0}
    assert set(strides[taken == 1].tolist()) == {16.0}
    assert (centres[taken == 0] - 32.0).abs().max() <= 14.0 / 2
    ignored = assign(labels((64.0, 64.0, 14.0, 1)), centres, strides)
    assert (ignored == -2).any() and not (ignored >= 0).any()


def test_turned_faces_have_turned_boxes():
    pytest.importorskip("cv2", reason="training needs OpenCV")
    import numpy as np

    from kintsugi.training.composites import ellipse_bounds, similarity

    box = np.array([[10.0, 20.0, 30.0, 60.0]])
    quarter = similarity((0, 0), (0, 0), 1.0, np.pi / 2, False)
    np.testing.assert_allclose(ellipse_bounds(box, quarter), [[-60, 10, -20, 30]], atol=1e-9)
    eighth = ellipse_bounds(box, similarity((20, 40), (20, 40), 1.0, np.pi / 4, False))[0]
    assert eighth[2] - eighth[0] == pytest.approx(2 * np.sqrt((10**2 + 20**2) / 2))


def test_canvases_follow_from_the_seed_and_label_what_is_seen():
    pytest.importorskip("cv2", reason="training needs OpenCV")
    import numpy as np

    from kintsugi.training.composites import Canvas, Photo

    rng = np.random.default_rng(3)
    levels = [rng.integers(0, 255, (s, s, 3), np.uint8) for s in (128, 64, 32)]
    five = np.array([[[50, 50], [70, 50], [60, 60], [52, 72], [68, 72]]], np.float32)
    photo = Photo(levels, np.array([[40.0, 30, 80, 85]], np.float32), five, np.array([False]))
    empty = Photo(levels, np.zeros((0, 4)), np.zeros((0, 5, 2)), np.zeros(0, bool))
    one, other = (Canvas([photo], [empty], 128, seed=5) for _ in range(2))
    seen = 0
    for _ in range(12):
        (image, faces), (again, same) = one.make(), other.make()
        assert np.array_equal(image, again) and np.array_equal(faces.boxes, same.boxes)
        assert image.shape == (128, 128, 3) and image.dtype == np.uint8
        for box, points, ignored in zip(faces.boxes, faces.points, faces.ignored, strict=True):
            seen += not ignored
            assert (points >= box[:2] - 1).all() and (points <= box[2:] + 1).all()
    assert seen > 5
