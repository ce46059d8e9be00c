"""What blending costs a picture, beside the peers' way: detail, outside, rim, colour, grain, time.

    python -m kintsugi.benchmarks.blend            # writes results/blend.md
    python -m kintsugi.benchmarks.blend --quick    # without the 12-megapixel timing

The peers' way is `peers.py`: square mask, eroded and blurred, one 8-bit full frame a face. Both
sides get the same faces. "Do nothing" pastes back the crops that were cut out; "built-in" restores
them with kintsugi-restorer first. Pictures are public-domain portraits with grain laid over them.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from skimage.color import deltaE_ciede2000, rgb2lab

from kintsugi import samples
from kintsugi.benchmarks import peers
from kintsugi.benchmarks.pipeline import scene, seconds
from kintsugi.stages import geometry
from kintsugi.stages.blend import blend, enlarged
from kintsugi.stages.detail import soften
from kintsugi.stages.face_detect import detect
from kintsugi.stages.faces import Faces
from kintsugi.stages.host import Host
from kintsugi.stages.landmark_align import align
from kintsugi.stages.restore import restore

RESULT = Path(__file__).parent / "results" / "blend.md"

#: Sides of the FFHQ crop in the picture, px.
SIDES = (100, 400, 800, 1600)

#: Strengths at which non-local means takes the portraits' own grain out, in luma and in colour.
OWN = (10, 10)

#: Deviation of the grain, in [0, 1].
GRAIN = 0.015

#: Steps between the patches of 16 px in which grain is measured, and most of them.
_STEP, _MOST = 4, 4000


def without_grain(picture: Image.Image, host: Host) -> tuple[torch.Tensor, Faces]:
    """A picture (1, H, W, 3) without the grain of its own, and the aligned face in it.

    What is laid over it is to be all the grain there is.
    """
    bare = cv2.fastNlMeansDenoisingColored(np.asarray(picture), None, *OWN)
    source = torch.from_numpy(bare).float()[None] / 255
    return source, align(source, detect(source, count=1, host=host))[1]


def resized(source: torch.Tensor, faces: Faces, side: float) -> tuple[torch.Tensor, Faces]:
    """The picture (1, H, W, 3) at the size at which the crop of its face is `side` px."""
    factor = side * float(geometry.scale_of(faces[0].crop.matrix)) / faces[0].crop.size
    size = [round(length * factor) for length in source.shape[1:3]]
    picture = F.interpolate(
        source.permute(0, 3, 1, 2), size, mode="bicubic", antialias=True, align_corners=False
    )
    # As if scanned: 0.1 to 0.9, so that grain is nowhere clipped.
    return picture.clamp(0, 1).permute(0, 2, 3, 1) * 0.8 + 0.1, enlarged(faces, 1, *size)


def portrait(name: str, side: float, host: Host) -> tuple[torch.Tensor, torch.Tensor, Faces]:
    """A portrait (1, H, W, 3) in which the face's crop is `side` px, two takes of it (2, H, W, 3)
    that differ in their grain, and its face."""
    picture, faces = resized(*without_grain(samples.portraits()[name], host), side)
    shape = (2, *picture.shape[1:])
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * GRAIN
    return picture, picture + noise, faces


def ours(picture: torch.Tensor, faces: Faces, change: Callable, seed: int = 0) -> tuple:
    """Result and mask of our way; two takes of a picture need two seeds for what is given back."""
    crops, aligned = align(picture, faces)
    return blend(picture, change(crops), aligned, seed=seed)


def theirs(picture: torch.Tensor, faces: Faces, change: Callable, seed: int = 0) -> tuple:
    """Result and mask of the peers' way, which draws nothing: what their paste makes of white crops
    on black."""
    page = (picture[0].numpy() * 255).astype(np.uint8)
    cut = [peers.align(page, face.points.numpy()) for face in faces]
    crops = torch.from_numpy(np.stack([crop for crop, _ in cut])).float() / 255
    changed = (change(crops).clamp(0, 1).numpy() * 255).astype(np.uint8)
    matrices = [matrix for _, matrix in cut]
    result = torch.from_numpy(peers.paste(page, list(changed), matrices)).float()[None] / 255
    white = [np.full_like(crop, 255) for crop in changed]
    mask = peers.paste(np.zeros_like(page), white, matrices)[..., 0]
    return result, torch.from_numpy(mask).float()[None] / 255


def detail_kept(result: torch.Tensor, picture: torch.Tensor, inside: torch.Tensor) -> float:
    """Share of the finest octave of the picture that is still there, in the same place."""
    bands = []
    for image in (picture, result):
        plane = image.mean(-1)[None]
        bands.append((plane - soften(soften(plane)))[0][inside])
    return float((bands[0] * bands[1]).sum() / bands[0].square().sum())


def psnr(result: torch.Tensor, picture: torch.Tensor, inside: torch.Tensor) -> float:
    """In dB; 99 stands for equal up to rounding."""
    error = float((result - picture)[inside].double().square().mean())
    return min(-10 * np.log10(max(error, 1e-12)), 99.0)


def rim(result: torch.Tensor, picture: torch.Tensor, mask: torch.Tensor) -> float:
    """Mean gradient where the mask rises, over the picture's own there."""
    rising = ((mask > 0) & (mask < 1))[:, 1:, 1:]
    steep = []
    for image in (picture, result):
        grey = image.mean(-1)
        across, down = grey.diff(dim=2)[:, 1:], grey.diff(dim=1)[:, :, 1:]
        steep.append(float((across.square() + down.square()).sqrt()[rising].mean()))
    return steep[1] / steep[0]


def skin_shift(result: torch.Tensor, picture: torch.Tensor, inside: torch.Tensor) -> float:
    """CIEDE2000 between the mean colours of the face before and after."""
    colours = [image[inside].mean(0).numpy()[None] for image in (picture, result)]
    return float(deltaE_ciede2000(*(rgb2lab(colour) for colour in colours))[0])


def grain_off(
    results: Sequence[torch.Tensor], takes: Sequence[torch.Tensor], clean: torch.Tensor, mask
) -> float:
    """How far, as a share, the amplitudes of grain in a face are off those outside.

    Over all wavelengths together, so that those count most in which there is most grain: of coarse
    grain nearly none is fine.

    Args:
        takes: two takes (1, H, W, C) of the picture `clean` (1, H, W, C) that differ in their
            grain. results: what became of them. Grain is what differs, over the square root of 2.
        mask: (1, H, W), what of either result is the face.
    """
    left, laid = ((one - other)[0] / 2**0.5 for one, other in (results, takes))
    inside = powers(left, clean[0], mask[0] > 0.95).sqrt()
    outside = powers(laid, clean[0], mask[0] == 0).sqrt()
    return float((inside - outside).abs().sum() / outside.sum())


def powers(field: torch.Tensor, clean: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
    """(7,) power of a field (H, W, C) by wavelength, from 8 to 2.3 px, where `where` (H, W) is.

    In the flatter half of the patches of the clean picture (H, W, C): there grain is seen. Among
    features a restorer draws other lines for other grain, and what differs is mostly those. Written
    apart from `stages.grain`, which is judged by it.
    """
    patches, shape, inside = (
        each.unfold(0, 16, _STEP).unfold(1, 16, _STEP) for each in (field, clean, where)
    )
    rows, columns = inside.flatten(2).all(2).nonzero(as_tuple=True)
    few = slice(None, None, -(-len(rows) // _MOST))
    patches, shape = patches[rows[few], columns[few]], shape[rows[few], columns[few]]
    steep = sum(shape.diff(dim=axis).square().mean((1, 2, 3)) for axis in (2, 3))
    return powers_of(patches[steep <= steep.median()])


def powers_of(patches: torch.Tensor) -> torch.Tensor:
    """`powers` of patches (N, C, 16, 16): the median, for a few of them hold drawn lines."""
    window = torch.hann_window(16, periodic=False)
    patches = (patches - patches.mean((2, 3), keepdim=True)) * window[:, None] * window
    waves = torch.fft.fft2(patches)
    at = torch.fft.fftfreq(16) * 16
    rings = (at[:, None].square() + at.square()).sqrt().round()
    power = waves.abs().square().mean(1)
    return torch.stack([power[:, rings == ring].mean(1).median() for ring in range(2, 9)])


def round_trip(host: Host) -> list[str]:
    """Rows: a crop that nothing changed goes back, at several sizes."""
    lines = []
    for side in SIDES:
        _, (picture, _), faces = portrait("collins", side, host)
        picture = picture[None]
        cells = [f"{side} px"]
        for way in (theirs, ours):
            result, mask = way(picture, faces, lambda crops: crops)
            inside = mask > 0.99
            changed = float((result != picture).any(-1)[mask == 0].float().mean())
            cells += [
                f"{100 * changed:.0f} %",
                f"{100 * detail_kept(result, picture, inside):.0f} %",
                f"{psnr(result, picture, inside):.1f}",
            ]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def restored(host: Host) -> list[str]:
    """Rows: the built-in restorer, one that shifts colours, one that smooths; at three sizes."""

    def built_in(crops: torch.Tensor) -> torch.Tensor:
        return restore(crops, model="kintsugi-restorer", host=host).crops

    def tinted(crops: torch.Tensor) -> torch.Tensor:
        return built_in(crops) * torch.tensor([0.9, 1.0, 1.06]) + 0.03

    def wiped(crops: torch.Tensor) -> torch.Tensor:
        planes = F.pad(crops.permute(0, 3, 1, 2), (4, 4, 4, 4), mode="replicate")
        return F.avg_pool2d(planes, 9, 1).permute(0, 2, 3, 1)

    lines = []
    ways = (("built-in", built_in), ("built-in, tinted", tinted), ("wiped smooth", wiped))
    for title, change in ways:
        for name in samples.portraits():
            for side in (130, 250, 900):
                clean, both, faces = portrait(name, side, host)
                takes = both.split(1)
                picture = takes[0]
                cells = [f"{title}, {name}, {side} px"]
                for way in (theirs, ours):
                    pairs = [way(one, faces, change, seed) for seed, one in enumerate(takes)]
                    results, masks = zip(*pairs, strict=True)
                    result, mask = results[0], torch.minimum(*masks)
                    changed = float((result != picture).any(-1)[masks[0] == 0].float().mean())
                    cells += [
                        f"{100 * changed:.0f} %",
                        f"{rim(result, picture, masks[0]):.2f}",
                        f"{skin_shift(result, picture, masks[0] > 0.95):.2f}",
                        f"{100 * grain_off(results, takes, clean, mask):.0f} %",
                    ]
                lines.append("| " + " | ".join(cells) + " |")
    return lines


def timing(host: Host) -> list[str]:
    """Rows: ten faces in 12 megapixels, the crops changed as a restorer changes them."""
    page = scene()
    picture = torch.from_numpy(page).float()[None] / 255
    faces = detect(picture, host=host)
    crops, aligned = align(picture, faces)
    changed = restore(crops, model="kintsugi-restorer", host=host).crops
    cut = [peers.align(page, face.points.numpy()) for face in faces]
    pasted, matrices = ([part[i] for part in cut] for i in (0, 1))
    alpha = torch.cat([picture, torch.ones_like(picture[..., :1])], -1)
    half = picture.half()
    ways = {
        "peers, 8 bit": lambda: peers.paste(page, pasted, matrices),
        "Kintsugi, float32": lambda: blend(picture, changed, aligned),
        "the same, float16": lambda: blend(half, changed, aligned),
        "the same, with alpha": lambda: blend(alpha, changed, aligned),
        "the same, gradient": lambda: blend(picture, changed, aligned, join="gradient"),
        "crops that nothing changed": lambda: blend(picture, crops, aligned),
    }
    taken = seconds(ways)
    base = taken["peers, 8 bit"]
    lines = [f"| {name} | {each:.2f} | {base / each:.1f} |" for name, each in taken.items()]
    return [f"{len(faces)} faces, {torch.get_num_threads()} threads.", "", *TIME_HEAD, *lines]


TRIP_HEAD = (
    "| | peers: outside changed | detail kept | PSNR | "
    "ours: outside changed | detail kept | PSNR |",
    "|---|---|---|---|---|---|---|",
)
RESTORED_HEAD = (
    "| | peers: outside changed | rim | skin, ΔE | grain off | "
    "ours: outside changed | rim | skin, ΔE | grain off |",
    "|---|---|---|---|---|---|---|---|---|",
)
TIME_HEAD = ("| | seconds | peers' time over this |", "|---|---|---|")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="without the 12-megapixel timing")
    quick = parser.parse_args().quick
    host = Host()
    lines = [
        "# Blend",
        "",
        "Made by `python -m kintsugi.benchmarks.blend`: portraits with grain of "
        f"{255 * GRAIN:.0f} of 255; sizes are the side of the FFHQ crop in the picture.",
        "",
        "## A crop that nothing changed goes back",
        "",
        "Detail is the finest octave inside the mask, outside are pixels whose mask is 0, PSNR in "
        "dB inside (99: equal up to rounding).",
        "",
        *TRIP_HEAD,
        *round_trip(host),
        "",
        "## A restored crop goes back",
        "",
        "Rim: mean gradient where the mask rises, over the picture's own there. Skin: CIEDE2000 of "
        "the mean colours. Grain off: how far its amplitude inside is from that outside, by what "
        "differs between two takes of the same picture (grain.md has more kinds of grain). Wiped "
        "smooth stands for restorers that leave no grain at all. The portraits' own grain was "
        "taken out before.",
        "",
        *RESTORED_HEAD,
        *restored(host),
        "",
    ]
    if not quick:
        lines += ["## Seconds to blend ten faces into 12 megapixels", "", *timing(host), ""]
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text("\n".join(lines))
    print(RESULT.read_text())


if __name__ == "__main__":
    main()
