"""From a saved workflow (what the page stores) to a prompt (what the server runs)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

WIDGET_TYPES = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}

#: Widgets behind which the page puts another, stored but never sent, unless the node says no.
CONTROLLED = {"seed", "noise_seed"}

#: Inputs with a button to choose a file, stored like a widget.
UPLOADS = ("image_upload", "video_upload", "audio_upload")

#: How the page numbers the ends of a subgraph, and what it stores for nodes that do not run.
SUBGRAPH_INPUT, SUBGRAPH_OUTPUT = -10, -20
MUTED, BYPASSED = 2, 4

#: Nodes of the page alone.
NOTES = ("Note", "MarkdownNote")


def widget_names(info: dict) -> list[str | None]:
    """What each entry of `widgets_values` belongs to, in order; None is not sent to the server.

    Args:
        info: the node's entry of /object_info.
    """
    names: list[str | None] = []
    for section in ("required", "optional"):
        for name in info["input_order"].get(section, []):
            kind, *rest = info["input"][section][name]
            options = rest[0] if rest else {}
            if not (isinstance(kind, list) or kind in WIDGET_TYPES) or options.get("forceInput"):
                continue
            names.append(name)
            if options.get("control_after_generate", name in CONTROLLED):
                names.append(None)
            if any(options.get(key) for key in UPLOADS):
                names.append(None)
    return names


@dataclass(frozen=True)
class Scope:
    """A graph in its place: the workflow itself, or the inside of one subgraph node.

    Attributes:
        graph: what the page stores of it.
        definitions: every subgraph of the workflow by its id.
        prefix: of the ids of the nodes in it.
        outer: the scope and the node that this graph is the inside of; None for the workflow.
    """

    graph: dict
    definitions: dict[str, dict]
    prefix: str = ""
    outer: tuple[Scope, dict] | None = None

    def node(self, number) -> dict:
        """The node with this id."""
        return next(node for node in self.graph["nodes"] if node["id"] == number)

    def link(self, number) -> tuple:
        """(origin, its slot, target, its slot) of a link; subgraphs store links as objects."""
        for link in self.graph["links"]:
            if isinstance(link, dict) and link["id"] == number:
                return tuple(
                    link[key] for key in ("origin_id", "origin_slot", "target_id", "target_slot")
                )
            if not isinstance(link, dict) and link[0] == number:
                return tuple(link[1:5])
        raise KeyError(f"no link {number}")

    def inside(self, node: dict) -> Scope:
        """The inside of a subgraph node."""
        definition = self.definitions[node["type"]]
        return Scope(definition, self.definitions, f"{self.prefix}{node['id']}:", (self, node))

    def source(self, number):
        """Where a link begins: [id, slot] of a node that runs, a widget's value, or None."""
        origin, slot, *_ = self.link(number)
        if origin == SUBGRAPH_INPUT:
            scope, node = self.outer
            socket = node["inputs"][slot]
            if socket.get("link") is not None:
                return scope.source(socket["link"])
            promoted = [entry["name"] for entry in node["inputs"] if "widget" in entry]
            return node["widgets_values"][promoted.index(socket["name"])]
        node = self.node(origin)
        if node["type"] in self.definitions:
            inner = self.inside(node)
            for link in inner.graph["links"]:
                if (link["target_id"], link["target_slot"]) == (SUBGRAPH_OUTPUT, slot):
                    return inner.source(link["id"])
            return None
        if node["mode"] == BYPASSED:
            kind = node["outputs"][slot]["type"]
            given = [socket for socket in node["inputs"] if socket["type"] == kind]
            return self.source(given[0]["link"]) if given and given[0].get("link") else None
        return None if node["mode"] == MUTED else [f"{self.prefix}{origin}", slot]

    def running(self) -> Iterator[tuple[Scope, dict]]:
        """Every node that runs, subgraphs opened."""
        for node in self.graph["nodes"]:
            if node["mode"] in (MUTED, BYPASSED) or node["type"] in NOTES:
                continue
            if node["type"] in self.definitions:
                yield from self.inside(node).running()
            else:
                yield self, node


def opened(workflow: dict) -> Scope:
    """The outermost scope of a workflow."""
    subgraphs = workflow.get("definitions", {}).get("subgraphs", [])
    return Scope(workflow, {entry["id"]: entry for entry in subgraphs})


def to_prompt(workflow: dict, object_info: dict) -> dict:
    """The API prompt of a workflow.

    Raises:
        ValueError: a node is unknown, or stores another number of widgets than it has.
    """
    prompt = {}
    for scope, node in opened(workflow).running():
        if node["type"] not in object_info:
            raise ValueError(f"there is no node {node['type']}")
        names = widget_names(object_info[node["type"]])
        values = node.get("widgets_values") or []
        if len(values) != len(names):
            raise ValueError(f"{node['type']} stores {len(values)} widgets; the node has {names}")
        inputs = {name: value for name, value in zip(names, values, strict=True) if name}
        for socket in node.get("inputs", []):
            if socket.get("link") is not None:
                source = scope.source(socket["link"])
                if source is not None:
                    inputs[socket["name"]] = source
        prompt[f"{scope.prefix}{node['id']}"] = {"class_type": node["type"], "inputs": inputs}
    return prompt
