/* Job: the sessions of today, and the history of any days to take along; hidden where the station keeps none.
   Units: kWh, kW, s, %; in names; *_ts in Unix seconds; days as YYYY-MM-DD. */

import { askJson, getJson } from "./api.js";
import { KeyedList, byId, gunBadge, make, setAttribute, setHidden, setText } from "./dom.js";
import * as words from "./words.js";

/** Asked for anew so often. */
const EVERY_MS = 30000;
/** Rows shown; the export has all of them. */
const MOST_ROWS = 50;
const COLUMNS = ["Gun", "From", "To", "kWh", "SOC %", "Peak kW", "Mean kW", "Waited", "Modules", "Why it ended"];
const SHEETS = [["sessions", "Sessions"], ["power", "Power by the minute"], ["faults", "Faults"], ["operations", "Contactor operations"]];

export class HistoryView {
  #askedAt = -Infinity;
  #list = null;

  /** Called with each snapshot; asks now and then. */
  look(snapshot) {
    if (performance.now() - this.#askedAt < EVERY_MS) return;
    this.#askedAt = performance.now();
    this.#ask(snapshot.ts);
  }

  async #ask(nowTs) {
    const today = dayOf(nowTs);
    const { status, content: sessions } = await askJson(`api/sessions?from=${today}&limit=${MOST_ROWS}`);
    if (status === 404) this.#askedAt = Infinity; // there is no history here
    if (status !== 200) return;
    const energy = await getJson(`api/history/energy?from=${today}`);
    if (this.#list === null) this.#build(today);
    setText(byId("history-words"), totalWords(energy, sessions.length));
    this.#list.update(sessions, (session) => session.session, fillRow);
  }

  #build(today) {
    setHidden(byId("history"), false);
    const body = make("tbody");
    const head = make("tr", {}, ...COLUMNS.map((column, index) => make("th", { scope: "col", class: classOf(index) }, column)));
    const caption = make("caption", { class: "only-heard" }, "Sessions that began today, the newest first");
    byId("session-table").replaceChildren(caption, make("thead", {}, head), body);
    this.#list = new KeyedList(body, createRow);
    byId("export-from").value = today;
    byId("export-to").value = today;
    const links = SHEETS.flatMap(([sheet, text]) => ["csv", "json"].map((form) => exportLink(sheet, text, form)));
    byId("exports").replaceChildren(...SHEETS.map(([, text], place) => make("li", {}, `${text}: `, links[2 * place], " ", links[2 * place + 1])));
    const point = () => links.forEach((link) => pointAt(link, byId("export-from").value, byId("export-to").value));
    byId("export-from").addEventListener("change", point);
    byId("export-to").addEventListener("change", point);
    point();
  }
}

/** The local day of a moment, YYYY-MM-DD. */
function dayOf(ts) {
  const at = new Date(ts * 1000);
  return [at.getFullYear(), at.getMonth() + 1, at.getDate()].map((part) => String(part).padStart(2, "0")).join("-");
}

function totalWords(energy, rows) {
  const today = energy?.at(-1);
  if (!today) return rows ? "" : "None so far.";
  const more = today.sessions > rows ? `, the newest ${rows} of them here` : "";
  return `${words.counted(today.sessions, "session")} today, ${words.kwh(today.energy_kwh)} kWh${more}.`;
}

const classOf = (column) => (column >= 3 && column <= 6 ? "number" : null);

function createRow(session) {
  const cells = COLUMNS.map((_, index) => make("td", { class: classOf(index) }));
  cells[0].append(gunBadge(session.gun));
  return { node: make("tr", {}, ...cells), cells };
}

function fillRow({ cells }, session) {
  const texts = [
    words.clock(session.from_ts),
    session.to_ts === null ? "still here" : words.clock(session.to_ts),
    words.kwh(session.energy_kwh),
    `${words.percent(session.soc_from_pct)} → ${words.percent(session.soc_to_pct)}`,
    words.kw(session.peak_kw),
    words.kw(session.mean_kw),
    session.waited_s >= 1 ? words.duration(session.waited_s) : words.NOT_KNOWN,
    session.modules.join(" "),
    session.ended_words === null ? "" : words.capital(session.ended_words),
  ];
  texts.forEach((text, index) => setText(cells[index + 1], text));
}

function exportLink(sheet, text, form) {
  const link = make("a", { download: true, "aria-label": `${text} as ${form.toUpperCase()}` }, form.toUpperCase());
  link.dataset.file = `api/export/${sheet}.${form}`;
  return link;
}

/** A day as `to` counts whole; without a day all there is. */
function pointAt(link, from, to) {
  const span = new URLSearchParams({ ...(from && { from }), ...(to && { to }) });
  setAttribute(link, "href", `${link.dataset.file}?${span}`);
}
