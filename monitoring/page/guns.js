/* Job: one card a gun: its car, what it asked for, may have and gets, by which modules, and why.
   Units: kW, V, A, %, kWh, s; in names. */

import { KeyedList, byId, gunBadge, gunClass, make, setAttribute, setHidden, setProperty, setText } from "./dom.js";
import * as words from "./words.js";

/** All bars have one scale, so that guns can be compared: the largest figure in sight, in whole modules, two at least. */
export function scaleKw(guns, moduleKw) {
  const most = Math.max(...guns.flatMap((gun) => [gun.asked_kw, gun.allocated_kw, gun.delivered_kw]));
  return moduleKw * Math.max(2, Math.ceil(most / moduleKw));
}

/** Who is at the gun: what its dispenser tells of the car, and which dispenser that is. */
export function carWords(gun) {
  const car = { "never told": "nothing told of a car", "no car": "no car" }[gun.vehicle_status] ?? `car ${gun.vehicle_status}`;
  return gun.device === null ? car : `${car} · ${gun.device}, gun ${gun.device_gun_id}`;
}

export const outOfUse = (gun) => gun.commanded_kw === 0;

/** A limit of 0 takes a gun out of use, and that says more than that it waits. */
export function gunState(gun) {
  return outOfUse(gun) && ["idle", "waiting"].includes(gun.state) ? "disabled" : gun.state;
}

export class GunsView {
  #list;

  /** `act(gun)` is called when a person who is signed in wants to change a gun. */
  constructor(act) {
    this.#list = new KeyedList(byId("gun-list"), (gun) => createCard(gun, act));
  }

  show(snapshot, signedIn) {
    const around = {
      scaleKw: scaleKw(snapshot.guns, snapshot.station.module_kw),
      moduleKw: snapshot.station.module_kw,
      modules: new Map(snapshot.modules.map((module) => [module.module, module])),
      signedIn,
    };
    this.#list.update(snapshot.guns, (gun) => gun.gun, (card, gun) => fillCard(card, gun, around));
  }
}

function createCard(gun, act) {
  const card = {
    state: make("span", { class: "gun-state" }),
    car: make("p", { class: "car" }),
    soc: make("p", { class: "soc" }),
    socBar: make("div", { class: "soc-bar", "aria-hidden": "true" }, make("span")),
    figures: {},
    bar: make("div", { class: "power-bar", "aria-hidden": "true" }, ...["delivered", "allocated", "asked"].map((of) => make("span", { class: of }))),
    chips: make("ul", { class: "chips", "aria-label": "Modules" }),
    reason: make("p", { class: "reason" }),
    next: make("p", { class: "next" }),
    electrical: make("p", { class: "electrical" }),
    change: make("button", { type: "button", class: "quiet-button", hidden: true }, make("span", {}, "Change"), make("span", { class: "only-heard" }, ` gun ${gun.gun}`), "…"),
  };
  card.chipList = new KeyedList(card.chips, createChip);
  card.change.addEventListener("click", () => act(gun.gun));
  const title = make("h3", {}, gunBadge(gun.gun, "Gun "), " ", card.state);
  const head = make("div", { class: "gun-head" }, title, card.soc, card.car);
  card.node = make(
    "li", { class: `gun ${gunClass(gun.gun)}`, "data-gun": gun.gun }, head, card.socBar, figures(card), card.bar, card.chips, card.reason, card.next,
    make("div", { class: "gun-foot" }, card.electrical, card.change),
  );
  return card;
}

function figures(card) {
  const list = make("dl", { class: "three" });
  for (const [name, label] of [["delivered", "Delivered"], ["allocated", "Allocated"], ["asked", "Asked"]]) {
    const value = make("span", { class: "value" });
    card.figures[name] = value;
    const key = make("span", { class: `key ${name}`, "aria-hidden": "true" });
    list.append(make("div", { class: name }, make("dt", {}, key, label), make("dd", {}, value, name === "delivered" ? make("small", {}, " kW") : make("span", { class: "only-heard" }, " kW"))));
  }
  return list;
}

function fillCard(card, gun, around) {
  setAttribute(card.node, "data-state", gunState(gun));
  setText(card.state, words.wordOf(words.GUN_STATES, gunState(gun)));
  setText(card.car, carWords(gun));
  setText(card.soc, gun.soc_pct === null ? "" : `${words.percent(gun.soc_pct)} %`);
  setHidden(card.socBar, gun.soc_pct === null);
  setProperty(card.socBar, "--share", `${gun.soc_pct ?? 0}%`);
  for (const of of ["delivered", "allocated", "asked"]) {
    setText(card.figures[of], words.kw(gun[`${of}_kw`]));
    setProperty(card.bar, `--${of}`, `${(100 * Math.max(0, gun[`${of}_kw`])) / around.scaleKw}%`);
  }
  setProperty(card.bar, "--module", `${(100 * around.moduleKw) / around.scaleKw}%`);
  fillChips(card, gun, around.modules);
  setText(card.reason, words.reasonWords(gun));
  setAttribute(card.reason, "data-code", gun.reason_code);
  setHidden(card.next, gun.eta_next_module_s === null);
  if (gun.eta_next_module_s !== null) setText(card.next, `Next module in about ${words.duration(gun.eta_next_module_s)}.`);
  setText(card.electrical, electricalWords(gun));
  setHidden(card.change, !around.signedIn);
}

function electricalWords(gun) {
  const parts = [];
  if (gun.voltage_v !== null) parts.push(`${words.volts(gun.voltage_v)} V`);
  if (gun.current_a > 0.05) parts.push(`${words.amperes(gun.current_a)} A`);
  if (gun.energy_kwh > 0) parts.push(`${words.kwh(gun.energy_kwh)} kWh`);
  if (gun.commanded_kw !== null) parts.push(outOfUse(gun) ? "taken out of use" : `limited to ${words.kw(gun.commanded_kw)} kW`);
  return parts.join(" · ");
}

/** Modules that the gun is given, and those still on their way from it. */
function fillChips(card, gun, modules) {
  const leaving = [...modules.values()].filter((module) => module.gun === gun.gun && !gun.modules.includes(module.module));
  const all = [...gun.modules, ...leaving.map((module) => module.module)];
  setHidden(card.chips, all.length === 0);
  card.chipList.update(all, (number) => number, (chip, number) => fillChip(chip, modules.get(number), gun));
}

function createChip(number) {
  const how = make("span", { class: "only-heard" });
  return { node: make("li", {}, make("span", { class: "only-heard" }, "module "), String(number), how), how };
}

function fillChip(chip, module, gun) {
  const serves = module && module.gun === gun.gun && module.state === "on";
  const leaves = !gun.modules.includes(module?.module);
  setAttribute(chip.node, "data-how", leaves ? "leaving" : serves ? "serving" : "coming");
  const stage = module ? module.stage : "not known";
  setText(chip.how, `: ${stage}`);
  setAttribute(chip.node, "title", `Module ${module?.module}: ${stage}`);
}
