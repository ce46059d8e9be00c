"""What the loader must know of a network: how to recognise its state dict and how to build it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

StateDict = Mapping[str, Tensor]


def _unchanged(state: StateDict) -> StateDict:
    return state


@dataclass(frozen=True)
class Architecture:
    """One entry of the loader's table.

    name: as a ModelCard names it.
    keys: present in every state dict of this architecture and, together, in no other's, after outer
        keys and prefixes are stripped.
    construct: makes the module, reading its sizes off the shapes; called under the meta device.
    convert: published names to ours, dropping what inference never reads (heads, losses); called
        before `construct`.
    """

    name: str
    keys: tuple[str, ...]
    construct: Callable[[StateDict], nn.Module]
    convert: Callable[[StateDict], StateDict] = _unchanged

    def matches(self, state: StateDict) -> bool:
        """Whether `state` has this architecture's keys."""
        return all(key in state for key in self.keys)


def sequence_length(state: StateDict, prefix: str) -> int:
    """How many numbered children `prefix` has: one more than the highest number."""
    start = prefix + "."
    numbers = {key[len(start) :].split(".", 1)[0] for key in state if key.startswith(start)}
    return 1 + max((int(n) for n in numbers if n.isdigit()), default=-1)
