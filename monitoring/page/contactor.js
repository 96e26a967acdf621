/* Job: the sign of one contactor: its coil (what is commanded) and its blade (what is fed back), told apart by shape.
   Units: px. A place knows where along the module's lead (l) and along the gun's bus bar (b) a point lies. */

import { makeSvg, setAttribute, setAttributes, setText } from "./dom.js";

/** Where the blade stands in each state; null: nobody knows. */
const BLADE = {
  open: "open",
  close_failed: "open",
  dropped: "open",
  closed: "closed",
  open_failed: "closed",
  intruder: "closed",
  closing: "moving",
  opening: "moving",
  unknown: null,
};
/** A letter beside contactors that are not simply open or closed. */
const MARKS = { closing: "↘", opening: "↗", open_failed: "W", close_failed: "!", dropped: "!", intruder: "!", unknown: "?" };
/** Ends of the blade's free tip, in units of the sign. */
const TIPS = { open: { l: -1.1, b: 1.3 }, moving: { l: -0.5, b: 1.3 }, closed: { l: 0, b: 1 } };

/** True when current can pass, as far as the feedback tells. */
export function isClosed(state) {
  return BLADE[state] === "closed" || state === "opening";
}

export function markOf(contact) {
  return MARKS[contact.state] ?? (contact.fault === null ? "" : "×");
}

/** `place`: {unit, at(l, b) -> {x, y}} in units of the sign from the crossing of lead and bus bar. */
export class Contactor {
  #place;
  #blade = makeSvg("line", { class: "blade" });
  #coil = makeSvg("rect", { class: "coil" });
  #letter = makeSvg("text", { class: "mark-letter" });
  #title = makeSvg("title");
  #told = "";

  constructor(place) {
    this.#place = place;
    const { unit } = place;
    const terminal = (l, b) => makeSvg("circle", { class: "terminal", ...centre(place.at(l, b)), r: 0.2 * unit });
    const middle = place.at(-0.2, 0.5);
    const field = { x: middle.x - 1.35 * unit, y: middle.y - 1.35 * unit, width: 2.7 * unit, height: 2.7 * unit, rx: 0.3 * unit };
    const mark = place.at(-0.95, -1);
    setAttributes(this.#blade, line(place.at(-1, 0), place.at(TIPS.open.l, TIPS.open.b)));
    setAttributes(this.#coil, box(place.at(-1, 2), 0.6 * unit, 0.75 * unit));
    setAttributes(this.#letter, { x: mark.x, y: mark.y });
    this.node = makeSvg(
      "g", { class: "contactor" },
      this.#title,
      makeSvg("rect", { class: "field", ...field }),
      makeSvg("rect", { class: "hatching", fill: "url(#hatch)", ...field }),
      this.#blade, terminal(-1, 0), terminal(0, 1), this.#coil,
      makeSvg("circle", { class: "mark", ...centre(mark), r: 0.64 * unit }), this.#letter,
    );
  }

  /** `contact`: {commanded, state, fault}; `words`: what a pointer that rests here is told. */
  show(contact, words) {
    setText(this.#title, words);
    const told = `${contact.state} ${contact.commanded} ${contact.fault}`;
    if (told === this.#told) return;
    this.#told = told;
    const blade = BLADE[contact.state] ?? null;
    const tip = TIPS[blade ?? "open"];
    setAttributes(this.#blade, line(this.#place.at(-1, 0), this.#place.at(tip.l, tip.b)));
    setAttributes(this.node, {
      "data-state": contact.state,
      "data-blade": blade ?? "unknown",
      "data-coil": contact.commanded ? "on" : "off",
      "data-service": contact.fault === null ? "in" : "out",
      "data-mark": markOf(contact) || null,
    });
    setAttribute(this.node, "data-fault", contact.fault);
    setText(this.#letter, markOf(contact));
  }
}

const centre = ({ x, y }) => ({ cx: x, cy: y });
const line = (from, to) => ({ x1: from.x, y1: from.y, x2: to.x, y2: to.y });
const box = ({ x, y }, width, height) => ({ x: x - width / 2, y: y - height / 2, width, height });
