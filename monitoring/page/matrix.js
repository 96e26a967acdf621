/* Job: the matrix drawn as what it is: modules along one edge, bus bars to the guns, a contactor at each crossing, and
   the way that current takes. Landscape where there is room, else turned by a quarter so that it fits a phone.
   Units: px of the screen, times `f`, the size of type against 16 px; A and kW in names. */

import { Contactor, isClosed } from "./contactor.js";
import { byId, gunClass, make, makeSvg, setAttribute, setAttributes, setText } from "./dom.js";
import { gunState } from "./guns.js";
import { contactWords } from "./matrix_table.js";
import * as words from "./words.js";

/** Below this width (at 16 px type) the drawing is turned. */
const LANDSCAPE_FROM = 620;

export class MatrixView {
  #box = byId("matrix");
  #drawing = null;
  #width = 0;
  #snapshot = null;

  constructor() {
    new ResizeObserver(() => this.#resized()).observe(this.#box);
  }

  show(snapshot) {
    this.#snapshot = snapshot;
    const { guns, modules } = snapshot;
    if (this.#drawing === null || !this.#drawing.fits(guns.length, modules.length)) this.#draw();
    this.#drawing?.fill(snapshot);
  }

  #resized() {
    const width = Math.floor(this.#box.clientWidth);
    if (width === this.#width || width === 0) return;
    this.#width = width;
    if (this.#snapshot === null) return;
    this.#draw();
    this.#drawing.fill(this.#snapshot);
  }

  #draw() {
    this.#width ||= Math.floor(this.#box.clientWidth);
    if (this.#width === 0) return;
    const f = parseFloat(getComputedStyle(document.documentElement).fontSize) / 16;
    const { guns, modules } = this.#snapshot;
    this.#drawing = new Drawing(layoutFor(guns.length, modules.length, this.#width, f));
    this.#box.replaceChildren(this.#drawing.node);
    drawLegend(byId("matrix-legend"), f);
  }
}

// --- where everything lies --------------------------------------------------------------------------------------------

function layoutFor(guns, modules, width, f) {
  return width >= LANDSCAPE_FROM * f ? landscape(guns, modules, width, f) : portrait(guns, modules, width, f);
}

/** Modules on top, their leads run down; bus bars run to the guns on the right. */
function landscape(guns, modules, width, f) {
  const gunBox = { width: 112 * f, height: 44 * f };
  const pitch = Math.min(112 * f, Math.max(56 * f, (width - gunBox.width - 16 * f) / modules));
  const row = 66 * f;
  const moduleBox = { width: pitch - 8 * f, height: 50 * f };
  const busEnd = pitch * modules + 8 * f;
  const crossing = (gun, module) => ({ x: pitch * (module - 0.5) - 10 * f, y: moduleBox.height + 46 * f + row * (gun - 1) });
  return {
    name: "landscape", guns, modules, f, unit: 14 * f, moduleBox, gunBox,
    width: busEnd + gunBox.width + 2 * f,
    height: crossing(guns, 1).y + gunBox.height / 2 + 4 * f,
    at: (gun, module, l, b) => moved(crossing(gun, module), b * 14 * f, l * 14 * f),
    moduleBoxAt: (module) => ({ x: pitch * (module - 1) + 4 * f, y: 1 * f }),
    gunBoxAt: (gun) => ({ x: busEnd, y: crossing(gun, 1).y - gunBox.height / 2 }),
    leadStart: (module) => ({ x: crossing(1, module).x, y: moduleBox.height + 1 * f }),
    busEnd: (gun) => ({ x: busEnd, y: crossing(gun, 1).y }),
  };
}

/** Modules on the left, their leads run to the right; bus bars run down to the guns. */
function portrait(guns, modules, width, f) {
  const moduleBox = { width: 52 * f, height: 38 * f };
  const pitch = Math.min(96 * f, Math.max(34 * f, (width - moduleBox.width - 4 * f) / guns));
  const row = 50 * f;
  const gunBox = { width: pitch - 4 * f, height: 44 * f };
  const busEnd = row * modules + 12 * f;
  const crossing = (gun, module) => ({ x: moduleBox.width + 4 * f + pitch * (gun - 0.5) + 5 * f, y: row * (module - 0.5) - 6 * f });
  return {
    name: "portrait", guns, modules, f, unit: 11.5 * f, moduleBox, gunBox,
    width: moduleBox.width + 4 * f + pitch * guns,
    height: busEnd + gunBox.height + 2 * f,
    at: (gun, module, l, b) => moved(crossing(gun, module), l * 11.5 * f, b * 11.5 * f),
    moduleBoxAt: (module) => ({ x: 1 * f, y: crossing(1, module).y - moduleBox.height / 2 }),
    gunBoxAt: (gun) => ({ x: crossing(gun, 1).x - 5 * f - gunBox.width / 2, y: busEnd }),
    leadStart: (module) => ({ x: moduleBox.width + 1 * f, y: crossing(1, module).y }),
    busEnd: (gun) => ({ x: crossing(gun, 1).x, y: busEnd }),
  };
}

const moved = ({ x, y }, dx, dy) => ({ x: x + dx, y: y + dy });

// --- the drawing ------------------------------------------------------------------------------------------------------

/** Thickness of what is energised, by current. */
const weight = (currentA, f) => f * (2.2 + 5.3 * Math.sqrt(Math.min(Math.max(currentA, 0), 500) / 500));

class Drawing {
  #layout;
  #contactors = new Map();
  #leads = new Map();
  #busParts = new Map();
  #modules = new Map();
  #guns = new Map();

  constructor(layout) {
    this.#layout = layout;
    const { width, height, name } = layout;
    const layers = ["bars", "live", "signs", "boxes"].map((layer) => makeSvg("g", { class: layer }));
    this.node = makeSvg(
      "svg", { class: `matrix-drawing ${name}`, role: "img", width, height, viewBox: `0 0 ${width} ${height}` }, hatch(layout.f), ...layers,
    );
    setAttribute(this.node, "font-size", 13 * layout.f);
    this.#drawBars(layers[0]);
    this.#drawLive(layers[1]);
    this.#drawSigns(layers[2]);
    this.#drawBoxes(layers[3]);
  }

  fits(guns, modules) {
    return this.#layout.guns === guns && this.#layout.modules === modules;
  }

  #drawBars(layer) {
    const { at, leadStart, busEnd, guns, modules } = this.#layout;
    for (let gun = 1; gun <= guns; gun += 1) layer.append(lineBetween("bus", at(gun, 1, 0, -1), busEnd(gun)));
    for (let module = 1; module <= modules; module += 1) layer.append(lineBetween("lead", leadStart(module), at(guns, module, -1, 0)));
  }

  #drawLive(layer) {
    const { at, busEnd, leadStart, guns, modules } = this.#layout;
    for (let gun = 1; gun <= guns; gun += 1) {
      for (let module = 1; module <= modules; module += 1) {
        const end = module < modules ? at(gun, module + 1, 0, 1) : busEnd(gun);
        const part = lineBetween(`flow ${gunClass(gun)}`, at(gun, module, 0, 1), end);
        this.#busParts.set(key(gun, module), part);
        layer.append(part);
      }
    }
    for (let module = 1; module <= modules; module += 1) {
      const lead = lineBetween("flow", leadStart(module), leadStart(module));
      this.#leads.set(module, lead);
      layer.append(lead);
    }
  }

  #drawSigns(layer) {
    const { at, unit, guns, modules } = this.#layout;
    for (let gun = 1; gun <= guns; gun += 1) {
      for (let module = 1; module <= modules; module += 1) {
        const contactor = new Contactor({ unit, at: (l, b) => at(gun, module, l, b) });
        contactor.node.classList.add(gunClass(gun));
        setAttributes(contactor.node, { "data-contact": key(gun, module) });
        this.#contactors.set(key(gun, module), contactor);
        layer.append(contactor.node);
      }
    }
  }

  #drawBoxes(layer) {
    const { guns, modules, moduleBox, gunBox, moduleBoxAt, gunBoxAt, f, name } = this.#layout;
    for (let module = 1; module <= modules; module += 1) {
      const box = new Box(moduleBoxAt(module), moduleBox, f, `M${module}`, "stacked");
      this.#modules.set(module, box);
      layer.append(box.node);
    }
    for (let gun = 1; gun <= guns; gun += 1) {
      const box = new Box(gunBoxAt(gun), gunBox, f, String(gun), name === "landscape" ? "beside" : "stacked");
      box.node.classList.add("gun-box", gunClass(gun));
      this.#guns.set(gun, box);
      layer.append(box.node);
    }
  }

  fill(snapshot) {
    const currents = new Map(snapshot.modules.map((module) => [module.module, Math.abs(module.current_a ?? 0)]));
    const closed = snapshot.crosspoints.filter((contact) => isClosed(contact.state));
    for (const contact of snapshot.crosspoints) {
      const contactor = this.#contactors.get(key(contact.gun, contact.module));
      contactor?.show(contact, contactTitle(contact, currents.get(contact.module)));
    }
    this.#fillBuses(closed, currents);
    this.#fillLeads(closed, currents);
    for (const module of snapshot.modules) this.#modules.get(module.module)?.showModule(module);
    for (const gun of snapshot.guns) this.#guns.get(gun.gun)?.showGun(gun, this.#layout.name);
    setAttribute(this.node, "aria-label", summaryOf(snapshot));
  }

  /** A bus bar carries, from each closed contactor on, what the modules before it give. */
  #fillBuses(closed, currents) {
    const { guns, modules, f } = this.#layout;
    const joined = new Set(closed.map((contact) => key(contact.gun, contact.module)));
    for (let gun = 1; gun <= guns; gun += 1) {
      let sumA = 0;
      let live = false;
      for (let module = 1; module <= modules; module += 1) {
        if (joined.has(key(gun, module))) {
          live = true;
          sumA += currents.get(module) ?? 0;
        }
        showFlow(this.#busParts.get(key(gun, module)), live, sumA, f);
      }
    }
  }

  #fillLeads(closed, currents) {
    const { at, modules, f } = this.#layout;
    for (let module = 1; module <= modules; module += 1) {
      const guns = closed.filter((contact) => contact.module === module).map((contact) => contact.gun);
      const lead = this.#leads.get(module);
      showFlow(lead, guns.length > 0, currents.get(module) ?? 0, f);
      if (!guns.length) continue;
      const end = at(Math.max(...guns), module, -1, 0);
      setAttributes(lead, { x2: end.x, y2: end.y, class: `flow ${gunClass(guns[0])}` });
    }
  }
}

function showFlow(part, live, currentA, f) {
  setAttribute(part, "data-live", live);
  if (live) setAttribute(part, "stroke-width", weight(currentA, f).toFixed(1));
}

const key = (gun, module) => `g${gun}m${module}`;
const lineBetween = (name, from, to) => makeSvg("line", { class: name, x1: from.x, y1: from.y, x2: to.x, y2: to.y });

function hatch(f) {
  const stripe = makeSvg("path", { d: `M-${f},${f} l${2 * f},-${2 * f} M0,${6 * f} l${6 * f},-${6 * f} M${5 * f},${7 * f} l${2 * f},-${2 * f}`, class: "hatch-line" });
  const pattern = makeSvg("pattern", { id: "hatch", patternUnits: "userSpaceOnUse", width: 6 * f, height: 6 * f }, stripe);
  return makeSvg("defs", {}, pattern);
}

function contactTitle(contact, currentA) {
  const { gun, module, unloaded, loaded } = contact;
  const moves = `${words.counted(unloaded, "operation")} without current, ${loaded} with`;
  return `Gun ${gun}, module ${module}: ${contactWords(contact, currentA)}, coil ${contact.commanded ? "on" : "off"}. ${moves}.`;
}

/** The drawing in a few sentences. Pure. */
export function summaryOf(snapshot) {
  const sentences = snapshot.guns.flatMap(({ gun }) => {
    const here = snapshot.crosspoints.filter((contact) => contact.gun === gun && isClosed(contact.state)).map((contact) => contact.module);
    return here.length ? [`Gun ${gun} is joined to ${words.named("module", here)}.`] : [];
  });
  if (!sentences.length) sentences.push("No contactor is closed.");
  for (const contact of snapshot.crosspoints) {
    if (contact.fault === null && !["open_failed", "unknown"].includes(contact.state)) continue;
    sentences.push(`${words.placeWords(key(contact.gun, contact.module))}: ${contactWords(contact)}.`);
  }
  return sentences.join(" ");
}

// --- boxes of modules and guns ----------------------------------------------------------------------------------------

/** A box with a name and a line of text below it (stacked) or beside it. */
class Box {
  #name;
  #line;
  #small;
  #title = makeSvg("title");

  constructor({ x, y }, { width, height }, f, name, shape) {
    const beside = shape === "beside";
    const middle = x + width / 2;
    this.#name = makeSvg("text", { class: "box-name", x: beside ? x + 16 * f : middle, y: beside ? y + height / 2 + 5 * f : y + 16 * f }, name);
    this.#line = makeSvg("text", { class: "box-line", x: beside ? x + 36 * f : middle, y: beside ? y + 19 * f : y + height - 8 * f });
    this.#small = makeSvg("text", { class: "box-small", x: beside ? x + 36 * f : middle, y: beside ? y + 35 * f : y + height - 8 * f });
    this.node = makeSvg(
      "g", { class: `box ${shape}` }, this.#title,
      makeSvg("rect", { class: "box-body", x, y, width, height, rx: 6 * f }),
      makeSvg("rect", { class: "box-flag", x, y, width: beside ? 30 * f : width, height: beside ? height : 4 * f, rx: beside ? 6 * f : 2 * f }),
      this.#name, this.#line, ...(beside ? [this.#small] : []),
    );
  }

  showModule(module) {
    const colour = module.gun === null ? "no-gun" : gunClass(module.gun);
    setAttribute(this.node, "class", `box stacked module-box ${colour}`);
    const { state } = module;
    setAttributes(this.node, { "data-state": state, "data-module": module.module });
    const word = words.wordOf(words.MODULE_STATES, state);
    setText(this.#line, state === "on" ? words.kw(module.power_kw) : SHORT[state] ?? word);
    setText(this.#title, `Module ${module.module}: ${word}, ${words.kw(module.power_kw)} kW, ${module.stage}`);
  }

  showGun(gun, layout) {
    const word = words.wordOf(words.GUN_STATES, gunState(gun));
    const power = words.kw(gun.delivered_kw);
    setAttributes(this.node, { "data-state": gunState(gun), "data-gun": gun.gun });
    setText(this.#line, layout === "landscape" ? `${power} kW` : words.wholeKw(gun.delivered_kw));
    setText(this.#small, word.toLowerCase());
    setText(this.#title, `Gun ${gun.gun}: ${word.toLowerCase()}, ${power} kW`);
  }
}

/** Words that fit a small box. */
const SHORT = { unheard: "unheard", disabled: "out" };

// --- legend -----------------------------------------------------------------------------------------------------------

const SAMPLES = [
  ["open", { state: "open", commanded: false, fault: null }],
  ["closed", { state: "closed", commanded: true, fault: null }],
  ["closing", { state: "closing", commanded: true, fault: null }],
  ["opening", { state: "opening", commanded: false, fault: null }],
  ["welded", { state: "open_failed", commanded: false, fault: "CONTACTOR_WELDED" }],
  ["moved by itself, or did not obey", { state: "intruder", commanded: false, fault: null }],
  ["out of service", { state: "open", commanded: false, fault: "CONTACTOR_STUCK_OPEN" }],
  ["not known", { state: "unknown", commanded: false, fault: null }],
];

function drawLegend(list, f) {
  const signs = SAMPLES.map(([text, contact]) => make("li", {}, signSample(text, contact, f), make("span", {}, text)));
  list.replaceChildren(...signs, make("li", {}, coilSamples(f), make("span", {}, "coil on, coil off")));
}

function signSample(text, contact, f) {
  const at = (l, b) => ({ x: (24 + b * 11) * f, y: (29 + l * 11) * f });
  const sign = new Contactor({ unit: 11 * f, at });
  sign.show(contact, text);
  sign.node.classList.add("sample");
  return sample(54 * f, 42 * f, lineBetween("bus", at(0, -1), at(0, 2.5)), lineBetween("lead", at(-2.2, 0), at(0, 0)), sign.node);
}

function coilSamples(f) {
  const coil = (state, x) => {
    const body = makeSvg("rect", { class: "coil", x: x * f, y: 16 * f, width: 8 * f, height: 10 * f });
    return makeSvg("g", { class: "contactor sample", "data-coil": state }, body);
  };
  return sample(32 * f, 42 * f, coil("on", 5), coil("off", 18));
}

function sample(width, height, ...drawn) {
  return makeSvg("svg", { class: "sign-sample", width, height, viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" }, ...drawn);
}
