"""From a saved workflow (what the page stores) to a prompt (what the server runs)."""

from __future__ import annotations

WIDGET_TYPES = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}

#: Widgets behind which the page puts another, stored but never sent, unless the node says no.
CONTROLLED = {"seed", "noise_seed"}


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
            if options.get("image_upload"):
                names.append(None)
    return names


def to_prompt(workflow: dict, object_info: dict) -> dict:
    """The API prompt of a workflow without subgraphs, bypassed or muted nodes."""
    links = {link[0]: (str(link[1]), link[2]) for link in workflow["links"]}
    prompt = {}
    for node in workflow["nodes"]:
        if node["type"] not in object_info:
            continue
        names = widget_names(object_info[node["type"]])
        values = node.get("widgets_values") or []
        if len(values) != len(names):
            raise ValueError(f"{node['type']} stores {len(values)} widgets; the node has {names}")
        inputs = {name: value for name, value in zip(names, values, strict=True) if name}
        for socket in node.get("inputs", []):
            if socket.get("link") is not None:
                inputs[socket["name"]] = list(links[socket["link"]])
        prompt[str(node["id"])] = {"class_type": node["type"], "inputs": inputs}
    return prompt
