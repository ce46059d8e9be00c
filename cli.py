"""The command `kintsugi`: restore photos, show a demo, look after models; no ComfyUI needed."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

#: `stages.colour.METHODS`, written out: --help has no time to load torch.
COLOURS = ("match", "none", "covariance", "wavelet")

#: The largest that torch and the node take.
LARGEST_SEED = 2**64 - 1

EPILOG = """\
other commands:
  kintsugi demo -o DIR      restore a sample photo and show before and after
  kintsugi models --help    list, download, verify and remove models

exit status: 0 all done (results that exist already are left as they are and count as done),
1 some photo could not be done, 2 wrong usage, 130 stopped. A folder called "demo" or "models" is
named as ./demo or ./models.
"""


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not in 0 to 1")
    return value


def _whole(text: str) -> int:
    if not text.strip().lstrip("+-").isdecimal():
        raise argparse.ArgumentTypeError(f"{text} is not a whole number")
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text} is negative; 0 means no limit")
    return value


def a_seed(text: str) -> int:
    """The seed that an argument names; argparse tells the user what is wrong with another."""
    if not text.isdecimal() or int(text) > LARGEST_SEED:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number in 0 to {LARGEST_SEED}")
    return int(text)


def photo_parser() -> argparse.ArgumentParser:
    """The options of `kintsugi PHOTO|FOLDER... -o OUT`."""
    parser = argparse.ArgumentParser(
        prog="kintsugi",
        usage="kintsugi PHOTO|FOLDER... -o OUT [options]",
        description="Restore the faces in photos; every other pixel stays as it is.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("inputs", metavar="PHOTO|FOLDER", nargs="+", type=Path, help="JPEG, PNG, WebP, TIFF")
    add("-o", "--output", metavar="OUT", type=Path, required=True, help="folder, or file for one")
    add("-r", "--recursive", action="store_true", help="folders with all that is in them")
    add("--overwrite", action="store_true", help="replace results that exist already")
    add("--compare", action="store_true", help="also write NAME.compare: before and after")
    add("--report", action="store_true", help="also write NAME.report.json: what was done")
    add("--device", default="auto", help="auto (cuda if there is one), cpu, cuda, cuda:1, mps")

    restorer = parser.add_argument_group("restoration")
    add = restorer.add_argument
    add(
        "--model",
        default="auto",
        help="a restorer of `kintsugi models`; auto: each face by its damage",
    )
    add("--fidelity", type=_share, default=0.5, help="0 most detail, 1 closest to the photo (0.5)")
    add("--strength", type=_share, default=1.0, help="0 leaves the faces as they are (1)")
    add("--seed", type=a_seed, default=0, help="of noise that models draw and of grain")
    add("--steps", type=_whole, default=0, help="for models that work in several; 0: their own")
    add("--size", type=_whole, default=0, help="side of face crops; 0: 512, less for crowds")
    add("--colour", choices=COLOURS, default="match", help="how the face keeps its tones (match)")
    add("--colourise", action="store_true", help="let auto colour grey faces, given a model for it")
    add("--commercial-only", action="store_true", help="refuse models not cleared for such use")

    guard = parser.add_argument_group("is it still the same person?")
    add = guard.add_argument
    actions = ("back-off", "report", "refuse", "off")
    add("--guard", choices=actions, default="back-off", help="if not (back-off: mix original in)")
    add("--threshold", type=_share, default=0.5, help="least probability that it is (0.5)")
    another = "another photo of the person; may be given several times"
    add("--reference", metavar="PHOTO", type=Path, action="append", default=[], help=another)

    which = parser.add_argument_group("which faces")
    add = which.add_argument
    add("--detector", default="auto", help="a detector of `kintsugi models`; auto: the built-in")
    add("--confidence", type=_share, default=0.5, help="how sure the detector must be (0.5)")
    smaller = "leave smaller faces out, in pixels; 0: 12, or a hundredth of the longer side"
    add("--min-size", type=_whole, default=0, help=smaller)
    add("--max-size", type=_whole, default=0, help="leave larger faces out, in pixels; 0: no limit")
    add("--count", type=_whole, default=0, help="at most so many, first in order; 0: all")
    orders = "largest (default), left-to-right, top-to-bottom, nearest-the-centre, confidence"
    add("--order", default="largest", help=f"what comes first: {orders}")
    add("--select", default="", help="numbers in that order, from 0, such as 0,2-4")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command line; the exit status."""
    argv = sys.argv[1:] if argv is None else argv
    try:
        if argv and argv[0] in ("demo", "models"):
            from .cli_demo import add_demo_command
            from .cli_models import add_models_command

            parser = argparse.ArgumentParser(prog="kintsugi")
            commands = parser.add_subparsers(required=True)
            add_demo_command(commands)
            add_models_command(commands)
            args = parser.parse_args(argv)
            return args.run(args)
        parser = photo_parser()
        args = parser.parse_args(argv)
        from .cli_photos import UsageError, run_photos

        try:
            return run_photos(args)
        except UsageError as error:
            parser.error(str(error))
    except KeyboardInterrupt:
        sys.stderr.write("kintsugi: stopped; what was finished stays, nothing is half-written\n")
        return 130


if __name__ == "__main__":
    sys.exit(main())
