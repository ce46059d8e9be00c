"""Measures detectors on held-out people and scenes: `python -m kintsugi.benchmarks.detection`.

Beside ours run the detectors people use today, each as it is usually called: RetinaFace
(MobileNet0.25, the picture at its own size, score 0.8 and suppression at 0.4 as facexlib does) and
YuNet (through cv2.FaceDetectorYN, score 0.6, suppression at 0.3). The table goes to
`benchmarks/results/detection.md`.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from ..models.loader import build
from ..models.retinaface import MEAN_BGR
from ..stages.face_detect import detect
from ..stages.nms import overlap, suppress
from ..training.false_alarms import One, touches

#: Faces of this side in pixels and more, sqrt(width * height), are those that the bars are about.
FACE = 24.0

POINT_KEYS = [f"{p}_{a}" for p in ("leye", "reye", "nose", "lmouth", "rmouth") for a in "xy"]

HEAD = """# Detection

Recall at an overlap of 0.5 / false alarms a picture / median error of the five points in per cent
of the eye distance, on faces of 24 px and more unless the row says otherwise. Uncertain faces count
neither way. Pictures without a face: false alarms in all, of any size.

The labels are the median of twelve runs of RetinaFace networks, the one beside ours among them: its
rows are flattered. In the scenes that are no composites, faces without a label count as false
alarms. Written by `python -m kintsugi.benchmarks.detection`. """

Found = tuple[np.ndarray, np.ndarray, np.ndarray]  # boxes (n, 4), scores (n,), points (n, 5, 2)
Finder = Callable[[np.ndarray], Found]


@dataclass
class Sample:
    """A picture (H, W, 3) uint8 RGB and its labelled faces."""

    image: np.ndarray
    boxes: np.ndarray
    points: np.ndarray
    uncertain: np.ndarray

    def turned(self, quarters: int) -> Sample:
        """The picture turned counter-clockwise by quarters, points kept in the face's order."""
        image, boxes, points = self.image, self.boxes, self.points
        for _ in range(quarters):
            last = image.shape[1] - 1
            image = np.rot90(image)
            points = np.stack([points[..., 1], last - points[..., 0]], axis=-1)
            boxes = np.stack([boxes[:, 1], last - boxes[:, 2], boxes[:, 3], last - boxes[:, 0]], 1)
        return Sample(np.ascontiguousarray(image), boxes, points, self.uncertain)

    def resized(self, scale: float) -> Sample:
        """The picture made smaller without aliasing, or larger."""
        h, w = self.image.shape[:2]
        size = (max(round(w * scale), 1), max(round(h * scale), 1))
        way = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        image = cv2.resize(self.image, size, interpolation=way)
        ratio = np.array([size[0] / w, size[1] / h])
        boxes = ((self.boxes.reshape(-1, 2, 2) + 0.5) * ratio - 0.5).reshape(-1, 4)
        return Sample(image, boxes, (self.points + 0.5) * ratio - 0.5, self.uncertain)

    def close_up(self, margin: float) -> Sample:
        """The first face alone, `margin` of its width and height left around it."""
        extent = self.boxes[0, 2:] - self.boxes[0, :2]
        x0, y0 = np.maximum(self.boxes[0, :2] - margin * extent, 0).astype(int)
        x1, y1 = (self.boxes[0, 2:] + margin * extent).astype(int) + 1
        image = np.ascontiguousarray(self.image[y0:y1, x0:x1])
        corner = np.array([x0, y0])
        boxes, points = self.boxes[:1] - np.tile(corner, 2), self.points[:1] - corner
        return Sample(image, boxes, points, self.uncertain[:1])


def read(data: Path, wanted: Callable[[dict], bool]) -> list[Sample]:
    """The pictures whose row of the manifest is wanted, with all faces of `faces.csv`."""
    labelled: dict[str, list[dict]] = {}
    for row in csv.DictReader((data / "faces.csv").open()):
        labelled.setdefault(row["file"], []).append(row)
    samples = []
    for row in csv.DictReader((data / "manifest.csv").open()):
        if not wanted(row):
            continue
        faces = labelled.get(row["file"], [row] if row["x0"] else [])
        boxes = [[float(f[k]) for k in ("x0", "y0", "x1", "y1")] for f in faces]
        points = [[float(f[k]) for k in POINT_KEYS] for f in faces]
        samples.append(
            Sample(
                cv2.imread(str(data / row["file"]))[:, :, ::-1].copy(),
                np.array(boxes, np.float64).reshape(-1, 4),
                np.array(points, np.float64).reshape(-1, 5, 2),
                np.array([f.get("uncertain") == "1" for f in faces], bool),
            )
        )
    return samples


def ours(weights: Path, confidence: float) -> Finder:
    """kintsugi-detector through the stage, all settings as they come but the confidence."""
    host = One(weights)

    def find(image: np.ndarray) -> Found:
        picture = torch.from_numpy(image)[None].float() / 255
        faces = detect(picture, confidence=confidence, host=host)
        return _found(
            [f.box.numpy() for f in faces],
            [f.score for f in faces],
            [f.points.numpy() for f in faces],
        )

    return find


def retinaface(weights: Path) -> Finder:
    """RetinaFace as facexlib calls it."""
    network = build(torch.load(weights, map_location="cpu", weights_only=True))

    def find(image: np.ndarray) -> Found:
        blue_first = torch.from_numpy(image[:, :, ::-1].copy()).float() - torch.tensor(MEAN_BGR)
        with torch.inference_mode():
            boxes, scores, points = network.detect(blue_first.permute(2, 0, 1)[None])
        sure = scores[0] > 0.8
        boxes, scores, points = boxes[0][sure], scores[0][sure], points[0][sure]
        keep = suppress(boxes, scores, 0.4)
        return _found(boxes[keep].numpy(), scores[keep].numpy(), points[keep].numpy())

    return find


def yunet(weights: Path) -> Finder:
    """YuNet through OpenCV."""
    network = cv2.FaceDetectorYN.create(str(weights), "", (320, 320), 0.6, 0.3)

    def find(image: np.ndarray) -> Found:
        network.setInputSize(image.shape[1::-1])
        faces = network.detect(np.ascontiguousarray(image[:, :, ::-1]))[1]
        faces = np.zeros((0, 15)) if faces is None else faces
        boxes = np.concatenate([faces[:, :2], faces[:, :2] + faces[:, 2:4]], axis=1)
        return _found(boxes, faces[:, 14], faces[:, 4:14])

    return find


def _found(boxes, scores, points) -> Found:
    shape = ((-1, 4), (-1,), (-1, 5, 2))
    parts = zip((boxes, scores, points), shape, strict=True)
    return tuple(np.array(part, np.float64).reshape(form) for part, form in parts)


def _sides(boxes: np.ndarray) -> np.ndarray:
    return np.sqrt(np.maximum((boxes[:, 2:] - boxes[:, :2]).prod(axis=1), 0))


@dataclass
class Tally:
    """What a detector made of some pictures."""

    pictures: int = 0
    faces: int = 0
    hits: int = 0
    false_alarms: int = 0
    errors: tuple[float, ...] = ()

    @property
    def recall(self) -> str:
        return f"{self.hits / max(self.faces, 1):.3f}"

    @property
    def alarms(self) -> str:
        return f"{self.false_alarms / max(self.pictures, 1):.3f}"

    @property
    def points(self) -> str:
        return f"{100 * np.median(self.errors):.1f} %" if self.errors else "-"


def judge(sample: Sample, found: Found, least: float) -> Tally:
    """Matches detections and labels at an overlap of 0.5, the surest detection first.

    Faces smaller than `least` and uncertain ones count neither as missed nor, when found, as false
    alarms. The error of the points is their mean distance over that of the labelled eyes.
    """
    boxes, scores, points = found
    order = np.argsort(-scores, kind="stable")
    boxes, points = boxes[order], points[order]
    counted = ~sample.uncertain & (_sides(sample.boxes) >= least)
    shared = overlap(torch.from_numpy(boxes), torch.from_numpy(sample.boxes)).numpy()
    taken = np.zeros(len(sample.boxes), bool)
    tally = Tally(pictures=1, faces=int(counted.sum()))
    errors = []
    for index in range(len(boxes)):
        fit = np.where(taken, 0.0, shared[index])
        best = int(fit.argmax()) if len(fit) else -1
        if best >= 0 and fit[best] >= 0.5:
            taken[best] = True
            if counted[best]:
                tally.hits += 1
                away = np.linalg.norm(points[index] - sample.points[best], axis=1).mean()
                errors.append(away / np.linalg.norm(np.subtract(*sample.points[best, :2])))
            continue
        judged = float(_sides(boxes[index : index + 1])[0]) >= least
        if judged and not touches(boxes[index], sample.boxes[~counted]):
            tally.false_alarms += 1
    tally.errors = tuple(errors)
    return tally


def added(one: Tally, other: Tally) -> Tally:
    """Both together."""
    return Tally(
        one.pictures + other.pictures,
        one.faces + other.faces,
        one.hits + other.hits,
        one.false_alarms + other.false_alarms,
        one.errors + other.errors,
    )


def measure(finder: Finder, samples: Iterable[Sample], least: float = FACE) -> Tally:
    """The tallies of all samples together."""
    total = Tally()
    for sample in samples:
        total = added(total, judge(sample, finder(sample.image), least))
    return total


def hard(row: dict) -> bool:
    """Whether a picture without a face is one on which the RetinaFace teacher fires."""
    return "hard negative" in row["note"]


def easy(row: dict) -> bool:
    """Whether a picture is without a face and none of the hard ones."""
    return row["split"] == "negatives" and not hard(row)


def sets(data: Path) -> dict[str, tuple[list[Sample], float]]:
    """The pictures of each row of the table and the least size of the faces that count."""
    loose = read(data, lambda row: row["file"].startswith("val/loose/"))
    scenes = read(data, lambda row: row["split"] == "scenes")
    aligned = read(data, lambda row: row["file"].startswith("val/aligned/"))
    people = loose + scenes
    quarter = people[::4]
    rows = {
        "people (val/loose)": (loose, FACE),
        "scenes": (scenes, FACE),
        "close portraits (val/aligned)": (aligned, FACE),
    }
    for number, name in ((1, "90"), (2, "180"), (3, "270")):
        rows[f"people and scenes, turned by {name}"] = ([s.turned(number) for s in people], FACE)
    whole = [s for s in aligned[::2] if len(s.boxes)]
    rows["close-ups: the face fills the picture"] = ([s.close_up(0.0) for s in whole], FACE)
    wide = [s.close_up(0.1).resized(8.0) for s in whole[::8]]
    rows["close-ups of about 1200 px"] = (wide, FACE)
    single = [s for s in quarter if len(s.boxes) == 1 and not s.uncertain[0]]
    for side in (12, 16, 24):
        small = [s.resized(side / float(_sides(s.boxes)[0])) for s in single]
        rows[f"people reduced to faces of {side} px"] = (small, side * 0.5)
    rows["negatives, hard (not trained on)"] = (read(data, hard), 0.0)
    for letter, use in (("B", "not trained on"), ("A", "trained on")):
        rows[f"other negatives, class {letter} ({use})"] = (
            read(data, lambda row, letter=letter: easy(row) and row["licence_class"] == letter),
            0.0,
        )
    return rows


def seconds(finder: Finder, height: int, width: int, picture: np.ndarray) -> float:
    """The best of three runs over `picture` enlarged to height x width."""
    large = cv2.resize(picture, (width, height), interpolation=cv2.INTER_CUBIC)
    best = float("inf")
    for _ in range(3):
        begun = time.perf_counter()
        finder(large)
        best = min(best, time.perf_counter() - begun)
    return best


def table(rows: dict[str, dict[str, Tally]]) -> str:
    """Markdown: recall, false alarms a picture and error of the points, for every detector."""
    names = list(next(iter(rows.values())))
    head = "| pictures | faces |" + "".join(f" {name} |" for name in names)
    lines = [head, "|---|---|" + "---|" * len(names)]
    for title, tallies in rows.items():
        first = next(iter(tallies.values()))
        cells = [
            f" {t.recall} / {t.alarms} / {t.points} |" if t.faces else f" {t.false_alarms} in all |"
            for t in tallies.values()
        ]
        lines.append(f"| {title} ({first.pictures}) | {first.faces} |" + "".join(cells))
    return "\n".join(lines)


def main() -> None:
    """Command line."""
    root = Path(__file__).parent.parent
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/faces"), help="the data set")
    parser.add_argument(
        "--weights", type=Path, default=root / "models/weights/kintsugi-detector.safetensors"
    )
    parser.add_argument("--confidence", type=float, default=0.5)
    parser.add_argument("--out", type=Path, default=root / "benchmarks/results/detection.md")
    parser.add_argument("--part", type=int, default=1, help="use every n-th picture only")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(options.threads)

    teachers = options.data / "teachers"
    finders = {
        "kintsugi-detector": ours(options.weights, options.confidence),
        "RetinaFace": retinaface(teachers / "retinaface_mobilenet0.25_Final.pth"),
        "YuNet": yunet(teachers / "face_detection_yunet_2023mar.onnx"),
    }
    rows: dict[str, dict[str, Tally]] = {}
    for title, (samples, least) in sets(options.data).items():
        samples = samples[:: 1 if "hard" in title else options.part]
        rows[title] = {name: measure(f, samples, least) for name, f in finders.items()}
        print(table({title: rows[title]}).splitlines()[-1], flush=True)
        if title == "scenes":
            rows["people and scenes, upright"] = {
                name: added(rows["people (val/loose)"][name], rows["scenes"][name])
                for name in finders
            }
    scene = read(options.data, lambda row: row["file"].endswith("composite_01.jpg"))[0].image
    times = {name: seconds(finder, 3000, 4000, scene) for name, finder in finders.items()}
    share = "all pictures" if options.part == 1 else f"every {options.part}. picture"
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(
        HEAD
        + f"Confidence {options.confidence}, {share}.\n\n"
        + table(rows)
        + f"\n\nSeconds for 4000 x 3000 pixels on {options.threads} core(s) and 16 faces: "
        + ", ".join(f"{name} {value:.2f}" for name, value in times.items())
        + ".\n"
    )


if __name__ == "__main__":
    main()
