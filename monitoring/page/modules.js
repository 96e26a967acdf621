/* Job: one tile a power module: V, A, kW, °C, hours, state, and the gun it serves.
   Units: in names. */

import { KeyedList, byId, gunBadge, gunClass, make, setAttribute, setHidden, setText } from "./dom.js";
import * as words from "./words.js";

export class ModulesView {
  #list;

  /** `act(module)` is called when a person who is signed in wants to change a module. */
  constructor(act) {
    this.#list = new KeyedList(byId("module-list"), (module) => createTile(module, act));
  }

  show(snapshot, signedIn) {
    this.#list.update(snapshot.modules, (module) => module.module, (tile, module) => fillTile(tile, module, signedIn));
  }
}

const FIGURES = [["voltage", "V"], ["current", "A"], ["temperature", "°C"], ["hours", "h"]];
const SPOKEN = { voltage: "Voltage", current: "Current", temperature: "Temperature", hours: "Switched on" };

function createTile(module, act) {
  const tile = {
    state: make("span", { class: "module-state" }),
    gun: make("span", { class: "module-gun" }),
    gunNumber: null,
    kw: make("span"),
    figures: {},
    alarms: make("p", { class: "alarms" }),
    stage: make("p", { class: "stage" }),
    change: make("button", { type: "button", class: "quiet-button", hidden: true }, make("span", {}, "Change"), make("span", { class: "only-heard" }, ` module ${module.module}`), "…"),
  };
  tile.change.addEventListener("click", () => act(module.module));
  const title = make("h3", {}, make("span", { class: "only-heard" }, "Module "), make("span", { class: "module-number" }, String(module.module)), " ", tile.state);
  const list = make("dl");
  for (const [name, unit] of FIGURES) {
    tile.figures[name] = make("span");
    list.append(make("div", {}, make("dt", { class: "only-heard" }, SPOKEN[name]), make("dd", {}, tile.figures[name], make("small", {}, ` ${unit}`))));
  }
  tile.node = make(
    "li", { class: "module", "data-module": module.module },
    make("div", { class: "module-head" }, title, tile.gun),
    make("p", { class: "module-kw" }, tile.kw, make("small", {}, " kW")),
    list, tile.stage, tile.alarms, tile.change,
  );
  return tile;
}

function fillTile(tile, module, signedIn) {
  setAttribute(tile.node, "class", module.gun === null ? "module" : `module ${gunClass(module.gun)}`);
  setAttribute(tile.node, "data-state", module.state);
  setText(tile.state, words.wordOf(words.MODULE_STATES, module.state));
  fillGun(tile, module.gun);
  setText(tile.kw, words.kw(module.power_kw));
  setText(tile.figures.voltage, words.volts(module.voltage_v));
  setText(tile.figures.current, words.amperes(module.current_a));
  setText(tile.figures.temperature, words.celsius(module.temperature_c));
  setText(tile.figures.hours, words.hours(module.hours));
  setText(tile.stage, stageWords(module));
  const alarms = [...module.alarms, ...module.warnings];
  setHidden(tile.alarms, alarms.length === 0);
  setText(tile.alarms, alarms.join(", "));
  setHidden(tile.change, !signedIn);
  setAttribute(tile.node, "title", module.serial === null ? null : `Serial ${module.serial}, ${words.counted(module.starts, "start")}`);
}

function fillGun(tile, gun) {
  if (tile.gunNumber === gun) return;
  tile.gunNumber = gun;
  tile.gun.replaceChildren(...(gun === null ? [] : [gunBadge(gun, "for gun ")]));
}

function stageWords(module) {
  if (module.state === "silent" && module.heard_s !== null) return `last heard ${words.duration(module.heard_s)} ago`;
  const told = module.usable || module.gun !== null || module.state === "disabled";
  return told ? module.stage : "not used";
}
