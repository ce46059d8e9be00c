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

// The last result of each node of a workflow in the server's history, by path of ids.
//
// history: what GET /history says. keys: those of `output` that matter. A result counts only if the
// same class stood at that path, as ids are given anew when nodes come and go.
export function remembered(history, workflow, keys) {
  const results = new Map();
  for (const entry of Object.values(history ?? {})) {
    const [order, , prompt, extra] = entry?.prompt ?? [];
    if (!workflow || extra?.extra_pnginfo?.workflow?.id !== workflow) continue;
    for (const [id, output] of Object.entries(entry.outputs ?? {})) {
      if (!keys.some((key) => key in (output ?? {}))) continue;
      const known = results.get(id);
      if (known && known.order > order) continue;
      results.set(id, { order, output, type: prompt?.[id]?.class_type });
    }
  }
  return results;
}
