"""Restore node: aligned faces rebuilt by one restorer, or each by what suits its damage."""

from __future__ import annotations

from ..stages.batch import check_crops
from ..stages.provenance import after_restore
from ..stages.restore import restore
from ._api import ADVANCED, CATEGORY, NO_FACES, FacesType, Schema, io, licence_filter, wired
from .choices import restorers
from .host import ComfyHost, to_intermediate
from .ui import compare, crop_pairs


class Restore(io.ComfyNode):
    """Schema and a call down to `stages.restore.restore`."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """What the node shows; the menu is drawn from tables and folders, never from the net."""
        return Schema(
            node_id="KintsugiRestore",
            display_name="Restore Faces",
            category=CATEGORY,
            description=(
                "Rebuilds damaged, blurred or tiny faces. With the model auto each face is "
                "treated by its damage, and a face that is fine stays as it is. Works on the crops "
                "of Align Faces; put the result back with Blend Faces Back."
            ),
            search_aliases=[
                "face restore",
                "face restoration",
                "fix face",
                "face detailer",
                "face enhance",
                "GFPGAN",
                "CodeFormer",
                "RestoreFormer",
                "kintsugi",
            ],
            inputs=[
                io.Image.Input("crops", tooltip="Aligned faces from Align Faces, of any size."),
                FacesType.Input(
                    "faces",
                    optional=True,
                    tooltip=(
                        "The faces from Align Faces or Estimate Face Damage. With them wired, a "
                        "picture without a face costs nothing here, and auto acts on what was "
                        "found instead of measuring again."
                    ),
                ),
                io.Mask.Input(
                    "missing",
                    optional=True,
                    tooltip=(
                        "White where a crop has no content. CodeFormer's inpainting makes up the "
                        "face there; auto without that model on disk fills it from its "
                        "surroundings. It lies on the crops, not on the picture; a mask of "
                        "the picture becomes one by going through Align Faces as an image."
                    ),
                ),
                io.Combo.Input(
                    "model",
                    options=restorers(),
                    default="auto",
                    tooltip=(
                        "Who rebuilds the faces. auto measures the damage of each face, leaves "
                        "fine ones alone and gives the others to what suits them of the models "
                        "already on disk; it never downloads. Any other one does all faces and is "
                        "downloaded once when it is first used, unless its file already lies in "
                        "models/facerestore_models."
                    ),
                ),
                io.Float.Input(
                    "fidelity",
                    default=0.5,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip=(
                        "Low invents more detail and looks sharper, high stays closer to the "
                        "person and to the damage. With auto 0.5 is what suits each face; less and "
                        "more lean from it."
                    ),
                ),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip=(
                        "Mixes the restored face with the original one. Below 1 keeps some of "
                        "the real skin and grain; 0 runs no model at all."
                    ),
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=2**64 - 1,
                    control_after_generate=False,
                    tooltip=(
                        "Fixes the noise of models that draw some: the same seed gives the same "
                        "face, bit for bit. Other models ignore it."
                    ),
                    **ADVANCED,
                ),
                io.Int.Input(
                    "steps",
                    default=0,
                    min=0,
                    max=100,
                    tooltip=(
                        "Passes of models that work in several (PMRF, ELIR): more is slower and "
                        "finer. 0: as many as their authors take. Other models ignore it."
                    ),
                    **ADVANCED,
                ),
                licence_filter(optional=False),
                io.Boolean.Input(
                    "colourise",
                    default=False,
                    optional=True,
                    label_on="colour grey faces",
                    label_off="keep grey and brown",
                    tooltip=(
                        "Lets auto turn grey and brown faces to colour, if a model for it is on "
                        "disk. The colours are a guess; set colour of Blend Faces Back to none so "
                        "that they stay."
                    ),
                    **ADVANCED,
                ),
            ],
            outputs=[
                io.Image.Output(
                    display_name="crops",
                    tooltip="The restored faces, as many and as large as went in.",
                ),
                io.String.Output(
                    display_name="report",
                    tooltip=(
                        "What was done: one line on all faces and, with auto, one on each face "
                        "with its damage, the model and the reason."
                    ),
                ),
                FacesType.Output(
                    display_name="faces",
                    tooltip=(
                        "The faces that were wired with what was done to each, for Guard Identity "
                        "and Blend Faces Back; none if none were wired."
                    ),
                ),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        crops,
        model,
        fidelity,
        strength,
        seed,
        steps,
        commercial_only,
        colourise=False,
        faces=None,
        missing=None,
    ) -> io.NodeOutput:
        """Restore; the stand-in crop of a picture without a face goes through as it is."""
        crops = check_crops(crops)
        given = crops if faces is None or len(wired(faces)) else crops[:0]
        host = ComfyHost()
        restored = restore(
            given,
            model=model,
            fidelity=fidelity,
            strength=strength,
            seed=seed,
            steps=steps or None,
            missing=missing,
            commercial_only=commercial_only,
            colourise=colourise,
            faces=faces,
            host=host,
        )
        result = restored.crops if len(restored.crops) else crops
        pairs = crop_pairs(given, restored.crops, faces, restored.reasons, restored.degradations)
        ui = compare(pairs, restored.summary, len(given))
        known = NO_FACES if faces is None else after_restore(faces, restored, host)
        return io.NodeOutput(to_intermediate(result), restored.report, known, ui=ui)
