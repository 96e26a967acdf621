/* Job: what holds for the whole site: limit, rule, new cars, and what the failure of one module would cost.
   Units: kW in names. */

import { FactList, KeyedList, byId, gunBadge, make, setText } from "./dom.js";
import * as words from "./words.js";

/** Losses below this are rounding. */
const LEAST_KW = 0.5;

/** [{module, totalKw, guns: [[gun, kW]]}], the dearest first; modules without which nobody loses are left out. Pure. */
export function losses(lossKwWithoutModule) {
  return Object.entries(lossKwWithoutModule)
    .map(([module, byGun]) => {
      const guns = Object.entries(byGun).filter(([, kw]) => kw >= LEAST_KW).map(([gun, kw]) => [Number(gun), kw]);
      return { module: Number(module), guns, totalKw: guns.reduce((sum, [, kw]) => sum + kw, 0) };
    })
    .filter((loss) => loss.guns.length > 0)
    .sort((one, other) => other.totalKw - one.totalKw || one.module - other.module);
}

export class SiteView {
  #facts = new FactList(byId("site-facts"), ["Limit at the feed", "Measured at the guns", "Rule", "New cars", "Emergency stop"]);
  #losses = new KeyedList(byId("losses"), createLoss);

  show({ station }) {
    this.#facts.set("Limit at the feed", words.isLimit(station.site_limit_kw) ? `${words.kw(station.site_limit_kw)} kW AC` : "none");
    this.#facts.set("Measured at the guns", `${words.kw(station.power_kw)} kW DC`);
    this.#facts.set("Rule", words.wordOf(words.RULES, station.rule));
    this.#facts.set("New cars", station.draining ? "not taken in" : "taken in", station.draining ? "warn" : null);
    this.#facts.set("Emergency stop", station.emergency_stop_healthy ? "loop closed" : "pressed, or wire broken", station.emergency_stop_healthy ? null : "bad");
    const found = losses(station.loss_kw_without_module);
    setText(byId("loss-words"), lossWords(found, station));
    this.#losses.update(found, (loss) => loss.module, fillLoss);
  }
}

function lossWords(found, station) {
  if (found.length) return "What its gun would lose, after the others have been shared out anew:";
  return station.power_kw > LEAST_KW ? "No car would lose anything: others take over." : "No car depends on a module now.";
}

function createLoss({ module }) {
  const guns = make("span", { class: "loss-guns" });
  return { node: make("li", {}, make("span", { class: "loss-module" }, `Module ${module}`), guns), guns, told: "" };
}

function fillLoss(row, loss) {
  const told = loss.guns.map(([gun, kw]) => `${gun}:${words.wholeKw(kw)}`).join();
  if (row.told === told) return;
  row.told = told;
  row.guns.replaceChildren(...loss.guns.map(([gun, kw]) => make("span", { class: "loss" }, gunBadge(gun), ` −${words.wholeKw(kw)} kW`)));
}
