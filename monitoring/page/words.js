/* Job: figures and codes of the station as people read them. Pure.
   Units: in each name; ts is Unix seconds. */

export const NOT_KNOWN = "–";

function figure(value, decimals) {
  if (value === null || value === undefined || !Number.isFinite(value)) return NOT_KNOWN;
  const text = value.toFixed(decimals);
  return Number(text) === 0 ? (0).toFixed(decimals) : text; // no "-0.0"
}

export const kw = (value) => figure(value, Math.abs(value ?? 0) < 99.95 ? 1 : 0);
export const wholeKw = (value) => figure(value, 0);
export const volts = (value) => figure(value, 0);
export const amperes = (value) => figure(value, Math.abs(value ?? 0) < 99.95 ? 1 : 0);
export const percent = (value) => figure(value, 0);
export const celsius = (value) => figure(value, 0);
export const kwh = (value) => figure(value, Math.abs(value ?? 0) < 99.95 ? 1 : 0);
export const hours = (value) => figure(value, Math.abs(value ?? 0) < 99.95 ? 1 : 0);

/** 5 s, 3 min, 2 h 10 min, 4 days */
export function duration(seconds) {
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return counted(Math.floor(s / 86400), "day");
}

const CLOCK = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const SHORT_CLOCK = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });

export const clock = (ts) => CLOCK.format(ts * 1000);
export const shortClock = (ts) => SHORT_CLOCK.format(ts * 1000);

/** 12:40, or 24 Nov 12:40 when that was another day than `nowTs` */
export function moment(ts, nowTs) {
  const sameDay = new Date(ts * 1000).toDateString() === new Date(nowTs * 1000).toDateString();
  return sameDay ? shortClock(ts) : `${DAY.format(ts * 1000)} ${shortClock(ts)}`;
}

export function counted(count, noun) {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}

/** 1; 1 and 2; 1, 2 and 4 */
export function listed(words) {
  const texts = words.map(String);
  if (texts.length < 2) return texts.join("");
  return `${texts.slice(0, -1).join(", ")} and ${texts.at(-1)}`;
}

/** gun 1; guns 1 and 2 */
export function named(noun, numbers) {
  return `${noun}${numbers.length === 1 ? "" : "s"} ${listed(numbers)}`;
}

export function capital(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** CAN_LINK_DOWN -> CAN link down; within a sentence: BUS_CHARGED -> bus charged */
export function codeWords(code, where = "alone") {
  const words = code.split("_").map((word) => (KEPT.has(word) ? word : word.toLowerCase()));
  return where === "alone" ? capital(words.join(" ")) : words.join(" ");
}
const KEPT = new Set(["CAN", "MQTT", "ID"]);

/** m3 -> Module 3, g1m3 -> Contactor of gun 1 and module 3 */
export function placeWords(id) {
  const [, gun, module] = /^(?:g(\d+))?(?:m(\d+))?$/.exec(id) ?? [];
  if (gun && module) return `Contactor of gun ${gun} and module ${module}`;
  if (gun) return `Gun ${gun}`;
  if (module) return `Module ${module}`;
  return "Station";
}

/** m3 -> module 3, g1m3 -> gun 1 module 3 */
export function shortPlace(id) {
  return id.replace(/^g(\d+)/, "gun $1 ").replace(/m(\d+)$/, "module $1").trim();
}

/** The sentence of a gun without the code that may stand before it. */
export function reasonWords(gun) {
  const bare = gun.reason.startsWith(`${gun.reason_code} `) ? gun.reason.slice(gun.reason_code.length + 1) : gun.reason;
  return `${capital(bare)}.`;
}

export const STATION_STATES = {
  starting: "starting",
  ready: "ready",
  degraded: "degraded",
  emergency_stop: "emergency stop",
  stopping: "stopping",
  updating: "updating",
  offline: "off",
};

export const GUN_STATES = {
  idle: "Free",
  waiting: "Waiting",
  connecting: "Connecting",
  charging: "Charging",
  stopping: "Stopping",
  fault: "Fault",
  disabled: "Out of use",
};

export const MODULE_STATES = {
  unheard: "not heard",
  off: "off",
  on: "on",
  silent: "silent",
  fault: "fault",
  refused: "refused",
  disabled: "out of use",
};

export const CONTACT_STATES = {
  open: "open",
  closing: "closing",
  closed: "closed",
  close_failed: "did not close",
  opening: "opening",
  open_failed: "welded",
  dropped: "opened by itself",
  intruder: "closed by itself",
  unknown: "not known",
};

export const RULES = {
  highest_demand: "highest demand first",
  first_come: "first come, first served",
  lowest_soc: "emptiest battery first",
  fair_share: "fair share",
  gun_priority: "by the order of the guns",
};

/** What to call a word that the station learned after this page was written. */
export function wordOf(table, key) {
  return table[key] ?? String(key).replaceAll("_", " ");
}

/** The most that a command for the site may say; it limits nothing. */
export const UNLIMITED_KW = 10000;
export const isLimit = (limitKw) => limitKw !== null && limitKw < UNLIMITED_KW;
export const limitWords = (limitKw) => (isLimit(limitKw) ? `${kw(limitKw)} kW` : "none");
