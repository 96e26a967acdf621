/* Job: small helpers over the DOM. Text goes through textContent alone, so nothing that the station says becomes markup.
   What did not change is not written: two snapshots a second shall cost next to nothing. */

const SVG = "http://www.w3.org/2000/svg";

/** The element with this id; it must exist. */
export function byId(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`index.html has no #${id}`);
  return found;
}

/** An HTML element with attributes and children (nodes or text). */
export function make(tag, attributes = {}, ...children) {
  return fitted(document.createElement(tag), attributes, children);
}

/** The same for SVG. */
export function makeSvg(tag, attributes = {}, ...children) {
  return fitted(document.createElementNS(SVG, tag), attributes, children);
}

function fitted(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) setAttribute(node, name, value);
  node.append(...children.filter((child) => child !== null));
  return node;
}

export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Set an attribute, or take it away when the value is null or false. */
export function setAttribute(node, name, value) {
  if (value === null || value === false) {
    if (node.hasAttribute(name)) node.removeAttribute(name);
    return;
  }
  const text = value === true ? "" : String(value);
  if (node.getAttribute(name) !== text) node.setAttribute(name, text);
}

export function setAttributes(node, attributes) {
  for (const [name, value] of Object.entries(attributes)) setAttribute(node, name, value);
}

export function setHidden(node, hidden) {
  if (node.hidden !== hidden) node.hidden = hidden;
}

/** A custom property of CSS on one element (through the CSSOM: a strict content security policy allows that). */
export function setProperty(node, name, value) {
  if (node.style.getPropertyValue(name) !== value) node.style.setProperty(name, value);
}

/** The class that carries the colour of a gun: six colours, then they begin anew. */
export function gunClass(gun) {
  return `gun-colour-${((gun - 1) % 6) + 1}`;
}

/** The number of a gun on its colour. */
export function gunBadge(gun, spoken = "gun ") {
  const badge = make("span", { class: `badge ${gunClass(gun)}` });
  badge.append(make("span", { class: "only-heard" }, spoken), String(gun));
  return badge;
}

/** Children of `parent` by key: made once, filled anew each time, in the order of the items, removed when gone. */
export class KeyedList {
  #parent;
  #create;
  #rows = new Map();

  /** `create(item)` gives {node, ...whatever fill needs}. */
  constructor(parent, create) {
    this.#parent = parent;
    this.#create = create;
  }

  update(items, keyOf, fill) {
    const keys = new Set(items.map(keyOf));
    for (const [key, row] of this.#rows) {
      if (keys.has(key)) continue;
      row.node.remove();
      this.#rows.delete(key);
    }
    let place = this.#parent.firstElementChild;
    for (const item of items) {
      const row = this.#row(keyOf(item), item);
      fill(row, item);
      if (row.node === place) place = place.nextElementSibling;
      else this.#parent.insertBefore(row.node, place);
    }
  }

  #row(key, item) {
    if (!this.#rows.has(key)) this.#rows.set(key, this.#create(item));
    return this.#rows.get(key);
  }
}

/** A <dl> of names and values: made once from the names, values set by name. */
export class FactList {
  #values = new Map();

  constructor(parent, names) {
    for (const name of names) {
      const value = make("dd");
      parent.append(make("div", {}, make("dt", {}, name), value));
      this.#values.set(name, value);
    }
  }

  set(name, text, mark = null) {
    const value = this.#values.get(name);
    setText(value, text);
    setAttribute(value, "data-mark", mark);
  }
}
