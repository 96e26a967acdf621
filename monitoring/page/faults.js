/* Job: what is wrong: each fault that stands, the worst first, since when, and what to do. Faults of one kind share a
   card, so that many of them do not push everything else out of sight.
   Units: ts in Unix seconds. */

import { KeyedList, byId, make, setAttribute, setHidden, setText } from "./dom.js";
import * as words from "./words.js";

const WORST_FIRST = ["critical", "error", "warning"];
const URGENCY = { critical: "Someone must come now", error: "Someone must come", warning: "Heals itself" };

export const nameOf = (fault) => `${fault.code} ${fault.id}`;

/** "Contactor of gun 1 and module 3: welded" */
export function faultTitle(fault) {
  if (fault.scope === "station") return words.codeWords(fault.code);
  const bare = fault.code.replace(/^(CONTACTOR|MODULE|GUN)_/, "");
  return `${words.placeWords(fault.id)}: ${words.codeWords(bare, "within")}`;
}

/** [[fault, ...], ...]: those of one kind together, the worst kinds first, the newest first. Pure. */
export function kindsOf(faults) {
  const sorted = [...faults].sort(
    (one, other) => WORST_FIRST.indexOf(one.severity) - WORST_FIRST.indexOf(other.severity) || other.since_ts - one.since_ts,
  );
  const kinds = new Map();
  for (const fault of sorted) kinds.set(fault.code, [...(kinds.get(fault.code) ?? []), fault]);
  return [...kinds.values()];
}

function titleOf(kind) {
  if (kind.length === 1) return faultTitle(kind[0]);
  return `${words.codeWords(kind[0].code)}, ${kind.length} times: ${kind.map((fault) => words.shortPlace(fault.id)).join("; ")}`;
}

export class FaultsView {
  #list = new KeyedList(byId("fault-list"), createKind);

  show(snapshot) {
    const { faults } = snapshot;
    setHidden(byId("faults"), faults.length === 0);
    setText(byId("faults-title"), faults.length === 1 ? "1 thing is wrong" : `${faults.length} things are wrong`);
    this.#list.update(kindsOf(faults), ([fault]) => fault.code, (row, kind) => fillKind(row, kind, snapshot.ts));
  }
}

function createKind() {
  const row = {
    title: make("h3"),
    urgency: make("span", { class: "urgency" }),
    text: make("p"),
    since: make("p", { class: "since" }),
  };
  const sign = make("span", { class: "sign", "aria-hidden": "true" });
  row.node = make("li", { class: "fault" }, sign, make("div", { class: "fault-body" }, row.title, row.text, row.since), row.urgency);
  return row;
}

function fillKind(row, kind, nowTs) {
  const [fault] = kind;
  const sinceTs = Math.min(...kind.map((each) => each.since_ts));
  setAttribute(row.node, "data-severity", fault.severity);
  setAttribute(row.node, "data-code", fault.code);
  setText(row.title, titleOf(kind));
  setText(row.urgency, URGENCY[fault.severity] ?? fault.severity);
  setText(row.text, fault.text);
  const ends = fault.latched ? " Ends only by a reset." : "";
  setText(row.since, `Since ${words.moment(sinceTs, nowTs)}, for ${words.duration(nowTs - sinceTs)}.${ends}`);
}
