// Puts a view (an element with a least height) on a node, for both renderers.

// Add `view` to a node as a widget that neither the workflow nor the prompt stores.
//
// view: {element, leastHeight(), grows()}; one without `grows` keeps its height when the node is made
// taller. Returns the widget.
export function addView(app, node, name, label, view) {
  const widget = node.addDOMWidget(name, "kintsugi", view.element, {
    serialize: false,
    hideOnZoom: false,
    margin: 5,
    getMinHeight: () => view.leastHeight() + 10,
    getMaxHeight: () => (view.grows?.() ? undefined : view.leastHeight() + 10),
    getValue: () => "",
    setValue: () => {},
  });
  if (!view.grows) {
    // A widget with a layout of its own gets a share of the free height in Nodes 2.0.
    widget.computeLayoutSize = undefined;
    widget.computeSize = (width) => [width ?? 0, view.leastHeight() + 6];
  }
  widget.serialize = false;
  widget.label = label;
  view.element.dataset.view = name;
  passThrough(app, view.element);
  view.changedHeight = () => grow(app, node);
  return widget;
}

// Show the views of the nodes there are now. After an undo, Nodes 2.0 keeps the elements of the nodes
// before it on the page, which a click then never leaves.
export function showAgain(nodes, names) {
  for (const node of nodes) {
    for (const widget of node.widgets ?? []) {
      if (!names.includes(widget.name) || widget.element.isConnected) continue;
      const place = `[data-node-id="${node.id}"] [data-view="${widget.name}"]`;
      document.querySelector(place)?.replaceWith(widget.element);
    }
  }
}

// Make a node high enough for its views; in Nodes 2.0 the page's own layout does.
function grow(app, node) {
  if (globalThis.LiteGraph?.vueNodesMode) return;
  const least = node.computeSize();
  if (node.size[0] < least[0] || node.size[1] < least[1]) {
    node.setSize([Math.max(node.size[0], least[0]), Math.max(node.size[1], least[1])]);
  }
  app.canvas?.setDirty?.(true, true);
}

// Over a widget the wheel and the middle button move the canvas as they do beside it.
function passThrough(app, element) {
  const canvas = () => (globalThis.LiteGraph?.vueNodesMode ? null : app.canvas);
  element.addEventListener(
    "wheel",
    (event) => {
      if (event.defaultPrevented || event.target.closest("[popover]")) return;
      canvas()?.processMouseWheel?.(event);
    },
    { passive: false },
  );
  element.addEventListener("pointerdown", (event) => {
    if (event.button === 1) canvas()?.processMouseDown?.(event);
  });
  element.addEventListener("pointermove", (event) => {
    if ((event.buttons & 4) === 4) canvas()?.processMouseMove?.(event);
  });
  element.addEventListener("pointerup", (event) => {
    if (event.button === 1) canvas()?.processMouseUp?.(event);
  });
}
