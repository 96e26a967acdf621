/* Job: the power of the last hour, stacked by gun, drawn in SVG; a slider looks back at one moment.
   Units: px of the screen, kW, steps of 5 s. */

import { byId, gunBadge, gunClass, make, makeSvg, setAttribute, setAttributes, setText } from "./dom.js";
import { STEPS, STEP_S } from "./power.js";
import * as words from "./words.js";

/** A station that just started shows ten minutes, then ever more, up to the hour. */
const LEAST_STEPS = 600 / STEP_S;
/** Drawn again at most this often; a step takes 5 s, its mean moves a little with each snapshot. */
const REDRAW_MS = 1000;

export class ChartView {
  #power;
  #box = byId("chart");
  #slider = byId("look-back");
  #drawnAt = -Infinity;
  #guns = [];
  #limitKw = null;
  /** the step that is looked at; null: the newest */
  #lookedAt = null;
  #frame = null;
  #span = LEAST_STEPS;

  constructor(power) {
    this.#power = power;
    this.#slider.addEventListener("input", () => this.#look(Number(this.#slider.value)));
    this.#box.addEventListener("pointermove", (event) => this.#point(event));
    this.#box.addEventListener("pointerleave", () => this.#look(this.#span - 1));
    new ResizeObserver(() => this.draw()).observe(this.#box);
  }

  show(snapshot) {
    this.#limitKw = words.isLimit(snapshot.station.site_limit_kw) ? snapshot.station.site_limit_kw : null;
    const guns = snapshot.guns.map((gun) => gun.gun);
    if (guns.join() !== this.#guns.join()) {
      this.#guns = guns;
      byId("chart-legend").replaceChildren(...guns.map((gun) => make("li", {}, gunBadge(gun))));
    }
    if (performance.now() - this.#drawnAt >= REDRAW_MS) this.draw();
  }

  draw() {
    this.#drawnAt = performance.now();
    const width = this.#box.clientWidth;
    if (width === 0 || this.#power.empty || !this.#guns.length) return;
    const f = parseFloat(getComputedStyle(document.documentElement).fontSize) / 16;
    this.#span = spanOf(this.#power);
    setAttributes(this.#slider, { max: this.#span - 1 });
    const hour = hourOf(this.#power, this.#span);
    const known = hour.filter((mean) => mean !== null);
    const most = Math.max(...known.map((mean) => mean.stationKw));
    this.#frame = frameFor(width, f, this.#power.newest, this.#span, ceiling(most, this.#limitKw));
    const summary = summaryOf(this.#power, hour);
    const svg = makeSvg("svg", { role: "img", width, height: this.#frame.height, viewBox: `0 0 ${width} ${this.#frame.height}`, "font-size": 12 * f });
    setAttribute(svg, "aria-label", `Power of the last hour. ${summary}`);
    svg.append(...axes(this.#frame), ...areas(this.#frame, hour, this.#guns), ...limitLine(this.#frame, this.#limitKw));
    this.#cursor = makeSvg("line", { class: "cursor" });
    svg.append(this.#cursor);
    this.#box.replaceChildren(svg);
    setText(byId("power-summary"), summary);
    this.#showLook();
  }

  #cursor = null;

  #point(event) {
    if (this.#frame === null) return;
    const { left, plotWidth } = this.#frame;
    const share = (event.clientX - this.#box.getBoundingClientRect().left - left) / plotWidth;
    const place = Math.round(Math.min(1, Math.max(0, share)) * (this.#span - 1));
    this.#slider.value = String(place);
    this.#look(place);
  }

  #look(place) {
    this.#lookedAt = place >= this.#span - 1 ? null : this.#power.newest - (this.#span - 1) + place;
    this.#showLook();
  }

  #showLook() {
    if (this.#frame === null || this.#cursor === null) return;
    const { newest } = this.#power;
    if (this.#lookedAt !== null && this.#lookedAt <= newest - this.#span) this.#lookedAt = null;
    const step = this.#lookedAt ?? newest;
    const x = this.#frame.x(step);
    setAttributes(this.#cursor, { x1: x, x2: x, y1: this.#frame.top, y2: this.#frame.bottom, "data-live": this.#lookedAt === null });
    this.#slider.value = String(step - newest + this.#span - 1);
    const readout = readoutOf(step, this.#power.at(step));
    setText(byId("readout"), readout);
    setAttribute(this.#slider, "aria-valuetext", readout);
  }
}

// --- figures ----------------------------------------------------------------------------------------------------------

/** So many steps are shown, in tens of minutes. */
function spanOf(power) {
  const known = power.newest - power.oldest + 1;
  return Math.min(STEPS, Math.ceil(known / LEAST_STEPS) * LEAST_STEPS);
}

/** The means of what is shown, oldest first; null where nothing is known. */
function hourOf(power, span) {
  return Array.from({ length: span }, (_, index) => power.at(power.newest - (span - 1) + index));
}

/** Such as "Most 312 kW at 12:40, mean 190 kW." */
function summaryOf(power, hour) {
  let [most, mostStep, sum, count] = [0, power.newest, 0, 0];
  hour.forEach((mean, index) => {
    if (mean === null) return;
    sum += mean.stationKw;
    count += 1;
    if (mean.stationKw > most) [most, mostStep] = [mean.stationKw, power.newest - (hour.length - 1) + index];
  });
  if (most < 0.05) return "No power so far.";
  return `Most ${words.kw(most)} kW at ${words.shortClock(mostStep * STEP_S)}, mean ${words.kw(sum / count)} kW.`;
}

function readoutOf(step, mean) {
  const at = words.clock(step * STEP_S);
  if (mean === null) return `${at}: nothing is known.`;
  const guns = [...mean.gunsKw].filter(([, kw]) => kw >= 0.05).map(([gun, kw]) => `gun ${gun} ${words.kw(kw)}`);
  return `${at}: ${words.kw(mean.stationKw)} kW${guns.length ? ` (${guns.join(", ")})` : ""}`;
}

/** A round figure above all that is shown; the limit is shown when it is near. */
function ceiling(most, limitKw) {
  const shown = limitKw !== null && limitKw <= 2 * Math.max(most, 40) ? Math.max(most, limitKw) : most;
  const wanted = Math.max(shown * 1.08, 20);
  return [20, 40, 60, 80, 100, 120, 160, 200, 240, 320, 400, 480, 600, 800, 1000, 1200, 1600, 2000].find((kw) => kw >= wanted) ?? wanted;
}

// --- drawing ----------------------------------------------------------------------------------------------------------

function frameFor(width, f, newest, span, topKw) {
  const height = Math.round(Math.min(300 * f, Math.max(180 * f, width * 0.36)));
  const [left, right, top, bottom] = [40 * f, width - 8 * f, 10 * f, height - 24 * f];
  const plotWidth = right - left;
  return {
    f, width, height, left, right, top, bottom, plotWidth, topKw, newest, span,
    x: (step) => left + (plotWidth * (step - newest + span - 1)) / (span - 1),
    y: (kw) => bottom - ((bottom - top) * kw) / topKw,
  };
}

function axes(frame) {
  const { left, right, bottom, topKw, newest, span, f } = frame;
  const drawn = [];
  for (let part = 0; part <= 4; part += 1) {
    const kw = (topKw * part) / 4;
    const y = frame.y(kw);
    drawn.push(makeSvg("line", { class: "grid", x1: left, x2: right, y1: y, y2: y }));
    drawn.push(makeSvg("text", { class: "tick-y", x: left - 6 * f, y: y + 4 * f }, words.wholeKw(kw)));
  }
  const everyS = (span > 2 * LEAST_STEPS ? 600 : 120) * (frame.plotWidth > 480 * f ? 1 : 2);
  const firstS = Math.ceil(((newest - span + 1) * STEP_S) / everyS) * everyS;
  for (let at = firstS; at <= newest * STEP_S; at += everyS) {
    const x = frame.x(at / STEP_S);
    drawn.push(makeSvg("line", { class: "grid", x1: x, x2: x, y1: frame.top, y2: bottom }));
    if (x > left + 8 * f && x < right - 12 * f) drawn.push(makeSvg("text", { class: "tick-x", x, y: bottom + 17 * f }, words.shortClock(at)));
  }
  drawn.push(makeSvg("text", { class: "tick-y unit", x: left - 6 * f, y: bottom + 17 * f }, "kW"));
  return drawn;
}

/** One path a gun: the sum of the guns below it, and itself on top; a step that is not known is a gap. */
function areas(frame, hour, guns) {
  const base = new Float64Array(frame.span);
  const first = frame.newest - (frame.span - 1);
  const paths = [];
  for (const gun of guns) {
    const top = hour.map((mean, index) => (mean === null ? null : base[index] + Math.max(0, mean.gunsKw.get(gun) ?? 0)));
    const parts = stretches(top).map(([from, to]) => stretch(frame, first, base, top, from, to));
    top.forEach((kw, index) => {
      if (kw !== null) base[index] = kw;
    });
    if (parts.some((part) => part)) paths.push(makeSvg("path", { class: `area ${gunClass(gun)}`, d: parts.join("") }));
  }
  return paths;
}

/** [from, to] of each run of known steps. */
function stretches(top) {
  const found = [];
  top.forEach((kw, index) => {
    if (kw === null) return;
    if (found.length && found.at(-1)[1] === index - 1) found.at(-1)[1] = index;
    else found.push([index, index]);
  });
  return found;
}

/** The outline of one gun's area, without the points that lie on the sum below it on both sides. */
function stretch(frame, first, base, top, from, to) {
  const upper = [];
  const lower = [];
  for (let index = from; index <= to; index += 1) {
    const x = frame.x(first + index).toFixed(1);
    upper.push(`${x},${frame.y(top[index]).toFixed(1)}`);
    lower.push(`${x},${frame.y(base[index]).toFixed(1)}`);
  }
  const flat = upper.every((point, index) => point === lower[index]);
  return flat ? "" : `M${upper.join("L")}L${lower.reverse().join("L")}Z`;
}

function limitLine(frame, limitKw) {
  if (limitKw === null || limitKw > frame.topKw) return [];
  const y = frame.y(limitKw);
  return [
    makeSvg("line", { class: "limit", x1: frame.left, x2: frame.right, y1: y, y2: y }),
    makeSvg("text", { class: "limit-words", x: frame.left + 4 * frame.f, y: y - 5 * frame.f }, `site limit ${words.kw(limitKw)} kW`),
  ];
}
