"""Blend node: the restored crops back into their pictures."""

from __future__ import annotations

from ..stages import provenance
from ..stages.batch import check
from ..stages.blend import blend
from ..stages.colour import METHODS, TONES
from ..stages.faces import Faces
from ..stages.masks import PARTS, SHAPES
from ..stages.seams import JOINS
from ..stages.sharpness import MODES
from ._api import ADVANCED, CATEGORY, FacesType, Schema, io, licence_filter, wired
from .choices import parsers
from .host import ComfyHost, painted, to_intermediate
from .metadata import keep, told
from .ui import compare, picture_pairs


class Blend(io.ComfyNode):
    """Schema and a call down to `stages.blend.blend`."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """What the node shows."""
        return Schema(
            node_id="KintsugiBlend",
            display_name="Blend Faces Back",
            category=CATEGORY,
            description=(
                "Puts restored face crops back where they came from. Every pixel whose mask is 0 "
                "stays exactly as it was, alpha included."
            ),
            search_aliases=["paste face", "face composite", "uncrop", "stitch face", "kintsugi"],
            inputs=[
                io.Image.Input("image", tooltip="The pictures the faces were found in."),
                io.Image.Input(
                    "crops",
                    lazy=True,
                    tooltip=(
                        "The crops, one for each face, restored or changed by any other node. "
                        "They may have another size than they were cut at. Nothing before this "
                        "input runs when there is no face or the opacity is 0."
                    ),
                ),
                FacesType.Input(
                    "faces",
                    lazy=True,
                    tooltip=(
                        "The faces from Align Faces or a later node: they know where each crop "
                        "goes. Those of Restore Faces and Guard Identity also know what was done, "
                        "which the saved picture then tells."
                    ),
                ),
                io.Float.Input(
                    "opacity",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip=(
                        "How much of the crop shows. Less keeps more of the original skin and "
                        "grain but also its damage. 0 leaves the pictures as they are and runs no "
                        "restorer."
                    ),
                ),
                io.Float.Input(
                    "feather",
                    default=0.3,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip=(
                        "Width of the soft edge as a share of the face's radius, the same for "
                        "small and large faces. More hides the seam, less restores more of the "
                        "cheeks and the chin."
                    ),
                ),
                io.Combo.Input(
                    "colour",
                    options=list(METHODS),
                    default="match",
                    tooltip=(
                        "How the face keeps the tones it had. match: mean and contrast, right for "
                        "most pictures. covariance: the balance of colours as well, for casts. "
                        "wavelet: everything but detail, closest to the original. none: the "
                        "crop's own tones, for crops that were meant to change colour."
                    ),
                    **ADVANCED,
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    lazy=True,
                    tooltip=(
                        "Faces change only where this mask of the picture is white. Use it to "
                        "keep a hand, a microphone or a tattoo as it is."
                    ),
                ),
                io.Image.Input(
                    "upscaled",
                    optional=True,
                    tooltip=(
                        "The same pictures made larger by any node, by any factor. The faces are "
                        "put into these instead, at their size."
                    ),
                ),
                io.Mask.Input(
                    "damage",
                    optional=True,
                    lazy=True,
                    tooltip=(
                        "White on scratches and holes of an old photo, such as the damage mask of "
                        "Estimate Face Damage. They are filled from their surroundings first, and "
                        "the mask that comes out holds them too. A hole that took an eye or a "
                        "mouth needs an inpainting model instead."
                    ),
                ),
                io.Float.Input(
                    "grain",
                    default=1.0,
                    min=0.0,
                    max=2.0,
                    step=0.1,
                    optional=True,
                    tooltip=(
                        "How much of the grain around a face is given back where the restorer "
                        "wiped it off. 1 matches it; noise too strong to be grain is left out, "
                        "above 1 it is matched as well. 0 adds none."
                    ),
                ),
                io.Combo.Input(
                    "sharpness",
                    options=list(MODES),
                    default="match",
                    optional=True,
                    tooltip=(
                        "match: as sharp as what surrounds the face, never softer than it was. "
                        "as is: what the restorer gave. more: sharpened, which also shows its "
                        "mistakes."
                    ),
                    **ADVANCED,
                ),
                io.Combo.Input(
                    "shape",
                    options=list(SHAPES),
                    default="oval",
                    optional=True,
                    tooltip=(
                        "What bounds a face. oval: fits all. hull: its landmarks, if Align Faces "
                        "was given a landmark model. parsed: the parts named below, seen by a "
                        "parser in the original and in the restored face, so that hands and hair "
                        "over it stay. all: only where the others agree."
                    ),
                    **ADVANCED,
                ),
                io.String.Input(
                    "parts",
                    default=", ".join(PARTS),
                    optional=True,
                    tooltip=(
                        "What a parsed mask holds: skin, brows, eyes, nose, lips, ears, glasses, "
                        "hair, hat, neck, cloth. What is not named is left as it was."
                    ),
                    **ADVANCED,
                ),
                io.Combo.Input(
                    "parser",
                    options=parsers(),
                    default="auto",
                    optional=True,
                    tooltip=(
                        "Who tells skin from hair for parsed masks. auto: the first that is on "
                        "disk, the oval if there is none. A name downloads that parser once."
                    ),
                    **ADVANCED,
                ),
                io.Combo.Input(
                    "join",
                    options=list(JOINS),
                    default="multi-band",
                    optional=True,
                    tooltip=(
                        "multi-band: tones fade widely and detail at once, the least visible. "
                        "feather: everything fades alike, the cheapest. gradient: keeps the "
                        "picture's light at the rim, for hard shadows across a face."
                    ),
                    **ADVANCED,
                ),
                io.Combo.Input(
                    "tone",
                    options=list(TONES),
                    default="keep",
                    optional=True,
                    tooltip=(
                        "For grey and sepia pictures. keep: the face gets the picture's one tone. "
                        "neutral: the face becomes grey. free: the colours of the crop, for "
                        "models that colourise (with the colour setting none)."
                    ),
                    **ADVANCED,
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=2**32 - 1,
                    optional=True,
                    control_after_generate=False,
                    tooltip="Fixes the grain that is added: the same seed gives the same grain.",
                    **ADVANCED,
                ),
                licence_filter(),
            ],
            outputs=[
                io.Image.Output(
                    display_name="image",
                    tooltip="The pictures with their faces replaced; as many as went in.",
                ),
                io.Mask.Output(
                    display_name="mask",
                    tooltip=(
                        "How much of each pixel was replaced. Where it is 0 the picture is "
                        "untouched, bit for bit."
                    ),
                ),
                io.String.Output(
                    display_name="report",
                    tooltip="What was done, and what to look at: one line each.",
                ),
            ],
            hidden=[io.Hidden.unique_id, io.Hidden.extra_pnginfo],
        )

    @classmethod
    def check_lazy_status(cls, opacity, faces=None, crops=None, **others) -> list[str]:
        """Ask for the faces and the masks, and then for the crops, only if they will show."""
        if opacity == 0:
            return []
        masks = [name for name in ("mask", "damage") if name in others and others[name] is None]
        if faces is None:
            return ["faces", *masks]
        wired(faces)
        return masks + (["crops"] if crops is None and len(faces) else [])

    @classmethod
    def execute(
        cls,
        image,
        opacity,
        faces=None,
        crops=None,
        upscaled=None,
        parts="",
        mask=None,
        damage=None,
        **settings,
    ) -> io.NodeOutput:
        """Blend; the pictures keep their dtype so that untouched pixels stay equal."""
        notes: list[str] = []
        image = check(image)
        faces = Faces((), *image.shape[:3]) if faces is None else wired(faces)
        named = tuple(part.strip().lower() for part in parts.split(",") if part.strip())
        result, covered = blend(
            image,
            crops,
            faces,
            opacity=opacity,
            upscaled=upscaled,
            parts=named or PARTS,
            mask=painted(mask),
            damage=painted(damage, "damage"),
            notes=notes,
            host=ComfyHost(),
            **settings,
        )
        shown = provenance.shown(faces, covered)
        keep(cls, shown)
        report = told(shown, notes)
        count = len(faces) + len({face.frame for face in faces})  # near by, and whole pictures
        ui = compare(picture_pairs(image, result, faces), report.partition("\n")[0], count)
        return io.NodeOutput(
            to_intermediate(result, result.dtype), to_intermediate(covered), report, ui=ui
        )
