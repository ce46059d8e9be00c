// Elements in one call, so that a widget's parts read top to bottom.

const SVG = "http://www.w3.org/2000/svg";

function build(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) {
      element.setAttribute(name, value);
    }
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export function h(tag, attributes = {}, ...children) {
  return build(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes = {}, ...children) {
  return build(document.createElementNS(SVG, tag), attributes, children);
}

// A small button with a sign on it and words for those who do not see it.
export function button(sign, label, press, attributes = {}) {
  const press1 = (event) => {
    event.stopPropagation();
    press(event);
  };
  return h(
    "button",
    { type: "button", title: label, "aria-label": label, onclick: press1, ...attributes },
    sign,
  );
}

export function show(element, visible) {
  element.hidden = !visible;
}
