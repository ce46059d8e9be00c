"""IdentityGuard node: is it still the same person, and what of the face was made up."""

from __future__ import annotations

from ..stages.batch import check_crops
from ..stages.findings_text import shortened
from ..stages.guard_strip import strips
from ..stages.identity_guard import ACTIONS, CHOOSING, THRESHOLD, guard
from ..stages.invented import on_pictures
from ._api import CATEGORY, FacesType, Schema, io, licence_filter, wired
from .choices import embedders
from .guard_view import nothing_shown, shown
from .host import ComfyHost, show_text, to_intermediate


class IdentityGuard(io.ComfyNode):
    """Schema and a call down to `stages.identity_guard.guard`."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """What the node shows; the menu is drawn from a table, never from the net."""
        return Schema(
            node_id="KintsugiIdentityGuard",
            display_name="Guard Identity",
            category=CATEGORY,
            description=(
                "Measures whether a restored face is still the same person and gives back as much "
                "of the original as it needs to be. Shows which detail was made up."
            ),
            search_aliases=[
                "identity",
                "same person",
                "face similarity",
                "likeness",
                "invented detail",
                "kintsugi",
            ],
            inputs=[
                io.Image.Input(
                    "before", tooltip="The crops from Align Faces, before the restoration."
                ),
                io.Image.Input("after", tooltip="The same crops, restored, in the same order."),
                FacesType.Input(
                    "faces",
                    tooltip=(
                        "The faces of these crops. Take those of Restore Faces, so that the report "
                        "and the saved picture can say which model did what."
                    ),
                ),
                io.Image.Input(
                    "references",
                    optional=True,
                    tooltip=(
                        "Other photos of the person, as many as you have. They decide where the "
                        "original is too damaged to be recognised."
                    ),
                ),
                io.Image.Input(
                    "candidate_1",
                    optional=True,
                    lazy=True,
                    tooltip=(
                        "A more faithful restoration of the same crops, taken where the first one "
                        "fails."
                    ),
                ),
                io.Image.Input(
                    "candidate_2",
                    optional=True,
                    lazy=True,
                    tooltip="A still more faithful one.",
                ),
                io.Image.Input(
                    "candidate_3", optional=True, lazy=True, tooltip="The most faithful one."
                ),
                io.Combo.Input(
                    "embedder",
                    options=embedders(),
                    default="auto",
                    tooltip=(
                        "Who compares the faces. auto takes the best one on disk and never "
                        "downloads. The threshold means the same for all of them."
                    ),
                ),
                io.Float.Input(
                    "threshold",
                    default=THRESHOLD,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip=(
                        "Least probability that it is the same person. Higher keeps closer to the "
                        "original, lower lets more restoration through."
                    ),
                ),
                io.Combo.Input(
                    "action",
                    options=list(ACTIONS),
                    default=ACTIONS[0],
                    tooltip=(
                        "For a face below the threshold. back off: the most restored mixture with "
                        "the original that is still the person. report: only measure. pick: the "
                        "best of all wired results for each face. refuse: the original."
                    ),
                ),
                licence_filter(
                    "Refuses embedders that are not clearly cleared for commercial use.",
                    optional=False,
                ),
            ],
            outputs=[
                io.Image.Output(
                    display_name="crops",
                    tooltip="The guarded faces, as many and as large as came in.",
                ),
                FacesType.Output(
                    display_name="faces",
                    tooltip="The same faces with what was measured, for Blend Faces Back.",
                ),
                io.Float.Output(
                    display_name="similarity",
                    tooltip=(
                        "Probability of the same person, of the least sure face; 1 without a face."
                    ),
                ),
                io.Mask.Output(
                    display_name="invented",
                    tooltip="For each crop: white where the original does not support the detail.",
                ),
                io.Mask.Output(
                    display_name="invented in picture",
                    tooltip="The same, laid over the pictures.",
                ),
                io.String.Output(
                    display_name="report",
                    tooltip="A line for each face: what was measured, by what, what was done.",
                ),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def check_lazy_status(cls, action, **others) -> list[str]:
        """Ask for the candidates only if one may be taken."""
        if action not in CHOOSING:
            return []
        names = [f"candidate_{number}" for number in (1, 2, 3)]
        return [name for name in names if name in others and others[name] is None]

    @classmethod
    def execute(
        cls,
        before,
        after,
        faces,
        embedder,
        threshold,
        action,
        commercial_only,
        references=None,
        candidate_1=None,
        candidate_2=None,
        candidate_3=None,
    ) -> io.NodeOutput:
        """Guard; the stand-in crop of a picture without a face goes through as it is."""
        before, after = check_crops(before, "before"), check_crops(after, "after")
        many = slice(None) if len(wired(faces)) else slice(0)
        candidates = [
            batch[many] for batch in (candidate_1, candidate_2, candidate_3) if batch is not None
        ]
        guarded = guard(
            before[many],
            after[many],
            references=references if len(faces) else None,
            threshold=threshold,
            action=action,
            faces=faces,
            candidates=candidates,
            embedder=embedder,
            commercial_only=commercial_only,
            host=ComfyHost(),
        )
        show_text(cls, shortened("\n".join(guarded.actions)) or guarded.summary)
        if not len(faces):
            blank = to_intermediate(after[..., 0] * 0)
            pictures = to_intermediate(on_pictures(blank[:0], faces))
            # Without a message the page would go on showing who was there before.
            return io.NodeOutput(
                to_intermediate(after),
                faces,
                1.0,
                blank,
                pictures,
                guarded.report,
                ui=nothing_shown(guarded),
            )
        known = guarded.faces or faces
        mask = guarded.invented.mask
        laid = on_pictures(mask, known) if len(known) == len(mask) else mask
        ui = shown(guarded, before, threshold, strips(before, after, guarded))
        return io.NodeOutput(
            to_intermediate(guarded.crops),
            known,
            float(guarded.probability_after.min()),
            to_intermediate(mask),
            to_intermediate(laid),
            guarded.report,
            ui=ui,
        )
