"""`kintsugi demo`: a sample photo through all stages with what is built in; no network."""

from __future__ import annotations

import argparse
import io
import sys
from pathlib import Path


def add_demo_command(subparsers) -> argparse.ArgumentParser:
    """Add the sub-command `demo` to what `ArgumentParser.add_subparsers` returned."""
    from .cli import a_seed

    parser = subparsers.add_parser(
        "demo",
        help="restore a sample photo with the built-in models",
        description="Makes a damaged album page of public-domain portraits and restores it with "
        "the built-in models. Files of an earlier demo in the folder are replaced.",
    )
    parser.add_argument("-o", "--output", type=Path, default=Path("demo"), help="folder (demo)")
    parser.add_argument("--seed", type=a_seed, default=0, help="of the damage")
    parser.set_defaults(run=run_demo)
    return parser


def run_demo(args: argparse.Namespace) -> int:
    """Write the photo, its restoration and both side by side; the exit status."""
    from . import samples
    from .cli import photo_parser
    from .cli_photos import CommandHost, do
    from .cli_plan import Job
    from .models import zoo
    from .stages.files import PictureError, save

    folder = args.output
    job = Job(
        source=folder / "photo.png",
        result=folder / "restored.png",
        compare=folder / "before_after.jpg",
        report=folder / "report.json",
    )
    options = ["--overwrite", "-o", str(folder), str(job.source)]
    settings = photo_parser().parse_args(options)
    try:
        file = io.BytesIO()
        samples.album(seed=args.seed).save(file, "PNG")
        folder.mkdir(parents=True, exist_ok=True)
        save(job.source, file.getvalue())
        # No folder of weights: what shows is what anybody gets.
        done = do(job, settings, CommandHost("cpu", zoo.Library({})))
    except (PictureError, samples.SamplesMissingError, OSError) as error:
        sys.stderr.write(f"kintsugi: {error}\n")
        return 1
    sys.stdout.write(
        f"{done.line}\n"
        f"{done.faces} faces in {done.seconds:.1f} s\n"
        f"photo         {job.source}\n"
        f"restored      {job.result}\n"
        f"before/after  {job.compare}\n"
        f"report        {job.report}\n"
    )
    return 0 if done.faces else 1
