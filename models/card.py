"""What is known of one model before its file is opened: a frozen table entry and its rules."""

from __future__ import annotations

from dataclasses import dataclass

KINDS = frozenset(
    {
        "detector",
        "landmarks",
        "restorer",
        "inpainter",
        "colorizer",
        "parser",
        "embedder",
        "estimator",
    }
)

#: How a network wants its pixels. RGB unless the name says BGR; "-1..1", "0..1", "0..255" and
#: "imagenet" are RGB, "bgr-mean" is BGR 0..255 minus (104, 117, 123).
RANGES = frozenset({"-1..1", "0..1", "0..255", "imagenet", "bgr-mean", "bgr-255", "bgr-0..1"})

#: How a crop is cut: five-point templates by name, "box" for the enlarged square box, None for
#: networks that see the whole picture.
TEMPLATES = frozenset({"ffhq", "arcface112", "box", None})

CONTROLS = frozenset({"fidelity", "seed", "steps"})

COMMERCIAL = frozenset({"yes", "no", "unclear"})

#: ComfyUI model categories: the first two are those other packs use for the same files.
FOLDERS = frozenset({"facerestore_models", "facedetection", "kintsugi"})


@dataclass(frozen=True)
class Source:
    """A file on the Hub, pinned to a commit.

    repo: "owner/name".
    file: path inside the repository, "/" between folders.
    revision: the full commit, 40 hexadecimal digits.
    repo_type: "model", "dataset" or "space".
    """

    repo: str
    file: str
    revision: str
    repo_type: str = "model"

    def __post_init__(self):
        if len(self.revision) != 40 or not set(self.revision) <= set("0123456789abcdef"):
            raise ValueError(f"revision of {self.repo} is {self.revision!r}, not a full commit")
        if self.repo_type not in ("model", "dataset", "space"):
            raise ValueError(f"repo_type {self.repo_type!r}; choose model, dataset or space")


@dataclass(frozen=True)
class ModelCard:
    """One entry of the zoo.

    name: stable id, lower-case; what widgets, workflows and the command line store.
    title: as its authors call it.
    kind: one of KINDS.
    architecture: the `Architecture.name` its file must turn out to be, or "onnx".
    file: name on disk; for built-in models the file in `models/weights`.
    folder: ComfyUI model category the file lies in; None for built-in models.
    template, crop: how the crop is cut (TEMPLATES) and its side in pixels; None where the network
        takes whole pictures.
    pixels: what the network is fed, one of RANGES.
    dtypes: dtypes that give the published result, the widest first.
    memory: peak memory per face (per megapixel for detectors) above the weights, MB, float32; an
        estimate that sizes batches.
    controls: which of CONTROLS change the result; `fidelity` says what that one means here.
    code_license, weights_license: as published.
    commercial: "yes", "no" or "unclear", and in `reason` why, in one line.
    sources: pinned Hub files, tried in order; none means the file is placed by hand.
    page: where a person finds the file.
    sha256, size: of the file, where public; size in bytes.
    aliases: file names under which other packs keep the same bytes.
    """

    name: str
    title: str
    kind: str
    architecture: str
    file: str
    pixels: str
    code_license: str
    weights_license: str
    commercial: str
    reason: str
    page: str
    folder: str | None = None
    template: str | None = None
    crop: int | None = None
    dtypes: tuple[str, ...] = ("float32",)
    memory: int = 100
    controls: frozenset[str] = frozenset()
    fidelity: str = ""
    sources: tuple[Source, ...] = ()
    sha256: str | None = None
    size: int | None = None
    aliases: tuple[str, ...] = ()

    def __post_init__(self):
        checks = (
            (self.kind in KINDS, "kind", self.kind, KINDS),
            (self.pixels in RANGES, "pixels", self.pixels, RANGES),
            (self.template in TEMPLATES, "template", self.template, TEMPLATES),
            (self.controls <= CONTROLS, "controls", self.controls, CONTROLS),
            (self.folder is None or self.folder in FOLDERS, "folder", self.folder, FOLDERS),
            (self.commercial in COMMERCIAL, "commercial", self.commercial, COMMERCIAL),
            ("/" not in self.file and "\\" not in self.file, "file", self.file, "plain names"),
        )
        for good, field, value, choices in checks:
            if not good:
                raise ValueError(f"card {self.name}: {field} is {value!r}; choose from {choices}")
        if bool(self.fidelity) != ("fidelity" in self.controls):
            raise ValueError(f"card {self.name}: fidelity is a control or it has no meaning")

    @property
    def builtin(self) -> bool:
        """Whether the file is part of the package."""
        return self.folder is None

    @property
    def names(self) -> tuple[str, ...]:
        """Every file name this model may have on disk, ours first."""
        return (self.file, *self.aliases)
