/* Job: the contactors as a table, for everybody who does not see the drawing, and the words of one contactor.
   Units: A in names. */

import { isClosed } from "./contactor.js";
import { byId, make, setAttribute, setText } from "./dom.js";
import * as words from "./words.js";

/** Such as "closed, 113 A", "open", "welded, out of service". Pure. */
export function contactWords(contact, currentA = null) {
  const parts = [words.wordOf(words.CONTACT_STATES, contact.state)];
  if (isClosed(contact.state) && currentA !== null && currentA !== undefined) parts.push(`${words.amperes(currentA)} A`);
  if (contact.fault !== null) parts.push("out of service");
  return parts.join(", ");
}

export class MatrixTable {
  #table = byId("matrix-table");
  #cells = new Map();
  #shape = "";

  show(snapshot) {
    const shape = `${snapshot.guns.length} ${snapshot.modules.length}`;
    if (shape !== this.#shape) this.#build(snapshot);
    this.#shape = shape;
    const currents = new Map(snapshot.modules.map((module) => [module.module, module.current_a]));
    for (const contact of snapshot.crosspoints) {
      const cell = this.#cells.get(`${contact.gun} ${contact.module}`);
      if (!cell) continue;
      setText(cell, contactWords(contact, currents.get(contact.module)));
      setAttribute(cell, "data-state", contact.fault === null ? contact.state : "out");
    }
  }

  #build({ guns, modules }) {
    this.#cells.clear();
    const head = make("tr", {}, make("td"), ...modules.map(({ module }) => make("th", { scope: "col" }, `Module ${module}`)));
    const rows = guns.map(({ gun }) => {
      const cells = modules.map(({ module }) => {
        const cell = make("td");
        this.#cells.set(`${gun} ${module}`, cell);
        return cell;
      });
      return make("tr", {}, make("th", { scope: "row" }, `Gun ${gun}`), ...cells);
    });
    const caption = make("caption", { class: "only-heard" }, "State of the contactor between each gun and each module");
    this.#table.replaceChildren(caption, make("thead", {}, head), make("tbody", {}, ...rows));
  }
}
