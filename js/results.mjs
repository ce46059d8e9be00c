// Which node a result belongs to, and the results the server still remembers after a reload.

// The node at a path of ids through subgraphs, such as "12:5"; undefined if there is none.
export function byExecutionId(graph, id) {
  const path = String(id).split(":");
  let node;
  for (const step of path) {
    node = graph?.getNodeById?.(step) ?? graph?.getNodeById?.(Number(step)) ?? undefined;
    graph = node?.subgraph;
  }
  return node;
}

// Every node of a graph with those of its subgraphs, each with its path of ids.
export function* everyNode(graph, path = [], depth = 0) {
  if (depth > 32) return; // a subgraph that holds itself
  for (const node of graph?.nodes ?? graph?._nodes ?? []) {
    const here = [...path, String(node.id)];
    yield [here.join(":"), node];
    if (node.subgraph) yield* everyNode(node.subgraph, here, depth + 1);
  }
}

// Whether a node would get the same today as in an earlier prompt: it and all that leads to it are
// the same, but for the choice of faces, which the result holds all of.
//
// known: answers about nodes of these two prompts, for a node that many ways lead back to.
export function sameCause(then, now, id, known = new Map()) {
  if (!known.has(id)) {
    known.set(id, false); // of a circle
    known.set(id, compareCause(then, now, id, known));
  }
  return known.get(id);
}

function compareCause(then, now, id, known) {
  const [before, after] = [then?.[id], now?.[id]];
  if (!before || !after || before.class_type !== after.class_type) return false;
  const names = new Set([...Object.keys(before.inputs ?? {}), ...Object.keys(after.inputs ?? {})]);
  for (const name of names) {
    if (name === "chosen") continue;
    const [a, b] = [before.inputs?.[name], after.inputs?.[name]];
    if (JSON.stringify(a) !== JSON.stringify(b)) return false;
    const link = Array.isArray(a) && a.length === 2 && String(a[0]) in now;
    if (link && !sameCause(then, now, String(a[0]), known)) return false;
  }
  return true;
}

// The newest result that the server's history holds of each node of a workflow as it is now.
//
// history: what GET /history says. workflow: its id. now: its prompt. keys: of the outputs that
// matter. Returns a map from the path of ids to the output.
export function remembered(history, workflow, now, keys) {
  const results = new Map();
  const entries = Object.values(history ?? {}).filter((entry) => {
    const id = entry?.prompt?.[3]?.extra_pnginfo?.workflow?.id;
    return workflow && id === workflow;
  });
  entries.sort((a, b) => b.prompt[0] - a.prompt[0]);
  for (const { prompt, outputs } of entries) {
    const known = new Map();
    for (const [id, output] of Object.entries(outputs ?? {})) {
      if (results.has(id) || !keys.some((key) => key in (output ?? {}))) continue;
      if (sameCause(prompt[2], now, id, known)) results.set(id, output);
    }
  }
  return results;
}
