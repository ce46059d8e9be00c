"""Pictures for the detector: real faces pasted at any size and angle, with exact labels.

Whole photographs, tight cut-outs and soft ellipses of faces are turned, scaled and laid over
photographs without faces and over synthetic textures; then the canvas is darkened, blurred, made
noisy and compressed. Only pictures of `licence_class` A of the split train are read, and of the
negatives neither class B nor those marked as hard: these are kept for measuring.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

#: Sides of the faces a canvas may hold, sqrt(width * height) in pixels: least, a limit above which
#: few are drawn, for they leave no room for others, and most.
SIZES = (7.0, 64.0, 160.0)

#: A face is taught when at least this share of its ellipse is seen, and ignored below it ...
VISIBLE = 0.5

#: ... down to this share, under which it is no face at all.
GONE = 0.08

#: A face counts as turned when its nose is this share of the eye distance beside the eyes' middle;
#: photographs of such faces, and of real people, are drawn this many times as often as others.
TURNED, OFTEN, REAL = 0.35, 5.0, 2.0

#: Share of canvases with nothing but a face that fills a picture, and how large it is drawn there.
CLOSE_UPS, CLOSE_UP = 0.05, (60.0, 175.0)

#: The order of the five points in a mirrored picture.
MIRROR = [1, 0, 2, 4, 3]


@dataclass
class Photo:
    """A photograph at full, half, quarter and eighth size, and its faces at full size."""

    levels: list[np.ndarray]
    boxes: np.ndarray  # (n, 4)
    points: np.ndarray  # (n, 5, 2)
    uncertain: np.ndarray  # (n,) bool
    real: bool = False  # a photograph of real people
    scores: np.ndarray | None = None  # (n,) of false alarms, how sure the detector was

    @property
    def shape(self) -> tuple[int, int]:
        return self.levels[0].shape[:2]


@dataclass
class Labels:
    """Faces of one canvas: boxes (n, 4), points (n, 5, 2), and which are only to be ignored."""

    boxes: np.ndarray
    points: np.ndarray
    ignored: np.ndarray


def _read(path: Path) -> list[np.ndarray]:
    levels = [cv2.imread(str(path), cv2.IMREAD_COLOR)[:, :, ::-1].copy()]
    while min(levels[-1].shape[:2]) >= 32 and len(levels) < 4:
        h, w = levels[-1].shape[:2]
        even = levels[-1][: h // 2 * 2, : w // 2 * 2]
        levels.append(cv2.resize(even, (w // 2, h // 2), interpolation=cv2.INTER_AREA))
    return levels


POINT_KEYS = [f"{p}_{a}" for p in ("leye", "reye", "nose", "lmouth", "rmouth") for a in "xy"]


def read_photos(data: Path, folders: tuple[str, ...], split: str) -> list[Photo]:
    """The photographs of `folders` with all their labelled faces, class A of one split alone."""
    labelled: dict[str, list[dict]] = {}
    for row in csv.DictReader((data / "faces.csv").open()):
        labelled.setdefault(row["file"], []).append(row)
    photos = []
    for row in csv.DictReader((data / "manifest.csv").open()):
        folder = row["file"].rpartition("/")[0]
        if folder not in folders or row["split"] != split or row["licence_class"] != "A":
            continue
        faces = labelled.get(row["file"], [] if row["n_faces"] == "0" else [row])
        photos.append(
            Photo(
                _read(data / row["file"]),
                np.array([[float(f[k]) for k in ("x0", "y0", "x1", "y1")] for f in faces])
                .reshape(-1, 4)
                .astype(np.float32),
                np.array([[float(f[k]) for k in POINT_KEYS] for f in faces])
                .reshape(-1, 5, 2)
                .astype(np.float32),
                np.array([f.get("uncertain") == "1" for f in faces], bool),
                row["synthetic"] != "1",
            )
        )
    return photos


def read_negatives(data: Path, others: Path | None = None) -> list[Photo]:
    """The pictures without a face: class A, those marked as hard left for measuring; and the JPEG
    files of a folder of others."""
    nothing = (np.zeros((0, 4)), np.zeros((0, 5, 2)), np.zeros(0, bool))
    files = [
        data / row["file"]
        for row in csv.DictReader((data / "manifest.csv").open())
        if row["split"] == "negatives"
        and row["licence_class"] == "A"
        and "hard negative" not in row["note"]
    ]
    files += sorted(others.glob("*.jpg")) if others else []
    return [Photo(_read(file), *nothing) for file in files]


def often(photo: Photo) -> float:
    """How often a photograph is drawn beside one of a generated face that looks at us."""
    return (REAL if photo.real else 1.0) * (OFTEN if turned(photo) else 1.0)


def pick(shares: np.ndarray, rng: np.random.Generator) -> int:
    """An index, drawn in proportion to the differences of `shares`, a cumulative sum."""
    return int(np.searchsorted(shares, rng.uniform(0, shares[-1])))


def turned(photo: Photo) -> bool:
    """Whether any face of a photograph looks well to one side."""
    left, right, nose = photo.points[:, :3].swapaxes(0, 1)
    eyes = right - left
    apart = np.linalg.norm(eyes, axis=1).clip(1)
    along = ((nose - (left + right) / 2) * eyes).sum(1) / apart**2
    return bool((abs(along) > TURNED).any())


def ellipse_bounds(boxes: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Axis-aligned bounds of the boxes' inscribed ellipses after an affine map.

    The box of a turned face: equal to the turned box at 90, 180 and 270 degrees, and unlike the
    bounds of the turned box it does not swell in between.
    """
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = (boxes[:, 2:] - boxes[:, :2]) / 2
    centre = centre @ matrix[:, :2].T + matrix[:, 2]
    extent = np.sqrt(half**2 @ (matrix[:, :2] ** 2).T)
    return np.concatenate([centre - extent, centre + extent], axis=1)


class Canvas:
    """Canvases of `size` pixels, made one after the other from a seeded generator."""

    def __init__(self, photos: list[Photo], negatives: list[Photo], size: int, seed: int):
        self.photos = [photo for photo in photos if len(photo.boxes)]
        self.shares = np.cumsum([often(photo) for photo in self.photos])
        self.negatives = negatives
        self.size = size
        self.rng = np.random.default_rng(seed)

    def make(self) -> tuple[np.ndarray, Labels]:
        """One canvas (size, size, 3) uint8 RGB and its labels."""
        rng = self.rng
        self.image = self._background()
        self.owner = np.zeros((self.size, self.size), np.int16)
        self.found: list[tuple[np.ndarray, np.ndarray, bool, float]] = []
        kind = rng.random()
        if kind < CLOSE_UPS:
            self.image[:] = 128 if rng.random() < 0.7 else rng.integers(0, 256, 3)
            self._paste_face(rng.uniform(*CLOSE_UP), fills=True)
            return photometric(self.image, rng), self._labels()
        if kind < 0.88:
            for side in self._sides():
                self._paste_face(side)
        for _ in range(rng.integers(0, 4) if kind < 0.88 else rng.integers(2, 7)):
            self._decoy()
        for _ in range(rng.integers(0, 3)):
            self._occlude()
        if rng.random() < 0.12:
            self._frame()
        return photometric(self.image, rng), self._labels()

    def _sides(self) -> list[float]:
        """Sides of the faces to paste, the largest first, so that small ones stay seen."""
        rng, sides = self.rng, []
        room = self.size**2 * rng.uniform(0.4, 1.3)
        low, middle, high = np.log(SIZES)
        while len(sides) < 24 and room > 0:
            large = rng.random() < 0.22
            side = float(np.exp(rng.uniform(*((middle, high) if large else (low, middle)))))
            sides.append(side)
            room -= 2.0 * side**2 + 500
        return sorted(sides, reverse=True)

    def _place(self, side: float) -> np.ndarray:
        """Where to put a face: of a few places the one that hides the least of other faces."""
        best, least = None, np.inf
        for _ in range(5):
            middle = self.rng.uniform(-0.1 * side, self.size + 0.1 * side, 2)
            x0, y0 = np.maximum(middle - 0.8 * side, 0).astype(int)
            x1, y1 = np.maximum(middle + 0.8 * side, 1).astype(int)
            hidden = np.count_nonzero(self.owner[y0:y1:3, x0:x1:3])
            if hidden < least:
                best, least = middle, hidden
            if not hidden:
                break
        return best

    def _angle(self) -> float:
        rng = self.rng
        kind = rng.random()
        if kind < 0.4:
            return rng.uniform(-np.pi, np.pi)
        base = 0.0 if kind < 0.75 else rng.integers(4) * np.pi / 2
        return base + rng.normal(0, 0.2)

    def _background(self) -> np.ndarray:
        rng, size = self.rng, self.size
        if rng.random() < 0.22:
            return texture(size, rng)
        photo = self.negatives[rng.integers(len(self.negatives))]
        scale = size / min(photo.shape) * np.exp(rng.uniform(-0.1, 1.3))
        centre = np.array(photo.shape[::-1]) * rng.uniform(0.25, 0.75, 2)
        matrix = similarity(centre, (size / 2, size / 2), scale, self._angle(), rng.random() < 0.5)
        return warp(photo, matrix, (0, 0, size, size), cv2.BORDER_REFLECT_101)

    def _paste_face(self, side: float, fills: bool = False) -> None:
        """Paste a face of about `side` pixels; one that `fills` a picture is cut close around."""
        rng, size = self.rng, self.size
        photo = self.photos[pick(self.shares, rng)]
        index = rng.integers(len(photo.boxes))
        box = photo.boxes[index]
        extent = box[2:] - box[:2]
        scale = side / np.sqrt(extent.prod())
        if scale > 2.2:  # too blurred to be worth learning from
            scale = 2.2
        middle = (box[:2] + box[2:]) / 2
        target = self._place(side)
        flip = rng.random() < 0.5
        matrix = similarity(middle, target, scale, self._angle(), flip)

        h, w = photo.shape
        kind = 0.0 if fills else rng.random()
        # Less or more of its surroundings; a tight cut-out now and then runs through the face.
        least, most = (-0.12, 0.4) if kind < 0.15 else (0.1, 1.2)
        low = np.maximum(0.0, box[:2] - extent * rng.uniform(least, most, 2))
        high = np.minimum((w, h), box[2:] + extent * rng.uniform(least, most, 2))
        corners = np.array([[low[0], low[1]], [high[0], low[1]], high, [low[0], high[1]]]) - 0.5
        corners = corners @ matrix[:, :2].T + matrix[:, 2]
        x0, y0 = np.maximum(np.floor(corners.min(0)).astype(int), 0)
        x1, y1 = np.minimum(np.ceil(corners.max(0)).astype(int) + 1, size)
        if x1 - x0 < 3 or y1 - y0 < 3:
            return
        patch = warp(photo, matrix, (x0, y0, x1, y1), cv2.BORDER_REPLICATE)
        patch = colour_jitter(patch, rng, 0.5)
        mask = np.zeros(patch.shape[:2], np.uint8)
        cv2.fillConvexPoly(mask, np.round(corners - (x0, y0)).astype(np.int32), 255)
        if kind > 0.65:  # a soft ellipse around this face alone
            blob = np.zeros_like(mask)
            grow = rng.uniform(1.0, 1.7)
            self._ellipse(blob, box, matrix, (x0, y0), grow, 255)
            mask = cv2.min(mask, blob)
        if kind > 0.5:
            mask = cv2.blur(mask, (k := 1 + 2 * int(1 + side * rng.uniform(0.0, 0.08)), k))
        region = self.image[y0:y1, x0:x1]
        if kind > 0.5:
            alpha = mask[:, :, None].astype(np.float32) * (1 / 255)
            region[:] = (region + (patch - region.astype(np.float32)) * alpha).astype(np.uint8)
        else:
            cv2.copyTo(patch, mask, region)

        owner = self.owner[y0:y1, x0:x1]
        seen = mask > 128
        owner[seen] = 0
        boxes = ellipse_bounds(photo.boxes, matrix)
        points = photo.points @ matrix[:, :2].T + matrix[:, 2]
        for k in range(len(boxes)):
            blob = np.zeros_like(mask)
            self._ellipse(blob, photo.boxes[k], matrix, (x0, y0), 1.0, 1)
            number = len(self.found) + 1
            owner[(blob > 0) & seen] = number
            extent = (photo.boxes[k, 2:] - photo.boxes[k, :2]) * scale
            area = np.pi / 4 * extent.prod()
            ordered = points[k][MIRROR] if flip else points[k]
            self.found.append((boxes[k], ordered, bool(photo.uncertain[k]), area))

    @staticmethod
    def _ellipse(mask, box, matrix, origin, grow, value) -> None:
        centre = (box[:2] + box[2:]) / 2 @ matrix[:, :2].T + matrix[:, 2] - origin
        scale = np.hypot(*matrix[:, 0])
        axes = np.maximum((box[2:] - box[:2]) / 2 * scale * grow, 1)
        angle = np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0]))
        cv2.ellipse(
            mask,
            tuple(int(v) for v in np.round(centre * 16)),
            tuple(int(v) for v in np.round(axes * 16)),
            float(angle), 0, 360, value, -1, shift=4,
        )  # fmt: skip

    def _decoy(self) -> None:
        """Something face-like that is none: a part of a face, a shuffled face, a skin blob."""
        rng, size = self.rng, self.size
        photo = self.photos[rng.integers(len(self.photos))]
        kind = rng.random()
        x0, y0, x1, y1 = photo.boxes[rng.integers(len(photo.boxes))]
        side = int(np.exp(rng.uniform(np.log(12), np.log(90))))
        if kind < 0.4:  # one feature, enlarged
            share = rng.uniform(0.15, 0.38)
            cx, cy = x0 + (x1 - x0) * rng.uniform(0.1, 0.9), y0 + (y1 - y0) * rng.uniform(0, 1)
            half = max((x1 - x0) * share / 2, 3)
            patch = cut(photo.levels[0], cx - half, cy - half, cx + half, cy + half)
        elif kind < 0.7:  # its tiles in another order
            patch = cut(photo.levels[0], x0, y0, x1, y1)
            if patch is None:
                return
            tiles = int(rng.integers(2, 4))
            patch = cv2.resize(patch, (tiles * 24, tiles * 24), interpolation=cv2.INTER_AREA)
            parts = [patch[i * 24 : i * 24 + 24, j * 24 : j * 24 + 24]
                     for i in range(tiles) for j in range(tiles)]  # fmt: skip
            order = np.roll(np.arange(tiles**2), int(rng.integers(1, tiles**2)))
            parts = [np.rot90(parts[k], rng.integers(4)) for k in order]
            patch = np.vstack([np.hstack(parts[i * tiles : i * tiles + tiles])
                               for i in range(tiles)])  # fmt: skip
        else:  # an ellipse of plain skin, or a piece of another picture
            if rng.random() < 0.5:
                tone = cut(photo.levels[0], *(x0 + (x1 - x0) * np.array([0.3, 0.3])), x1, y1)
                if tone is None:
                    return
                noise = texture(48, rng).astype(np.float32) - 128
                patch = np.clip(tone.mean((0, 1)) + noise * rng.uniform(0.05, 0.3), 0, 255)
                patch = patch.astype(np.uint8)
            else:
                other = self.negatives[rng.integers(len(self.negatives))].levels[0]
                h, w = other.shape[:2]
                s = int(rng.integers(20, min(h, w)))
                u, v = rng.integers(w - s + 1), rng.integers(h - s + 1)
                patch = other[v : v + s, u : u + s]
        if patch is None:
            return
        way = cv2.INTER_AREA if patch.shape[0] > side else cv2.INTER_LINEAR
        patch = cv2.resize(patch, (side, side), interpolation=way)
        patch = np.ascontiguousarray(np.rot90(patch, rng.integers(4)))
        u, v = rng.integers(0, size - side + 1, 2)
        mask = np.full((side, side), 255, np.uint8)
        if rng.random() < 0.6:
            mask[:] = 0
            cv2.ellipse(mask, (side // 2, side // 2), (int(side * 0.36), int(side * 0.48)),
                        float(rng.uniform(0, 180)), 0, 360, 255, -1)  # fmt: skip
        cv2.copyTo(patch, mask, self.image[v : v + side, u : u + side])
        self.owner[v : v + side, u : u + side][mask > 0] = 0

    def _occlude(self) -> None:
        """A bar, stripes or a piece of another picture over part of one face."""
        if not self.found:
            return
        rng, size = self.rng, self.size
        box = self.found[rng.integers(len(self.found))][0]
        width, height = np.maximum(box[2:] - box[:2], 4)
        if rng.random() < 0.5:
            w, h = width * rng.uniform(0.15, 0.5), height * rng.uniform(0.15, 0.5)
        else:
            w, h = (width * 1.6, height * 0.25) if rng.random() < 0.5 else (width * 0.3, height)
        cx, cy = box[:2] + rng.uniform(0, 1, 2) * (width, height)
        x0, y0 = int(max(cx - w / 2, 0)), int(max(cy - h / 2, 0))
        x1, y1 = int(min(cx + w / 2 + 1, size)), int(min(cy + h / 2 + 1, size))
        if x1 <= x0 or y1 <= y0:
            return
        if rng.random() < 0.5:
            self.image[y0:y1, x0:x1] = rng.integers(0, 256, 3)
        else:
            other = self.negatives[rng.integers(len(self.negatives))].levels[-1]
            self.image[y0:y1, x0:x1] = cv2.resize(other, (x1 - x0, y1 - y0))
        self.owner[y0:y1, x0:x1] = 0

    def _frame(self) -> None:
        """Flat margins, as the detector sees them around a padded picture."""
        rng, size = self.rng, self.size
        tone = 128 if rng.random() < 0.7 else rng.integers(0, 256, 3)
        for turn in range(4):
            if rng.random() < 0.5:
                depth = int(rng.integers(4, size // 4))
                np.rot90(self.image, turn)[:depth] = tone
                np.rot90(self.owner, turn)[:depth] = 0

    def _labels(self) -> Labels:
        counts = np.bincount(self.owner.reshape(-1), minlength=len(self.found) + 1)[1:]
        boxes, points, ignored = [], [], []
        for count, (box, five, uncertain, area) in zip(counts, self.found, strict=True):
            share = count / area
            if share < GONE:
                continue
            boxes.append(box)
            points.append(five)
            ignored.append(uncertain or share < VISIBLE)
        return Labels(
            np.array(boxes, np.float32).reshape(-1, 4),
            np.array(points, np.float32).reshape(-1, 5, 2),
            np.array(ignored, bool),
        )


def similarity(source, target, scale: float, angle: float, flip: bool) -> np.ndarray:
    """(2, 3): scales, mirrors and turns about `source`, which lands on `target`."""
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    linear = np.array([[-cos if flip else cos, -sin], [-sin if flip else sin, cos]])
    return np.concatenate(
        [linear, (np.asarray(target) - linear @ np.asarray(source))[:, None]], axis=1
    )


def warp(photo: Photo, matrix: np.ndarray, region, border: int) -> np.ndarray:
    """The part `region` (x0, y0, x1, y1) of the canvas, sampled from a level that cannot alias."""
    scale = np.hypot(*matrix[:, 0])
    level = 0
    while level + 1 < len(photo.levels) and scale * 2 ** (level + 1) <= 1.2:
        level += 1
    step = 2.0**level
    x0, y0, x1, y1 = region
    linear = matrix[:, :2] * step
    offset = matrix[:, 2] + matrix[:, :2] @ np.full(2, (step - 1) / 2) - (x0, y0)
    inner = np.concatenate([linear, offset[:, None]], axis=1)
    size = (int(x1 - x0), int(y1 - y0))
    return cv2.warpAffine(
        photo.levels[level],
        inner,
        size,
        flags=cv2.INTER_LINEAR,
        borderMode=border,
        borderValue=(128, 128, 128),
    )


def cut(image: np.ndarray, x0, y0, x1, y1) -> np.ndarray | None:
    """The part of a picture inside a box, or None when it is too thin."""
    h, w = image.shape[:2]
    x0, y0, x1, y1 = int(max(x0, 0)), int(max(y0, 0)), int(min(x1, w)), int(min(y1, h))
    return image[y0:y1, x0:x1] if x1 - x0 >= 3 and y1 - y0 >= 3 else None


def texture(size: int, rng: np.random.Generator) -> np.ndarray:
    """Noise of several scales, stripes, checks or a gradient, in random colours."""
    kind = rng.integers(4)
    grid = np.arange(size, dtype=np.float32) / size
    if kind == 0:
        plane = np.zeros((size, size), np.float32)
        for octave in range(1, 6):
            noise = rng.normal(0, 1, (2**octave, 2**octave)).astype(np.float32)
            plane += cv2.resize(noise, (size, size), interpolation=cv2.INTER_CUBIC) / octave
    elif kind == 1:
        angle, rate = rng.uniform(0, np.pi), rng.uniform(10, 200)
        plane = np.sin(rate * (np.cos(angle) * grid[None] + np.sin(angle) * grid[:, None]))
    elif kind == 2:
        count = int(rng.integers(3, 30))
        plane = rng.normal(0, 1, (count, count)).astype(np.float32)
        plane = cv2.resize(plane, (size, size), interpolation=cv2.INTER_NEAREST)
    else:
        plane = grid[None] * rng.normal() + grid[:, None] * rng.normal()
    plane = (plane - plane.mean()) / (plane.std() + 1e-6)
    base, tint = rng.uniform(30, 225, 3), rng.normal(0, 40, 3)
    return np.clip(base + plane[:, :, None] * tint, 0, 255).astype(np.uint8)


def colour_jitter(image: np.ndarray, rng: np.random.Generator, chance: float) -> np.ndarray:
    """Gain and offset of each channel, mostly common to the three."""
    if rng.random() > chance:
        return image
    gain = rng.uniform(0.7, 1.35) * rng.uniform(0.92, 1.08, 3)
    offset = rng.uniform(-25, 25)
    table = np.clip(np.arange(256)[:, None] * gain + offset, 0, 255).astype(np.uint8)
    return cv2.LUT(image, table[None])


def photometric(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What cameras, printers and the web do to a picture."""
    size = image.shape[0]
    if rng.random() < 0.18:  # grey, and a third of these sepia or another tone
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[:, :, None]
        tone = (1.0, 0.86, 0.68) if rng.random() < 0.33 else (1.0, 1.0, 1.0)
        image = (grey * np.array(tone, np.float32)).astype(np.uint8)
    if rng.random() < 0.35:  # light: gamma, and a darker or flatter range
        gamma, gain = np.exp(rng.normal(0, 0.5)), rng.uniform(0.25, 1.1)
        floor = rng.uniform(0, 60) if rng.random() < 0.3 else 0.0
        table = (np.arange(256) / 255) ** gamma * 255 * gain + floor
        image = cv2.LUT(image, np.clip(table, 0, 255).astype(np.uint8))
    image = colour_jitter(image, rng, 0.3)
    kind = rng.random()
    if kind < 0.15:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 2.0))
    elif kind < 0.22:
        length = int(rng.integers(3, 9))
        kernel = np.zeros((length, length), np.float32)
        end = rng.integers(0, length, 2)
        cv2.line(kernel, (int(end[0]), 0), (int(length - 1 - end[0]), length - 1), 1.0)
        kernel = np.rot90(kernel, rng.integers(4))
        image = cv2.filter2D(image, -1, kernel / max(kernel.sum(), 1))
    elif kind < 0.36:
        small = int(size / rng.uniform(1.2, 3.0))
        ways = (cv2.INTER_NEAREST, cv2.INTER_LINEAR, cv2.INTER_CUBIC)
        image = cv2.resize(image, (small, small), interpolation=cv2.INTER_AREA)
        image = cv2.resize(image, (size, size), interpolation=ways[rng.integers(3)])
    if rng.random() < 0.25:
        shape = image.shape if rng.random() < 0.6 else (*image.shape[:2], 1)
        noise = rng.standard_normal(shape, np.float32) * rng.uniform(2, 22)
        image = np.clip(image + noise, 0, 255).astype(np.uint8)
    if rng.random() < 0.3:
        quality = int(rng.integers(18, 92))
        packed = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        image = cv2.imdecode(packed, cv2.IMREAD_COLOR)
    return image
