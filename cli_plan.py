"""Which photos a command line names, and which files each of them becomes."""

from __future__ import annotations

import argparse
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
    single = len(args.inputs) == 1 and not args.inputs[0].is_dir()
    to_file = single and output.suffix.lower() in pictures.FORMATS and not output.is_dir()
    for given in args.inputs:
        if given.is_dir():
            inside = _photos(given, output, args.recursive)
            if not inside:
                complaints.append(f"{given}: has no photo in it (JPEG, PNG, WebP, TIFF)")
            found += [(photo, output / photo.relative_to(given)) for photo in inside]
        elif given.exists():
            found.append((given, output if to_file else output / given.name))
        else:
            complaints.append(f"{given}: there is no such file or folder")
    found = list({photo.resolve(): (photo, result) for photo, result in found}.values())
    jobs, inputs, taken = [], {photo.resolve() for photo, _ in found}, set()
    for photo, result in found:
        comparison = result.with_name(f"{result.stem}.compare{_sheet_ending(result)}")
        report = result.with_name(f"{result.stem}.report.json")
        job = Job(
            photo, result, comparison if args.compare else None, report if args.report else None
        )
        places = {path.resolve() for path in job.files}
        if places & inputs or any(_same(path, photo) for path in job.files):
            complaints.append(f"{photo}: its result would replace an input; choose another -o")
        elif places & taken:
            complaints.append(f"{photo}: another input has the same result {result}; rename one")
        else:
            taken |= places
            jobs.append(job)
    return jobs, complaints


def _photos(folder: Path, output: Path, recursive: bool) -> list[Path]:
    own = output.resolve()
    return sorted(
        path
        for path in (folder.rglob("*") if recursive else folder.iterdir())
        if path.suffix.lower() in pictures.FORMATS
        and not path.name.startswith(".")
        and path.is_file()
        and (own == folder.resolve() or own not in path.resolve().parents)
    )


def _sheet_ending(result: Path) -> str:
    return ".jpg" if result.suffix.lower() in (".jpg", ".jpeg") else ".png"


def _same(path: Path, photo: Path) -> bool:
    return path.exists() and path.samefile(photo)
