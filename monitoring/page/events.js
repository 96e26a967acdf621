/* Job: the last lines of the log, newest on top.
   Units: ts in Unix seconds. */

import { KeyedList, byId, make } from "./dom.js";
import * as words from "./words.js";

const KEPT = 200;
const MARKED = new Set(["WARNING", "ERROR", "CRITICAL"]);

export class EventsView {
  #list = new KeyedList(byId("event-list"), createEvent);
  #events = [];

  constructor() {
    byId("only-warnings").addEventListener("change", () => this.#draw());
  }

  /** Forget all: the controller began anew. */
  clear() {
    this.#events = [];
    this.#draw();
  }

  add(events) {
    if (!events.length) return;
    const known = new Set(this.#events.map((event) => event.seq));
    this.#events.push(...events.filter((event) => !known.has(event.seq)));
    this.#events.sort((one, other) => one.seq - other.seq);
    this.#events.splice(0, this.#events.length - KEPT);
    this.#draw();
  }

  #draw() {
    const only = byId("only-warnings").checked;
    const shown = this.#events.filter((event) => !only || MARKED.has(event.level)).reverse();
    this.#list.update(shown, (event) => `${event.seq} ${event.ts}`, () => {});
  }
}

function createEvent(event) {
  const level = MARKED.has(event.level) ? make("span", { class: "level" }, event.level.toLowerCase()) : null;
  const time = make("time", { datetime: new Date(event.ts * 1000).toISOString() }, words.clock(event.ts));
  return { node: make("li", { "data-level": event.level }, time, make("span", {}, level, level && " ", event.text)) };
}
