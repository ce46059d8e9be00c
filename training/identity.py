"""Train kintsugi-identity: python -m kintsugi.training.identity --data ../shared/faces --minutes 70

A network of our own learns what a public face recognition network says of pictures (knowledge
distillation, Hinton et al. 2015, https://arxiv.org/abs/1503.02531; with its maps as hints, Romero
et al. 2015, https://arxiv.org/abs/1412.6550). The schedule follows the clock, so that it always
ends annealed; a run that was cut off goes on from its last checkpoint with the time it had left.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import deque
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from kintsugi.models.identity import IdentityNet, folded
from kintsugi.training.data import portraits
from kintsugi.training.degradations import degrade
from kintsugi.training.identity_views import CHANNELS, Pairs, Teacher, seen
from kintsugi.training.session import begin, rate

#: Weight of the neighbourhood beside each face's own embedding, and of the maps at the start; these
#: count for nothing once HINTS of the time is over.
NEIGHBOURS, MAPS, HINTS = 0.3, 1.0, 0.6

#: Faces among which the student has to find the same neighbours as the teacher, and how sharply.
KEPT, TEMPERATURE = 768, 0.1

#: Faces of held-out people that are watched.
WATCHED = 80


def neighbourhood(student: Tensor, teacher: Tensor, others: Tensor) -> Tensor:
    """How differently the two rank `others` (K, 128): the divergence of their softmax, mean."""
    wanted = F.softmax(teacher @ others.T / TEMPERATURE, dim=1)
    found = F.log_softmax(student @ others.T / TEMPERATURE, dim=1)
    return F.kl_div(found, wanted, reduction="batchmean")


def hints(heads: nn.ModuleList, maps: list[Tensor], wanted: list[Tensor]) -> Tensor:
    """Share of the variance of the teacher's maps that the student's do not explain."""
    shares = [
        (head(own) - part).square().mean() / part.var()
        for head, own, part in zip(heads, maps, wanted, strict=True)
    ]
    return torch.stack(shares).mean()


class Watch:
    """Held-out people, clean and damaged, and what the teacher says of them."""

    def __init__(self, data: Path, teacher: Teacher):
        crops = portraits(data, "val").pictures[:WATCHED]
        self.views, self.wanted = {}, {}
        for strength in ("clean", "light", "medium", "heavy"):
            rng = np.random.default_rng(7)
            views = seen(np.stack([degrade(crop, rng, strength)[0] for crop in crops]))
            pictures = (views * 255).round().byte().permute(0, 2, 3, 1).numpy()
            answers = np.stack([teacher(picture)[0] for picture in pictures])
            self.views[strength] = views * 2 - 1
            self.wanted[strength] = torch.from_numpy(answers)

    @torch.inference_mode()
    def figures(self, network: IdentityNet) -> dict[str, float]:
        """Agreement with the teacher, and how well damaged faces find their clean selves."""
        own = {strength: network(views) for strength, views in self.views.items()}
        figures = {}
        answers = {"ours": own, "teacher": self.wanted}
        away = ~torch.eye(len(own["clean"]), dtype=torch.bool)
        figures["agreement"] = float((own["clean"] * self.wanted["clean"]).sum(1).mean())
        others = [(part["clean"] @ part["clean"].T)[away] for part in answers.values()]
        figures["correlation"] = float(torch.corrcoef(torch.stack(others))[0, 1])
        figures["strangers"] = float(others[0].mean())
        for strength in ("light", "medium", "heavy"):
            for name, answer in answers.items():
                table = answer[strength] @ answer["clean"].T
                same, other = table.diagonal(), table[away]
                figures[f"{strength} {name}"] = float(same.mean())
                figures[f"{strength} {name} auc"] = float((same[:, None] > other).float().mean())
        return {name: round(value, 4) for name, value in figures.items()}


def export(average: IdentityNet, path: Path) -> None:
    """Weights as the package ships them: batch norms folded, half precision."""
    state = folded(average.state_dict())
    save_file({name: value.half().contiguous() for name, value in state.items()}, path)


def take_over(path: Path, network: IdentityNet, heads: nn.ModuleList) -> None:
    """Take over what fits of another run's networks; the others of the layers stay as they are."""
    saved = torch.load(path, weights_only=True)
    for module, key in ((network, "network"), (heads, "heads")):
        own = module.state_dict()
        fitting = {
            name: value
            for name, value in saved[key].items()
            if name in own and own[name].shape == value.shape
        }
        module.load_state_dict(own | fitting)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/faces"))
    parser.add_argument("--out", type=Path, default=Path("runs/identity"))
    parser.add_argument("--minutes", type=float, default=70)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--batch", type=int, default=12, help="clean faces a step")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--blended", type=float, default=0.5, help="share of blended faces")
    parser.add_argument("--copies", type=float, default=0.4, help="share of damaged copies")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--start", type=Path, help="checkpoint of another run to start from")
    parser.add_argument("--spent", type=float, default=0.0, help="minutes of the schedule to skip")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    begin(options.seed, options.threads, options.out)
    network = IdentityNet(norm=True).to(memory_format=torch.channels_last)
    average = IdentityNet(norm=True).eval().requires_grad_(False)
    heads = nn.ModuleList(
        nn.Conv2d(own[0].first.conv.out_channels, wanted, 1)
        for own, wanted in zip(network.blocks, CHANNELS, strict=True)
    )
    optimiser = torch.optim.AdamW(
        [*network.parameters(), *heads.parameters()], betas=(0.9, 0.99), weight_decay=1e-3
    )
    step, spent = 0, options.spent * 60
    checkpoint = options.out / "last.pt"
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        network.load_state_dict(saved["network"])
        heads.load_state_dict(saved["heads"])
        optimiser.load_state_dict(saved["optimiser"])
        average.load_state_dict(saved["average"])
        step, spent = saved["step"], saved["spent"]
    else:
        if options.start:
            take_over(options.start, network, heads)
        average.load_state_dict(network.state_dict())

    pairs = Pairs(options.data, options.seed, options.blended, options.copies)
    weights = sum(parameter.numel() for parameter in average.parameters())
    print(f"{len(pairs.pictures)} faces; {weights} weights", flush=True)
    batches = iter(DataLoader(pairs, options.batch, num_workers=1, prefetch_factor=6))
    watch = None
    recent: deque[Tensor] = deque(maxlen=KEPT // options.batch)
    total, begun = options.minutes * 60, time.monotonic()
    saved_at = judged_at = spent
    sums = torch.zeros(4)
    while (now := spent + time.monotonic() - begun) < total:
        for group in optimiser.param_groups:
            group["lr"] = rate(now / total, options.rate, 0.02)
        views, copied, wanted, *maps = next(batches)
        both = torch.cat([views[:, 0], views[copied, 1]]).float() / 127.5 - 1
        own = network.maps(both.contiguous(memory_format=torch.channels_last))
        clean, damaged = network.embed(own[-1]).tensor_split([len(views)])
        recent.append(wanted)
        others = torch.cat([*recent])
        parts = [
            1 - (clean * wanted).sum(1).mean(),
            (1 - (damaged * wanted[copied]).sum(1)).sum() / max(len(damaged), 1),
            neighbourhood(torch.cat([clean, damaged]), torch.cat([wanted, wanted[copied]]), others),
        ]
        share = len(damaged) / len(both)
        loss = (1 - share) * parts[0] + share * parts[1] + NEIGHBOURS * parts[2]
        if (help_left := 1 - now / total / HINTS) > 0:
            few = len(views)
            parts.append(hints(heads, [part[:few] for part in own], [p.float() for p in maps]))
            loss = loss + MAPS * help_left * parts[3]
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimiser.step()
        step += 1
        decay = min(0.998, (step + 1) / (step + 10))
        with torch.no_grad():
            fresh = network.state_dict()
            for name, value in average.state_dict().items():
                if value.is_floating_point():
                    value.lerp_(fresh[name], 1 - decay)
        for index, part in enumerate(parts):
            sums[index] += part.detach()
        if step % 100 == 0:
            figures = " ".join(f"{value:.4f}" for value in (sums / 100).tolist())
            sums.zero_()
            print(f"{now / 60:.1f} min step {step}: {figures}", flush=True)
        if now - saved_at > 180:
            saved_at = now
            state = {"network": network.state_dict(), "average": average.state_dict()}
            state |= {"heads": heads.state_dict(), "optimiser": optimiser.state_dict()}
            torch.save(state | {"step": step, "spent": now}, checkpoint)
            export(average, options.out / "kintsugi-identity.safetensors")
        if now - judged_at > 780:
            judged_at = now
            watch = watch or Watch(options.data, Teacher(options.data))
            print(json.dumps(watch.figures(average)), flush=True)
    export(average, options.out / "kintsugi-identity.safetensors")
    watch = watch or Watch(options.data, Teacher(options.data))
    print(json.dumps(watch.figures(average)), flush=True)
    print(f"{step} steps; weights in {options.out}", flush=True)


if __name__ == "__main__":
    main()
