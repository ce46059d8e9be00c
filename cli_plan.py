"""Which photos a command line names, and which files each of them becomes."""

from __future__ import annotations

import argparse
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from .stages import pictures


@dataclass(frozen=True)
class Job:
    """A photo and what is to be written for it."""

    source: Path
    result: Path
    compare: Path | None
    report: Path | None

    @property
    def files(self) -> tuple[Path, ...]:
        """Everything that will be written."""
        return tuple(path for path in (self.result, self.compare, self.report) if path)


def plan(args: argparse.Namespace) -> tuple[list[Job], list[str]]:
    """What to do, in order, and one line for each input that cannot be done."""
    output, complaints, found = args.output, [], []
    # os.path answers for loops of links and for names that are too long, pathlib raises.
    single = len(args.inputs) == 1 and not os.path.isdir(args.inputs[0])
    to_file = single and output.suffix.lower() in pictures.FORMATS and not os.path.isdir(output)
    for given in args.inputs:
        if os.path.isdir(given):
            inside, left_out = _photos(given, output, args.recursive)
            complaints += left_out
            if not inside and not left_out:
                complaints.append(f"{given}: has no photo in it (JPEG, PNG, WebP, TIFF)")
            found += [(photo, output / photo.relative_to(given)) for photo in inside]
        elif os.path.isfile(given):
            found.append((given, output if to_file else output / given.name))
        elif os.path.exists(given):
            complaints.append(f"{given}: is neither a file nor a folder; save it as a file first")
        else:
            complaints.append(f"{given}: there is no such file or folder")
    # Named twice it is one photo still; linked into two folders it has a result in each.
    found = list({tuple(map(os.path.realpath, pair)): pair for pair in found}.values())
    stems = Counter(result.with_suffix("") for _, result in found)
    jobs, inputs, taken = [], {os.path.realpath(photo) for photo, _ in found}, set()
    for photo, result in found:
        comparison, report = _beside(result, stems[result.with_suffix("")] > 1)
        job = Job(
            photo, result, comparison if args.compare else None, report if args.report else None
        )
        places = {os.path.realpath(path) for path in job.files}
        if places & inputs or any(_same(path, photo) for path in job.files):
            complaints.append(f"{photo}: its result would replace an input; choose another -o")
        elif places & taken:
            complaints.append(f"{photo}: another input has the same result {result}; rename one")
        else:
            taken |= places
            jobs.append(job)
    return jobs, complaints


def _photos(folder: Path, output: Path, recursive: bool) -> tuple[list[Path], list[str]]:
    """The photos in a folder, but for results of earlier runs; a line for each closed folder, and
    one for photos that cannot be read."""
    own, left_out, photos = Path(os.path.realpath(output)), [], []

    def tell(error: OSError) -> None:
        left_out.append(f"{error.filename}: cannot be looked into: {error.strerror}; left out")

    for where, folders, names in os.walk(folder, onerror=tell):
        if not recursive:
            folders.clear()
        photos += [Path(where, name) for name in names if not name.startswith(".")]
    endings = (path.suffix.lower() for path in photos)
    unread = Counter(ending for ending in endings if ending in pictures.UNREAD)
    if unread:
        counts = ", ".join(f"{count} {ending}" for ending, count in sorted(unread.items()))
        left_out.append(f"{folder}: {counts} left out; save them as JPEG, PNG, WebP or TIFF first")
    return sorted(
        path
        for path in photos
        if path.suffix.lower() in pictures.FORMATS
        and os.path.isfile(path)
        and (
            own == Path(os.path.realpath(folder)) or own not in Path(os.path.realpath(path)).parents
        )
    ), left_out


def _beside(result: Path, rivals: bool) -> tuple[Path, Path]:
    """The comparison and the report of a result. Of a.jpg and a.tif, each needs its own, also where
    one was restored on another day."""
    sheet = ".jpg" if pictures.FORMATS.get(result.suffix.lower()) == "JPEG" else ".png"

    def named(name: str) -> tuple[Path, Path]:
        return result.with_name(f"{name}.compare{sheet}"), result.with_name(f"{name}.report.json")

    short, long = named(result.stem), named(result.name)
    another = any(map(os.path.exists, short)) and not os.path.exists(result)
    return long if rivals or another or any(map(os.path.exists, long)) else short


def _same(path: Path, photo: Path) -> bool:
    return os.path.exists(path) and path.samefile(photo)
