"""IdentityGuard: is the restored face still the same person, and if not, what then.

Three tests, each a probability; a face is as sure as the least sure test that means anything on it:

- `structure`: the large forms and colours of the result against the original at the sizes that any
  original still shows. It always counts; how it judges is told in `structure`.
- `original`: an embedder's similarity to the original, where the original shows enough of a person:
  resolved to READABLE px of 512 (guard_judge), not too severely damaged, not in profile.
- `references`: the same to other photos of the person, where the result is sharp enough to judge by
  and the original is not, and where the original was recognised and the result no longer is.

What was found missing from an original shows nobody: there, the result is compared with itself. The
dots of a print are taken out of an original first.

Limits: a result that keeps the large forms of an unreadable original and makes up the detail of
somebody else passes without references. Nobody can tell it then; `invented` shows how much of it is
made up. Embedders know some groups of people less well than others: benchmarks/results/identity.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..models import zoo
from ..models.onnx_network import RuntimeMissingError
from . import back_off, embedders, screen
from .batch import check_crops
from .detail import scale
from .faces import Faces
from .findings_text import names
from .framing import frame
from .guard_choice import Choice, give_back, try_candidates
from .guard_judge import Judge, Seen, evidence, settle, similarity
from .guard_report import action as told
from .guard_report import marked, report
from .host import Host
from .invented import Invented, invented, parser_on_disk
from .rebuild import found_holes
from .references import Recogniser, References, gather

#: What may be done with a face below the threshold.
ACTIONS = ("back off", "report", "pick", "refuse")

#: Those that may take a candidate.
CHOOSING = ("back off", "pick")

#: Probability of the same person that a result must reach.
THRESHOLD = 0.5

#: Probability below which a result is somebody else's and nothing of it is mixed in.
FLOOR = 0.01


@dataclass(frozen=True, eq=False)
class Guarded:
    """Guarded crops and how sure each of them is.

    crops: (N, S, S, 3) in [0, 1]. similarity_before, similarity_after: (N,) cosine of the results
    as they came and as they left, to the references where those judged, else to the original; NaN
    without an embedder. probability_before, probability_after: (N,) of being the same person.
    evidence: the tests that counted for each face. actions: what was done, such as "0.71, kept".
    notes: what could not be judged and why. invented: of the guarded crops. identity: (N, D)
    embeddings of what left. embedder: name of its card, "" for none. returned: (N,) share of the
    original that was mixed back. source: for each face the batch it was taken from, 0 `after`, 1
    and up the candidates, -1 the original. evaluations: how often the faces were measured. faces:
    those given, with identity and provenance, or None. report: for a person, line by line.
    """

    crops: Tensor
    similarity_before: Tensor
    similarity_after: Tensor
    probability_before: Tensor
    probability_after: Tensor
    evidence: tuple[str, ...]
    actions: tuple[str, ...]
    notes: tuple[str, ...]
    invented: Invented
    identity: Tensor
    embedder: str
    returned: Tensor
    source: tuple[int, ...]
    evaluations: int
    report: str
    faces: Faces | None = None

    @property
    def summary(self) -> str:
        """The first line of the report."""
        return self.report.partition("\n")[0]


def guard(
    before: Tensor,
    after: Tensor,
    *,
    references: Tensor | Sequence[Tensor] | None = None,
    threshold: float = THRESHOLD,
    action: str = "back off",
    faces: Faces | None = None,
    candidates: Sequence[Tensor] | None = None,
    embedder: str | Recogniser = "auto",
    floor: float = FLOOR,
    commercial_only: bool = False,
    host: Host | None = None,
) -> Guarded:
    """Measure on the result whether it is still the same person, and act on it.

    Args:
        before: (N, S, S, C) in [0, 1], the crops that went into the restorer; N may be 0.
        after: (N, S, S, C), what came out of it; another size is fine.
        references: (B, H, W, C), other photos of the person, or a sequence of such batches. With
            several faces in one picture they count for the one most like them.
        threshold: least probability of the same person, 0 to 1; the same for every embedder.
        action: of ACTIONS. "back off": the most restored result that reaches the threshold, of the
            candidates first, then by giving back what carries identity. "report": only measure.
            "pick": of all batches the result that fits best, the original if none reaches the
            threshold. "refuse": the original instead of a result below the threshold.
        faces: the faces of the crops; their findings say how far an original can be trusted.
        candidates: more results (N, S, S, C), from the most restored to the most faithful.
        embedder: a key of embedders.EMBEDDERS, "auto", or a Recogniser. Where it cannot run, the
            structure alone decides and the report says so.
        floor: probability below which a face is not worth backing off, being somebody else's: its
            original comes back at once, as it does where no mixture reaches the threshold.
        commercial_only: refuse embedders whose licence does not clearly allow commercial use.
        host: where to run; the CPU without it.

    Returns:
        Guarded; as many crops as went in, of the size of `after`.

    Raises:
        ValueError: wrong shapes, not one result for each original, a setting out of range, an
            unknown or refused embedder.
    """
    before, after = _rgb(check_crops(before, "before")), _rgb(check_crops(after, "after"))
    _check(before, after, threshold, floor, action)
    host, count, size = host or Host(), len(after), after.shape[1]
    notes: list[str] = []
    if faces is not None and len(faces) != count:
        notes.append(f"{len(faces)} faces wired for {count} crops; the faces are not looked at")
        faces = None
    if not count:
        empty = torch.zeros(0)
        nothing = invented(before, after)
        return Guarded(
            after, empty, empty, empty, empty, (), (), tuple(notes), nothing, torch.zeros(0, 0),
            "", empty, (), 0, "\n".join(["no faces: nothing to guard", *notes]), faces,
        )  # fmt: skip
    original = _at_size(before, size)
    shown = _but_for_holes(original, after, faces)
    rows = frame(faces, size)
    recogniser, vectors = _recogniser(embedder, shown[:, rows, rows], commercial_only, host, notes)
    kept = References(torch.zeros(0, vectors.shape[1]))
    if references is not None and recogniser:
        kept = gather(references, vectors, recogniser, host)
        notes += kept.notes
    elif references is not None:
        notes.append("the references need an embedder and are not looked at")
    judge = Judge(shown, rows, vectors, recogniser, kept)
    everyone = torch.arange(count)
    first = judge.look(everyone, after)
    made_up = _invented(original, after, rows)
    called = names(faces, faces.frames) if faces else [f"face {i}" for i in range(count)]
    settle(judge, first, made_up, faces, threshold, called, notes)
    # Until now the structure alone counted.
    first = replace(first, probability=judge.weigh(everyone, first))
    batches = [after, *_fitting(candidates, after, notes)]
    chosen = Choice.of(after, first)
    if action in CHOOSING:
        try_candidates(judge, chosen, batches[1:], threshold, pick=action == "pick")
    if action == "back off":
        _give_up(chosen, original, min(floor, threshold))
        give_back(judge, chosen, threshold)
    if action != "report":
        _give_up(chosen, original, threshold)
    changed = [i for i in range(count) if chosen.source[i] != 0 or chosen.returned[i] > 0]
    last, identity = _measured(judge, chosen, first, after, changed)
    parser = parser_on_disk(host.library, commercial_only)
    if changed or parser:
        made_up = _invented(original, chosen.crops, rows, parser=parser, host=host)
    actions = tuple(
        told(
            chosen.source[face],
            float(chosen.returned[face]),
            float(first.probability[face]),
            float(chosen.probability[face]),
            threshold,
            action == "report",
        )
        for face in range(count)
    )
    guarded = Guarded(
        crops=chosen.crops,
        similarity_before=similarity(judge, first),
        similarity_after=similarity(judge, last),
        probability_before=first.probability,
        probability_after=chosen.probability,
        evidence=tuple(evidence(judge, face) for face in range(count)),
        actions=actions,
        notes=tuple(notes),
        invented=made_up,
        identity=identity,
        embedder=recogniser.name if recogniser else "",
        returned=chosen.returned,
        source=tuple(chosen.source),
        evaluations=judge.evaluations,
        report="",
    )
    return replace(guarded, report=report(guarded, called), faces=marked(guarded, faces))


def _check(before: Tensor, after: Tensor, threshold: float, floor: float, action: str) -> None:
    if len(before) != len(after):
        raise ValueError(
            f"{len(before)} crops before and {len(after)} after; wire the crops of Align Faces to "
            "`before` and what became of the same crops to `after`"
        )
    for name, value in (("threshold", threshold), ("floor", floor)):
        if not 0 <= value <= 1:
            raise ValueError(f"{name} is {value}; choose a probability, 0 to 1")
    if action not in ACTIONS:
        raise ValueError(f"action is {action!r}; choose one of {', '.join(ACTIONS)}")


def _give_up(chosen: Choice, original: Tensor, least: float) -> None:
    """Put the original in the place of every result less probable than that."""
    for face in torch.nonzero(chosen.probability < least).flatten().tolist():
        chosen.take(face, original[face], 1.0, -1)
        chosen.returned[face] = 1.0


def _rgb(crops: Tensor) -> Tensor:
    crops = crops.float().cpu()
    return crops.expand(*crops.shape[:3], 3) if crops.shape[-1] == 1 else crops[..., :3]


def _at_size(crops: Tensor, size: int) -> Tensor:
    if crops.shape[1] == size:
        return crops
    return scale(crops.permute(0, 3, 1, 2), size).clamp(0, 1).permute(0, 2, 3, 1).contiguous()


def _but_for_holes(original: Tensor, after: Tensor, faces: Faces | None) -> Tensor:
    """The originals without the dots of a print and with what was found missing as it is in the
    results: these are nobody's likeness, so they neither count against a result nor come back with
    the original."""
    known = [face.degradation for face in faces or ()]
    if all(one is None for one in known):
        return original
    printed = [index for index, one in enumerate(known) if one and one.screen]
    if printed:
        original = original.clone()
        for index in printed:
            plain = screen.remove(original[index].permute(2, 0, 1), known[index].screen)
            original[index] = plain.permute(1, 2, 0)
    holes = found_holes(known, after.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    return torch.where(holes > 0, after, original) if holes.any() else original


def _invented(before: Tensor, after: Tensor, rows: slice, **options) -> Invented:
    """What is invented in these `rows` and columns of the crops, with a mask of all of them."""
    found = invented(before[:, rows, rows], after[:, rows, rows], **options)
    if found.mask.shape[-1] == after.shape[1]:
        return found
    return replace(found, mask=invented(before, after).mask)


def _recogniser(
    embedder: str | Recogniser,
    original: Tensor,
    commercial_only: bool,
    host: Host,
    notes: list[str],
) -> tuple[Recogniser | None, Tensor]:
    """The embedder and what it makes of the originals, or None with a note where it cannot run."""
    if isinstance(embedder, Recogniser):
        return embedder, embedder.embed(original)
    try:
        name = embedders.choose(embedder, commercial_only, host.library).name
        recogniser = Recogniser(
            name,
            lambda crops: embedders.embed(crops, model=name, host=host),
            lambda similarity: embedders.probability(similarity, name),
        )
        return recogniser, recogniser.embed(original)
    except (zoo.HubError, zoo.WeightsError, RuntimeMissingError) as error:
        notes.append(f"no embedder ({error}); the structure alone decides")
        return None, torch.zeros(len(original), 0)


def _fitting(candidates: Sequence[Tensor] | None, after: Tensor, notes: list[str]) -> list[Tensor]:
    """The candidates that can be used, at the size of `after`."""
    fitting = []
    for number, batch in enumerate(candidates or (), 1):
        batch = _rgb(check_crops(batch, f"candidate {number}"))
        if len(batch) != len(after):
            notes.append(
                f"candidate {number} has {len(batch)} crops for {len(after)} faces and is left out"
            )
        elif len(fitting) + 2 > back_off.EVALUATIONS:
            notes.append(f"candidate {number} is one more than can be measured and is left out")
        else:
            fitting.append(_at_size(batch, after.shape[1]))
    return fitting


def _measured(
    judge: Judge, chosen: Choice, first: Seen, after: Tensor, changed: list[int]
) -> tuple[Seen, Tensor]:
    """What is known of the results that leave, and their embeddings (N, D)."""
    if judge.recogniser is None:
        return first, torch.zeros(len(after), 0)
    vectors = judge.first_vectors.clone()
    if changed:
        framed = chosen.crops[changed][:, judge.rows, judge.rows]
        vectors[changed] = judge.recogniser.embed(framed)
    nothing = torch.full((len(after),), float("nan"))
    references = judge.references.similarity(vectors) if len(judge.references) else nothing
    original = (vectors * judge.vectors).sum(1)
    return Seen(original, references, chosen.probability, first.agreement), vectors
