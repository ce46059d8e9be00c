"""Grain inside a restored face beside that outside, over kinds of grain, people and sizes.

    python -m kintsugi.benchmarks.grain                             # the two sample portraits
    python -m kintsugi.benchmarks.grain --faces ../shared/faces     # and people of another folder
    python -m kintsugi.benchmarks.grain --quick                     # one size

Each picture gets grain of a known kind laid over it, twice and independently, and its face is
restored ("built-in"), wiped smooth or left "untouched". Grain, inside and outside, is what differs
between the two takes, over the square root of 2.

The difference of one take to the same face without grain would count what JPEG does to the lines of
the face as grain: by it, untouched faces of 120 px in JPEG 80 were 75 % off what is around them.
What is left to "untouched" is true: coding keeps more of the grain among features than on a wall,
and film has most of it in the middle tones.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from kintsugi import samples
from kintsugi.benchmarks.blend import GRAIN, grain_off, ours, resized, without_grain
from kintsugi.stages.detail import blur
from kintsugi.stages.faces import Crop, Faces
from kintsugi.stages.host import Host
from kintsugi.stages.restore import restore

RESULT = Path(__file__).parent / "results" / "grain.md"

#: Sides of the FFHQ crop in the picture, px.
SIDES = (120, 250, 500, 900)

#: People taken from the folder, and the side up to which their pictures with much around are used.
PEOPLE, _WIDE = 6, 200

Kind = Callable[[torch.Tensor, torch.Generator], torch.Tensor]


def white(picture: torch.Tensor, generator: torch.Generator, channels: int = 3) -> torch.Tensor:
    """Noise (1, H, W, 3) of deviation 1, the same in all colours if `channels` is 1."""
    noise = torch.randn(*picture.shape[:3], channels, generator=generator)
    return noise.expand(-1, -1, -1, 3)


def fine(picture: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """White noise, each colour on its own: a sensor."""
    return picture + GRAIN * white(picture, generator)


def silver(picture: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """The same noise in all colours: black and white film printed or scanned in colour."""
    return picture + GRAIN * white(picture, generator, 1)


def coarse(picture: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Noise of about three pixels: film scanned large, or enlarged."""
    soft = blur(white(picture, generator).permute(0, 3, 1, 2), 9, 1.2).permute(0, 2, 3, 1)
    return picture + GRAIN * soft / soft.std()


def film(picture: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Strongest in the middle tones, mostly the same in all colours, a little soft."""
    noise = white(picture, generator, 1) + 0.5 * white(picture, generator)
    soft = blur(noise.permute(0, 3, 1, 2), 5, 0.6).permute(0, 2, 3, 1)
    light = picture.mean(-1, keepdim=True)
    return picture + GRAIN * soft / soft.std() * (5 * light * (1 - light)).sqrt()


def coded(quality: int) -> Kind:
    """White noise, then JPEG with halved colours."""

    def kind(picture: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        noisy = fine(picture, generator)[0].clamp(0, 1).mul(255).round().byte()
        file = io.BytesIO()
        Image.fromarray(noisy.numpy()).save(file, "JPEG", quality=quality, subsampling=2)
        return torch.from_numpy(np.array(Image.open(file))).float()[None] / 255

    return kind


def grey(picture: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """A grey picture with noise, of one channel."""
    return picture.mean(-1, keepdim=True) + GRAIN * white(picture, generator, 1)[..., :1]


def grey_in_colour(picture: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """The same, copied to three channels."""
    return grey(picture, generator).expand(-1, -1, -1, 3).contiguous()


KINDS: dict[str, Kind] = {
    "fine": fine,
    "silver": silver,
    "coarse": coarse,
    "film": film,
    "JPEG 92": coded(92),
    "JPEG 80": coded(80),
    "grey": grey,
    "grey in colour": grey_in_colour,
}


def people(folder: Path | None, count: int = PEOPLE) -> dict[str, tuple[Image.Image, Image.Image]]:
    """Pictures with much and with little around the face: the sample portraits, which are both,
    and, evenly, real validation people of `folder`."""
    found = {name: (picture, picture) for name, picture in samples.portraits().items()}
    if folder:
        files = sorted(folder.glob("hires512/val/cc0_*.jpg"))
        if not files:
            raise SystemExit(f"no hires512/val/cc0_*.jpg in {folder}; give the folder of faces")
        for near in files[:: max(len(files) // count, 1)][:count]:
            wide = folder / "val" / "loose" / near.name
            found[near.stem] = tuple(Image.open(file).convert("RGB") for file in (wide, near))
    return found


def wiped(crops: torch.Tensor) -> torch.Tensor:
    """Smooth: what restorers that leave no grain at all do to it."""
    planes = F.pad(crops.permute(0, 3, 1, 2), (4, 4, 4, 4), mode="replicate")
    return F.avg_pool2d(planes, 9, 1).permute(0, 2, 3, 1)


def restorers(host: Host) -> dict[str, Callable]:
    """What is done to the crops."""

    def built_in(crops: torch.Tensor) -> torch.Tensor:
        return restore(crops, model="kintsugi-restorer", host=host).crops

    return {"built-in": built_in, "wiped smooth": wiped, "untouched": lambda crops: crops}


def shown(picture: torch.Tensor, faces: Faces, side: int) -> tuple[torch.Tensor, Faces]:
    """The picture (1, H, W, 3) with the crop of its face `side` px, without what is far away."""
    picture, faces = resized(picture, faces, side)
    x, y = faces[0].points.mean(0).round().int().tolist()
    left, top = max(x - side, 0), max(y - side, 0)
    picture = picture[:, top : y + side, left : x + side].contiguous()
    shift = torch.tensor([left, top])
    face = faces[0]
    crop = Crop(face.crop.matrix.clone(), face.crop.size, face.crop.template)
    crop.matrix[:, 2] += crop.matrix[:, :2] @ shift.float()
    box, points = face.box - shift.repeat(2), face.points - shift
    moved = replace(face, box=box, points=points, landmarks=None, scheme=None, crop=crop)
    return picture, Faces((moved,), 1, *picture.shape[1:3])


def off(clean: torch.Tensor, faces: Faces, kind: Kind, ways: dict[str, Callable]) -> list[float]:
    """`blend.grain_off` for each way."""
    takes = [kind(clean, torch.Generator().manual_seed(seed)) for seed in (0, 1)]
    shares = []
    for change in ways.values():
        pairs = [ours(take, faces, change, seed) for seed, take in enumerate(takes)]
        results, masks = zip(*pairs, strict=True)
        shares.append(grain_off(results, takes, clean, torch.minimum(*masks)))
    return shares


def measured(host: Host, folder: Path | None, sides: tuple[int, ...]) -> list[str]:
    """Rows: kinds of grain, restorers and sizes; the mean over people, and the worst."""
    bare = [[without_grain(one, host) for one in pair] for pair in people(folder).values()]
    sets = {side: [shown(*pair[side > _WIDE], side) for pair in bare] for side in sides}
    ways, lines = restorers(host), []
    for title, kind in KINDS.items():
        rows = [[f"{title}, {way}"] for way in ways]
        for side in sides:
            each = np.array([off(*one, kind, ways) for one in sets[side]]).T
            for row, shares in zip(rows, each, strict=True):
                row.append(f"{100 * shares.mean():.0f} % ({100 * shares.max():.0f} %)")
        lines += ["| " + " | ".join(row) + " |" for row in rows]
        print(*lines[-len(ways) :], sep="\n", flush=True)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--faces", type=Path, help="folder with more people: hires512, val/loose")
    parser.add_argument("--quick", action="store_true", help="one size, nothing written")
    given = parser.parse_args()
    if given.faces is None:
        who = "the two sample portraits"
    else:
        who = f"the two sample portraits and {PEOPLE} people of the validation faces"
    sides = SIDES[1:2] if given.quick else SIDES
    lines = [
        "# Grain",
        "",
        f"Made by `python -m kintsugi.benchmarks.grain`: {who}, with grain of "
        f"{255 * GRAIN:.0f} of 255 of several kinds; sizes are the side of the FFHQ crop in the "
        "picture.",
        "",
        "How far the amplitude of grain inside is from that outside, in the flatter half of both, "
        "by what differs between two takes of the same picture: mean over people, and the worst. "
        "Their own grain was taken out before. Untouched is how far the photo itself is off: "
        "coding keeps more grain among features than on walls, film has most in the middle tones.",
        "",
        "| | " + " | ".join(f"{side} px" for side in sides) + " |",
        "|" + "---|" * (len(sides) + 1),
        *measured(Host(), given.faces, sides),
        "",
    ]
    if not given.quick:
        RESULT.parent.mkdir(exist_ok=True)
        RESULT.write_text("\n".join(lines))


if __name__ == "__main__":
    main()
