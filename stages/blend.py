"""Blend: put restored crops back so that only the face changes, and only as far as its mask.

Each face is a patch: what it adds to the picture and how much of it counts. Patches that overlap
are averaged by weight; everything happens inside their regions, and a pixel whose weight is 0 is
never written.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from . import colour as colours
from . import geometry, masks, memory, patches, seams
from . import grain as grains
from . import quiet as quiets
from . import sharpness as sharpnesses
from .batch import check, check_crops, check_same_pictures
from .faces import Crop, Faces
from .fill import fill
from .host import Host
from .patches import Patch, Settings

#: How strongly the nearer of two overlapping faces wins.
_RIVALRY = 4

#: How far around a face grain is measured, in shares of its region.
_AROUND = 0.25

#: Weight from which a pixel counts as restored skin, and mean change, half an 8-bit step, from
#: which a face counts as changed.
_INSIDE, _CHANGED = 0.9, 0.5 / 255


def blend(
    image: Tensor,
    crops: Tensor,
    faces: Faces,
    *,
    feather: float = 0.3,
    colour: str = "match",
    opacity: float = 1.0,
    notes: list[str] | None = None,
    shape: str = "oval",
    parts: tuple[str, ...] = masks.PARTS,
    parser: str = "auto",
    join: str = "multi-band",
    grain: float = 1.0,
    sharpness: str = "match",
    tone: str = "keep",
    seed: int = 0,
    mask: Tensor | None = None,
    damage: Tensor | None = None,
    upscaled: Tensor | None = None,
    commercial_only: bool = False,
    host: Host | None = None,
) -> tuple[Tensor, Tensor]:
    """Put restored crops back into their pictures.

    Args:
        image: (B, H, W, C) in [0, 1], any float dtype, C 1, 3 or 4; alpha is kept as it is.
        crops: (N, S, S, 3) in [0, 1], one for each face in order. Another size than LandmarkAlign
            made is understood as the same view resized.
        faces: the aligned faces, N of them.
        feather: share of the face's radius over which the mask falls to 0, in [0, 1].
        colour: how the face keeps the tones it had, of colour.METHODS; "none" takes the crop's.
        opacity: 0 to 1; 0 returns the picture as it is.
        notes: is given one line for each thing a person should know of the result.
        shape: what bounds a face, of masks.SHAPES.
        parts: what a parsed mask holds, see masks.classes.
        parser: a parser of the zoo; "auto": the first on disk, the oval if there is none.
        join: how the change fades, of seams.JOINS.
        grain: 0 to 2, how much of the grain around a face it gets where it lost its own; above 1
            noise too strong for grain is given back as well.
        sharpness: of sharpness.MODES.
        tone: what becomes of grey and sepia pictures, of colour.TONES: they keep their one tone,
            the faces become neutral grey, or what the crop has ("free").
        seed: of the grain.
        mask: (H, W), (1, H, W) or (B, H, W): faces change only as far as it is above 0.
        damage: likewise: scratches and holes, above 0.5; they are filled first and are part of the
            mask returned.
        upscaled: (B, H', W', C), the same pictures at another size; the faces go there instead.
        commercial_only: refuse a parser whose licence does not clearly allow commercial use.

    Returns:
        image (B, H, W, C) in the dtype and on the device it came in, and mask (B, H, W) float32;
        of the upscaled pictures, if given. Where the mask is 0 the picture is the input, bit for
        bit.

    Raises:
        ValueError: as many crops as faces are needed; settings out of range; other pictures.

    Convention: pixels, centres at whole numbers; see geometry.
    """
    settings = Settings(
        feather, colour, opacity, shape, tuple(parts), None, join, grain, sharpness, tone, seed
    )
    _check_settings(settings)
    image = check(image)
    check_same_pictures(image, faces)
    given, known = image, faces
    if upscaled is not None:
        image = check(upscaled, "upscaled")
        faces = enlarged(faces, *image.shape[:3])
    frames, height, width = image.shape[:3]
    shown = memory.zeros(frames, height, width, device=image.device)
    if opacity == 0 or (not len(faces) and damage is None):
        why = "opacity 0" if opacity == 0 else "no face"
        if notes is not None:
            notes.append(f"{why}: nothing was changed")
        return image, shown
    base = image
    if damage is not None:
        damage = masks.in_picture(damage, frames, height, width, "damage").to(image.device) > 0.5
        pairs = zip(image, damage, strict=True)
        mended = [fill(picture, holes, seed=seed) for picture, holes in pairs]
        base = torch.stack(mended) if mended else image
        shown = damage.float()
    if not len(faces):
        if notes is not None:
            filled = bool(shown.any())
            notes.append(f"no face: {'the damage was filled' if filled else 'nothing was changed'}")
        return base, shown
    if mask is not None:
        mask = masks.in_picture(mask, frames, height, width).to(image.device)
    crops = _check_count(crops, faces)
    if upscaled is not None or damage is not None:
        crops = _renewed(crops, given, known, base, faces)
    said = _Notes()
    if shape in ("parsed", "all"):
        host = host or Host()
        settings = replace(settings, parser=masks.choose_parser(parser, host, commercial_only))
        if settings.parser is None:
            said.all("no parser is on disk: the oval bounds the faces")
    if shape in ("hull", "all") and any(face.landmarks is None for face in faces):
        said.all("faces without landmarks are bounded by the oval")
    result = memory.copied(base)
    _blend_all(base, crops, faces, settings, mask, result, shown, host, said)
    if notes is not None:
        notes.extend(_resized(crops, faces))
        notes.extend(said.lines())
    return result, shown


def _check_settings(settings: Settings) -> None:
    for name, value, most in (
        ("feather", settings.feather, 1),
        ("opacity", settings.opacity, 1),
        ("grain", settings.grain, 2),
    ):
        if not 0 <= value <= most:
            raise ValueError(f"{name} is {value}; choose 0 to {most}")
    for name, value, known in (
        ("colour", settings.colour, colours.METHODS),
        ("tone", settings.tone, colours.TONES),
        ("shape", settings.shape, masks.SHAPES),
        ("join", settings.join, tuple(seams.JOINS)),
        ("sharpness", settings.sharpness, sharpnesses.MODES),
    ):
        if value not in known:
            raise ValueError(f"{name} is {value!r}; choose one of {', '.join(known)}")
    masks.classes(settings.parts)


def _check_count(crops: Tensor, faces: Faces) -> Tensor:
    crops = check_crops(crops)
    if crops.shape[0] != len(faces):
        raise ValueError(
            f"{crops.shape[0]} crops for {len(faces)} faces; blend needs one crop for each face, "
            "in the order LandmarkAlign made them"
        )
    return crops[..., :3] if crops.shape[-1] == 4 else crops


def _resized(crops: Tensor, faces: Faces) -> list[str]:
    sizes = sorted({face.crop.size for face in faces} - {crops.shape[1]})
    if not sizes:
        return []
    cut = " and ".join(str(size) for size in sizes)
    return [f"the crops came at {crops.shape[1]} px and were cut at {cut} px: scaled back"]


def enlarged(faces: Faces, frames: int, height: int, width: int) -> Faces:
    """The same faces in pictures of another size.

    Args:
        faces: aligned faces. frames, height, width: of the other pictures.

    Raises:
        ValueError: another number of pictures, or another aspect.

    Convention: pixel areas are kept: p becomes (p + 0.5) * factor - 0.5.
    """
    across, down = width / faces.width, height / faces.height
    # Upscalers round each side on its own: by less than a pixel of either picture.
    slack = 1.5 * max(across, down, 1.0)
    if frames != faces.frames or abs(across - down) * min(faces.width, faces.height) > slack:
        raise ValueError(
            f"upscaled has {frames} picture(s) of {width} x {height}, the faces were found in "
            f"{faces.frames} of {faces.width} x {faces.height}; give the same pictures, only larger"
        )
    factor = torch.tensor([across, down])
    back = torch.tensor([[1 / across, 0, 0.5 / across - 0.5], [0, 1 / down, 0.5 / down - 0.5]])

    def moved(points: Tensor) -> Tensor:
        return (points + 0.5) * factor - 0.5

    others = []
    for face, matrix in zip(faces, faces.matrices(), strict=True):
        crop = Crop(geometry.compose(matrix, back), face.crop.size, face.crop.template)
        marks = face.landmarks if face.landmarks is None else moved(face.landmarks)
        box = face.box * factor.repeat(2)
        points = moved(face.points)
        others.append(replace(face, crop=crop, points=points, landmarks=marks, box=box))
    return Faces(tuple(others), frames, height, width)


def _renewed(crops: Tensor, image: Tensor, faces: Faces, base: Tensor, there: Faces) -> Tensor:
    """The crops (N, S, S, C) of the faces in `image`, but those that nobody changed cut from the
    pictures that they go into, where the same faces are `there`: these are larger or have their
    damage filled."""
    size, result = crops.shape[1], crops
    pairs = zip(faces, faces.matrices(), there.matrices(), strict=True)
    for index, (face, *matrices) in enumerate(pairs):
        before, after = (geometry.resized(each, face.crop.size, size) for each in matrices)
        cut = patches.original(image[face.frame], face, before, size)
        if patches.untouched(crops[index].to(cut.device), cut):
            fresh = geometry.cut(base[face.frame][..., :3], after, size)[0].permute(1, 2, 0)
            if result is crops:
                channels = max(crops.shape[-1], fresh.shape[-1])
                result = crops.float().expand(*crops.shape[:3], channels).clone()
            result[index] = fresh.to(result.device)
    return result


class _Notes:
    """Lines for a person, each told once with the faces it is about."""

    def __init__(self):
        self._all: list[str] = []
        self._faces: dict[str, list[int]] = {}

    def all(self, line: str) -> None:
        """A line about every face."""
        self._all.append(line)

    def face(self, number: int, line: str) -> None:
        """A line about one face."""
        numbers = self._faces.setdefault(line, [])
        if number not in numbers:  # a person in many frames is told of once
            numbers.append(number)

    def lines(self) -> list[str]:
        """All lines."""
        lines = list(self._all)
        for line, numbers in self._faces.items():
            named = ", ".join(str(number) for number in numbers)
            lines.append(f"face{'s' if len(numbers) > 1 else ''} {named}: {line}")
        return lines


@torch.inference_mode()  # thousands of small operations, each of which is begun sooner
def _blend_all(base, crops, faces, settings, mask, result, shown, host, said) -> None:
    """Write all faces into `result` (B, H, W, C) and `shown` (B, H, W)."""
    matrices = faces.matrices()
    steady = _steady_tones(base, crops, faces, matrices, settings)
    done = 0
    for frame, group in _rivals(faces, matrices):
        made = []
        for index, region in group:
            face = faces[index]
            seen = patches.view(base[frame], crops[index], face, matrices[index])

            def tone(view, weight, index=index):
                if index in steady:
                    return steady[index]
                return patches.tone_of(view, weight, settings.colour, faces[index])

            def say(line, number=face.id):
                said.face(number, line)

            made.append(patches.make(seen, face, region, settings, tone, host, say))
        _paste(result[frame], shown[frame], base[frame], made, settings, mask, frame)
        done += len(group)
        if host:
            host.progress(done, len(faces))


def _steady_tones(base, crops, faces: Faces, matrices, settings: Settings) -> dict:
    """The tones of faces that are in several frames, averaged over their neighbours in time."""
    tracks: dict[int, list[int]] = {}
    for index, face in enumerate(faces):
        tracks.setdefault(face.id, []).append(index)
    result = {}
    for indices in tracks.values():
        if len({faces[index].frame for index in indices}) < 2 or settings.colour == "none":
            continue
        tones = []
        for index in indices:
            face = faces[index]
            seen = patches.view(base[face.frame], crops[index], face, matrices[index])
            ramp = masks.ramp(face, seen.matrix, seen.size, settings.feather, settings.shape)
            tones.append(patches.tone_of(seen, ramp.to(base.device), settings.colour, face))
        frames = [faces[index].frame for index in indices]
        result.update(zip(indices, colours.steady(tones, frames), strict=True))
    return result


def _rivals(faces: Faces, matrices: Tensor) -> list[tuple[int, list[tuple[int, geometry.Region]]]]:
    """Groups of faces whose footprints overlap, directly or through others: (frame, members)."""
    groups: list[tuple[int, geometry.Region, list[tuple[int, geometry.Region]]]] = []
    for index, face in enumerate(faces):
        region = geometry.footprint(matrices[index], face.crop.size, faces.height, faces.width)
        if region.empty:
            continue
        whole, members, apart = region, [(index, region)], []
        for group in groups:
            if group[0] == face.frame and group[1].overlaps(whole):
                whole, members = whole.union(group[1]), group[2] + members
            else:
                apart.append(group)
        groups = [*apart, (face.frame, whole, members)]
    return [(frame, members) for frame, _, members in groups]


def _paste(
    result: Tensor,
    shown: Tensor,
    picture: Tensor,
    made: list[Patch],
    settings: Settings,
    mask: Tensor | None,
    frame: int,
) -> None:
    """Write overlapping patches into `result` (H, W, C) and `shown` (H, W)."""
    patch = made[0] if len(made) == 1 else _mix(made)
    region, change, gain, weight = patch.region, patch.change, patch.gain, patch.weight
    rows, columns = region.slices()
    inside = weight > _INSIDE
    show = settings.opacity
    if mask is not None:
        show = mask[frame, rows, columns] * show
    if mask is not None or show < 1:
        change, weight = change * show, weight * show
        gain = gain if gain is None else gain * show
    part = shown[rows, columns]
    torch.maximum(part, weight, out=part)
    if gain is None and not bool(change.any()):
        return
    channels = change.shape[0]
    # In planes, where each of them is one run of memory for the operations below.
    into = result[rows, columns, :channels].permute(2, 0, 1)
    source = into.contiguous()
    if gain is None:
        blended = source.float() + change
    else:
        blended = torch.addcmul(change, source.float(), 1 + gain)
    if settings.grain:
        inside &= weight > 0
        original = picture[..., :channels]
        _regrain(blended, weight, inside, change, original, region, settings, frame)
    # Between the two by 0 or 1 is one of them, bit for bit, and sooner than by `where`.
    blended = blended.clamp_(0, 1).to(source.dtype)
    into.copy_(torch.lerp(source, blended, weight.sign().to(source.dtype)))


def _mix(made: list[Patch]) -> Patch:
    """One patch of several that overlap: each pixel follows the face it belongs to."""
    region = made[0].region
    for patch in made[1:]:
        region = region.union(patch.region)
    first = made[0].change
    total = first.new_zeros(region.height, region.width)
    weight, gain = torch.zeros_like(total), torch.zeros_like(total)
    change = first.new_zeros(first.shape[0], region.height, region.width)
    for patch in made:
        top, left = patch.region.top - region.top, patch.region.left - region.left
        rows = slice(top, top + patch.region.height)
        columns = slice(left, left + patch.region.width)
        say = patch.weight.pow(_RIVALRY)
        total[rows, columns] += say
        change[:, rows, columns] += say * patch.change
        if patch.gain is not None:
            gain[rows, columns] += say * patch.gain
        part = weight[rows, columns]
        torch.maximum(part, patch.weight, out=part)
    total.clamp_(min=1e-12)
    return Patch(region, change / total, gain / total, weight)


def _regrain(blended, weight, inside, change, picture, region, settings: Settings, frame) -> None:
    """Add to `blended` (C, h, w) the grain that its faces have lost, measured `inside` (h, w)."""
    few = (..., slice(None, None, 4), slice(None, None, 4))
    moved = float(change[few].abs().mean(0)[inside[few]].mean().nan_to_num())
    if moved == 0:
        return
    height, width = picture.shape[:2]
    reach = round(_AROUND * max(region.height, region.width))
    wide = geometry.Region(
        max(region.left - reach, 0),
        max(region.top - reach, 0),
        min(region.right + reach, width),
        min(region.bottom + reach, height),
    )
    free = torch.ones(wide.height, wide.width, dtype=torch.bool, device=weight.device)
    top, left = region.top - wide.top, region.left - wide.left
    free[top : top + region.height, left : left + region.width] = weight == 0
    light = quiets.light(picture[region.slices()], inside)
    around = grains.spectrum(picture[wide.slices()], free, light)
    if around is None:
        return
    face = grains.compared(picture[region.slices()], blended.permute(1, 2, 0), inside)
    if face is None:
        return
    roots = grains.lacking(around, *face, settings.grain)
    if roots is None:
        return
    # Where original and restored skin mix, so that both grains together are as strong as one.
    share = ((2 - weight).mul_(weight)).sqrt_().mul_(min(moved / _CHANGED, 1.0))
    tile = grains.tile(roots, settings.seed + frame)
    grains.add(blended, tile, share)
