"""`kintsugi PHOTO|FOLDER... -o OUT`: one photo after the other through the stages."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm import tqdm

from .cli_plan import Job, plan
from .cli_report import Mended, report, version
from .stages import compare, pictures
from .stages.blend import blend
from .stages.face_detect import detect
from .stages.face_order import ORDERS, parse_selection
from .stages.files import PictureError, save
from .stages.fill import missing
from .stages.finders import choose as choose_detector
from .stages.host import Host
from .stages.identity_guard import guard
from .stages.landmark_align import SIZES, align
from .stages.mark import marked
from .stages.provenance import after_restore, sentence
from .stages.restore import choose, restore

#: Side of a face crop, the bytes that all crops of one photo may take before it is halved (the
#: stages together take eight to nine times as much), and the least it is halved to.
CROP, CROP_BYTES, SMALLEST_CROP = 512, 1 << 29, 128


class UsageError(ValueError):
    """Settings that no photo can be restored with."""


class CommandHost(Host):
    """A host that shows how far a photo has come beside the progress bar."""

    bar: tqdm | None = None
    photo = ""

    def progress(self, done: int, total: int) -> None:
        """Show the step within the photo."""
        if self.bar is not None:
            self.bar.set_postfix_str(f"{self.photo} {done}/{total}", refresh=False)
            self.bar.update(0)


@dataclass(frozen=True)
class Done:
    """What came of a photo: a line for a person, the faces restored, the seconds it took."""

    line: str
    faces: int = 0
    seconds: float = 0.0


def make_host(device: str) -> CommandHost:
    """A host on the device of that name; "auto" is CUDA if there is any, else the CPU.

    Raises:
        UsageError: there is no such device here.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"--device {device} cannot be used here ({reason}); try cpu") from error
    return CommandHost(device)


def mend(image: Tensor, args: argparse.Namespace, host: Host) -> Mended:
    """Detect, align, restore and blend one picture (1, H, W, 3)."""
    seconds, start = {}, time.perf_counter()

    def lap(stage: str) -> None:
        nonlocal start
        now = time.perf_counter()
        seconds[stage], start = round(now - start, 4), now

    faces = detect(
        image,
        detector=args.detector,
        confidence=args.confidence,
        min_size=args.min_size,
        max_size=args.max_size,
        count=args.count,
        order=_order(args),
        selection=args.select,
        host=host,
    )
    lap("detect")
    crops, faces = align(image, faces, size=args.size or crop_size(len(faces)), host=host)
    lap("align")
    restored = restore(
        crops,
        model=args.model,
        fidelity=args.fidelity,
        strength=args.strength,
        seed=args.seed,
        steps=args.steps or None,
        commercial_only=args.commercial_only,
        colourise=args.colourise,
        faces=faces,
        host=host,
    )
    lap("restore")
    # A crop that was left as it is would still be resampled on its way back.
    worked = [index for index, plan in enumerate(restored.plans) if plan.works]
    faces = after_restore(faces, restored, host)
    mended, after = faces.with_faces(faces[index] for index in worked), restored.crops[worked]
    guarded = None
    if args.guard != "off" and worked:
        guarded = guard(
            crops[worked],
            after,
            references=[pictures.read(path).tensor() for path in args.reference] or None,
            threshold=args.threshold,
            action=args.guard.replace("-", " "),
            faces=mended,
            commercial_only=args.commercial_only,
            host=host,
        )
        mended, after = guarded.faces, guarded.crops
        known = dict(zip(worked, mended, strict=True))
        faces = faces.with_faces(known.get(index, face) for index, face in enumerate(faces))
        lap("guard")
        # Originals that the guard put back need not go through the blend either.
        going = [row for row, source in enumerate(guarded.source) if source >= 0]
        mended, after = mended.with_faces(mended[row] for row in going), after[going]
    notes: list[str] = []
    # Scratches and holes that were filled in a crop do not end where its face does.
    plans = dict(zip((face.id for face in faces), restored.plans, strict=True))
    holes = missing(mended.with_faces(face for face in mended if plans[face.id].fills))
    result, mask = image, torch.zeros(image.shape[:3])
    damage = holes if bool(holes.any()) else None
    # Matched to the tones that it had, a coloured face would be grey again.
    coloured = [bool(plans[face.id].colorizer) for face in mended]
    for mine, colour in ((False, args.colour), (True, "none")):
        rows = [row for row, one in enumerate(coloured) if one == mine]
        if not rows and damage is None:
            continue
        result, part = blend(
            result,
            after[rows],
            mended.with_faces(mended[row] for row in rows),
            colour=colour,
            damage=damage,
            seed=args.seed,
            notes=notes,
            host=host,
        )
        mask, damage = torch.maximum(mask, part), None
    lap("blend")
    return Mended(result, mask, faces, restored, seconds, guarded, tuple(notes))


def crop_size(count: int) -> int:
    """Side of the crops so that those of `count` faces fit into memory together."""
    size = CROP
    while size > SMALLEST_CROP and count * size * size * 12 > CROP_BYTES:
        size //= 2
    return size


def run_photos(args: argparse.Namespace) -> int:
    """Restore all photos; errors are told one by one and do not stop the others.

    Raises:
        UsageError: settings that no photo can be restored with.
    """
    host = make_host(args.device)
    try:
        if _order(args) not in ORDERS:
            known = ", ".join(order.replace(" ", "-") for order in ORDERS)
            raise UsageError(f"--order {args.order}: choose one of {known}")
        if args.size and not SIZES[0] <= args.size <= SIZES[1]:
            raise UsageError(f"--size {args.size}: choose {SIZES[0]} to {SIZES[1]}, or 0")
        if args.max_size and args.min_size > args.max_size:
            raise UsageError(f"--min-size {args.min_size} is above --max-size {args.max_size}")
        if args.output.suffix.lower() in pictures.UNREAD and not os.path.isdir(args.output):
            known = ", ".join(pictures.FORMATS)
            raise UsageError(f"-o {args.output}: no such files are written; choose one of {known}")
        parse_selection(args.select)
        choose_detector(args.detector)
        if choose(args.model, args.commercial_only, host.library).kind == "inpainter":
            raise UsageError(
                f"--model {args.model} fills what a mask names, and the command line takes none; "
                "choose auto, which finds and fills what is missing"
            )
        for path in args.reference:
            pictures.read(path)
    except (ValueError, RuntimeError, PictureError) as error:
        raise UsageError(str(error)) from error
    jobs, complaints = plan(args)
    for complaint in complaints:
        _tell(complaint)
    failed = len(complaints)
    with tqdm(total=len(jobs), unit="photo", disable=None) as host.bar:
        for job in jobs:
            host.photo = job.source.name
            try:
                _tell(do(job, args, host).line)
            except PictureError as error:
                failed += 1
                _tell(str(error))
            except Exception as error:  # whatever happens to one photo, the others go on
                failed += 1
                what = str(error) or type(error).__name__
                _tell(f"{job.source}: could not be restored: {what}")
            host.bar.update()
    return 1 if failed else 0


def _order(args: argparse.Namespace) -> str:
    return args.order.replace("-", " ")


def _tell(line: str) -> None:
    tqdm.write(f"kintsugi: {line}", file=sys.stderr)


def do(job: Job, args: argparse.Namespace, host: Host) -> Done:
    """Restore one photo and write its files.

    What exists stays. A comparison or report that is missing beside its result, for want of space
    or because nobody asked for it before, is made if the photo comes out the same again.

    Raises:
        PictureError: the photo cannot be read or a file cannot be written.
    """
    present = [path for path in job.files if os.path.exists(path)]
    complete = len(present) == len(job.files) or job.result not in present
    if present and complete and not args.overwrite:
        return Done(f"{job.source}: left alone, {present[0]} exists (--overwrite replaces it)")
    wanted = [path for path in job.files if args.overwrite or path not in present]
    photo = pictures.read(job.source)
    before = photo.tensor()
    mended = mend(before, args, host)
    try:
        job.result.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PictureError(
            f"{job.result}: its folder cannot be made: {error.strerror}; choose another -o"
        ) from error
    unchanged = not bool((mended.mask > 0).any())
    kind = pictures.format_of(job.result, photo)
    if unchanged and kind == photo.format:
        data = job.source.read_bytes()
    else:
        what = sentence(mended.faces)
        told = photo if unchanged else marked(photo, what, f"kintsugi-faces {version()}", kind)
        data = pictures.encoded(job.result, told, mended.image, mended.mask)
    if job.result in wanted:
        save(job.result, data)
    elif job.result.read_bytes() != data:
        return Done(
            f"{job.source}: left alone, {job.result} exists and was made otherwise: "
            f"{wanted[0].name} would show another picture (--overwrite replaces all)"
        )
    if job.compare in wanted:
        compare.write(job.compare, before, mended.image, mended.faces)
    if job.report in wanted:
        text = json.dumps(report(job, mended), indent=1, ensure_ascii=False)
        # A name that is no Unicode is told with escapes, which JSON reads back.
        save(job.report, (text + "\n").encode("utf-8", "backslashreplace"))
    if job.result not in wanted:
        added = " and ".join(path.name for path in wanted)
        return Done(f"{job.source}: {job.result} is there already, {added} added")
    line = f"{mended.summary} -> {job.result}"
    if not len(mended.faces):
        limits = {"--select": args.select, "--min-size": args.min_size, "--max-size": args.max_size}
        named = " and ".join(limit for limit, value in limits.items() if value)
        remedy = f"do without {named}, or try" if named else "try"
        line = f"no face found, copied unchanged ({remedy} a lower --confidence)"
    elif unchanged:
        line = f"{mended.summary}, copied"
    elif photo.colours == 1 and any(plan.colorizer for plan in mended.restored.plans):
        line += " (a grey file, which holds no colours: save the photo as RGB and restore it anew)"
    return Done(f"{job.source}: {line}", len(mended.faces), sum(mended.seconds.values()))
