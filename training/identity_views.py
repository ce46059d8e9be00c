"""What kintsugi-identity is trained on: varied faces, damaged copies, and what the teacher says.

Two thousand faces are few. Every face is therefore bent, recoloured and, half of the time, blended
with another one into a person who does not exist; the teacher looks at the result, so no label of
who it is is needed. The damaged copy of a face is to get the embedding of the clean one.
"""

from __future__ import annotations

import csv
import time
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import IterableDataset

from kintsugi.models import zoo
from kintsugi.stages import embedders, geometry
from kintsugi.training.data import portraits
from kintsugi.training.degradations import degrade
from kintsugi.training.teachers import IDENTITY_FILE

SIZE, SIDE = 256, 112

#: How often each strength is drawn for the damaged copy.
MIXTURE = {"light": 0.4, "medium": 0.45, "heavy": 0.15}

#: Residual sums of the teacher whose maps the student's stages are to predict: the last at 28, 14
#: and 7 px; and their channels.
SUMS, CHANNELS = (3, 9, 11), (64, 128, 128)

#: Narrowest labelled face, px, that is cut out of the pictures that are not aligned.
NARROWEST = 55.0

#: How much more often a photograph of a real person is drawn than a generated face.
REAL = 3.0

_RESIZE = (Image.Resampling.BICUBIC, Image.Resampling.BILINEAR, Image.Resampling.BOX)
_POINTS = [f"{p}_{axis}" for p in ("leye", "reye", "nose", "lmouth", "rmouth") for axis in "xy"]

Picture = NDArray[np.uint8]


class Teacher:
    """MobileFaceNet (foamliu/MobileFaceNet, Apache-2.0), its embeddings and some of its maps."""

    def __init__(self, folder: Path):
        model = onnx.load(str(folder / "teachers" / IDENTITY_FILE))
        sums = [node.output[0] for node in model.graph.node if node.op_type == "Add"]
        model.graph.output.extend(onnx.ValueInfoProto(name=sums[index]) for index in SUMS)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(model.SerializeToString(), options)
        self.input = self.session.get_inputs()[0].name

    def __call__(self, view: Picture) -> list[NDArray[np.float32]]:
        """Unit embedding (128,) and maps of SUMS (C, S, S) of one (112, 112, 3) RGB view."""
        fed = (view / np.float32(255) - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
        fed = fed.astype(np.float32).transpose(2, 0, 1)[None]
        embedding, *maps = self.session.run(None, {self.input: fed})
        return [embedding[0] / np.linalg.norm(embedding), *(part[0] for part in maps)]


def faces(folder: Path) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """All training faces of licence class A as FFHQ crops (N, 256, 256, 3), and which are real."""
    parts = [
        portraits(folder, "train", size=SIZE),
        portraits(folder, "train", size=SIZE, kind="aligned512"),
    ]
    loose, real = _loose(folder)
    pictures = np.concatenate([*(part.pictures for part in parts), loose])
    return pictures, np.concatenate([*(part.real for part in parts), real])


def _loose(folder: Path) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Faces that are only in pictures that are not aligned, cut out by their labelled points."""
    with (folder / "manifest.csv").open(newline="") as file:
        rows = [r for r in csv.DictReader(file) if r["split"] == "train"]
    known = {r["source_path"] for r in rows if r["kind"].startswith("aligned")}
    template = geometry.template("ffhq").points(SIZE)
    found, real = [], []
    for row in rows:
        if row["kind"] != "loose" or row["licence_class"] != "A" or row["source_path"] in known:
            continue
        if not row["leye_x"] or float(row["x1"]) - float(row["x0"]) < NARROWEST:
            continue
        points = torch.tensor([float(row[key]) for key in _POINTS]).reshape(1, 5, 2)
        matrix = geometry.similarity(points, template)[0].numpy()
        picture = cv2.imread(str(folder / row["file"]))[..., ::-1]
        found.append(
            cv2.warpAffine(
                np.ascontiguousarray(picture), matrix, (SIZE, SIZE),
                flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101,
            )
        )  # fmt: skip
        real.append(row["synthetic"] != "1")
    return np.stack(found), np.array(real)


class Pairs(IterableDataset):
    """Endless (views, copied, embedding, maps...).

    blended: share of the faces that are blended with another one; 0.7 times as many are bent.
    copies: share of the faces of which there is a damaged copy: clean faces teach who is who, and
    damage is learnt to be overlooked long before that.
    views: (2, 3, 112, 112) uint8, clean and damaged; copied: whether there is a damaged one.
    """

    def __init__(self, folder: Path, seed: int, blended: float, copies: float):
        self.folder, self.seed, self.blended, self.copies = folder, seed, blended, copies
        self.pictures, real = faces(folder)
        weights = np.where(real, REAL, 1.0)
        self.chances = weights / weights.sum()
        place = embedders.placement(zoo.CARDS["kintsugi-identity"])
        self.theta = place.numpy().astype(np.float64)

    def __iter__(self):
        cv2.setNumThreads(0)
        teacher = Teacher(self.folder)
        rng = np.random.default_rng([self.seed, int(time.time())])
        while True:
            clean = self.person(rng)
            wide = rng.random() < 0.7 * self.blended
            sharp = self.view(clean, rng, 3.0 if wide else 1.0)
            copied, spoiled = rng.random() < self.copies, np.zeros_like(sharp)
            if copied:
                strength = str(rng.choice(list(MIXTURE), p=[*MIXTURE.values()]))
                spoiled = self.view(degrade(clean, rng, strength)[0], rng, 1.0)
            embedding, *maps = teacher(sharp)
            views = np.stack([sharp, spoiled]).transpose(0, 3, 1, 2)
            yield (
                torch.from_numpy(np.ascontiguousarray(views)),
                torch.tensor(copied),
                torch.from_numpy(embedding),
                *(torch.from_numpy(part.astype(np.float16)) for part in maps),
            )

    def person(self, rng: Generator) -> Picture:
        """A face, or two blended, in some light."""
        face = self.draw(rng)
        if rng.random() < self.blended:
            face = blend(face, self.draw(rng), rng)
        return recolour(face, rng)

    def draw(self, rng: Generator) -> Picture:
        face = self.pictures[rng.choice(len(self.pictures), p=self.chances)]
        return face[:, ::-1] if rng.random() < 0.5 else face

    def view(self, face: Picture, rng: Generator, much: float) -> Picture:
        """The embedder's view of a crop, cut `much` times as inexactly as a landmarker would."""
        side = 144
        small = np.asarray(Image.fromarray(face).resize((side, side), _RESIZE[rng.integers(3)]))
        angle = np.deg2rad(rng.normal(0, 2 * much))
        stretch = np.exp(rng.normal(0, 0.02 * much, 2) + rng.normal(0, 0.015 * much))
        shift = rng.normal(0, 0.012 * much, 2)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        linear = self.theta[:, :2] @ (turn * stretch)
        offset = self.theta[:, 2] + self.theta[:, :2] @ shift
        # From units of -1 to 1 over both sides to pixels of the view and of the small crop.
        matrix = np.empty((2, 3))
        matrix[:, :2] = linear * (side / SIDE)
        corner = 1 / SIDE - 1
        matrix[:, 2] = (offset + linear @ (corner, corner) + 1) * (side / 2) - 0.5
        return cv2.warpAffine(
            small, matrix, (SIDE, SIDE),
            flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REFLECT_101,
        )  # fmt: skip


def blend(one: Picture, other: Picture, rng: Generator) -> Picture:
    """Two aligned faces in one: everywhere alike, or each where a smooth random mask says so."""
    if rng.random() < 0.5:
        share = np.float32(rng.uniform(0.2, 0.8))
    else:
        cells = rng.normal(0, 3, (4, 4)).astype(np.float32)
        mask = cv2.resize(cells, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)
        share = (1 / (1 + np.exp(-mask)))[..., None]
    return np.rint(one * share + other * (1 - share)).astype(np.uint8)


def recolour(face: Picture, rng: Generator) -> Picture:
    """Another light: gains, gamma, saturation, now and then none of the colour."""
    face = np.ascontiguousarray(face)
    if rng.random() < 0.6:
        gains = rng.uniform(0.8, 1.2) * rng.uniform(0.92, 1.08, 3)
        table = np.clip((np.arange(256)[:, None] / 255) ** rng.uniform(0.75, 1.35) * gains, 0, 1)
        face = cv2.LUT(face, np.rint(table * 255).astype(np.uint8)[None])
    if rng.random() < 0.4:
        saturation = 0.0 if rng.random() < 0.3 else rng.uniform(0.4, 1.5)
        grey = cv2.cvtColor(face, cv2.COLOR_RGB2GRAY)[..., None].astype(np.float32)
        face = np.clip(grey + (face - grey) * np.float32(saturation), 0, 255).astype(np.uint8)
    return face


def seen(crops: NDArray[np.uint8]) -> Tensor:
    """(N, 3, 112, 112) in [0, 1]: what the stage shows the embedder of FFHQ crops (N, S, S, 3)."""
    pictures = torch.from_numpy(crops).permute(0, 3, 1, 2).float() / 255
    return embedders.view(pictures, zoo.CARDS["kintsugi-identity"])
