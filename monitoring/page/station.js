/* Job: the station in one sentence, its state, its first figures, and what stands in the foot of the page.
   Units: kW, kWh; in names. */

import { FactList, byId, setAttribute, setText } from "./dom.js";
import { gunState } from "./guns.js";
import * as words from "./words.js";

/** States in which nothing else matters. */
const ALONE = {
  starting: "The station starts and proves that everything is off.",
  stopping: "The station stops: current goes down, then the contactors open.",
  updating: "A new version is being installed.",
  offline: "The controller has ended. Nothing is switched on.",
};

/** What a person shall know first. Pure. */
export function sentenceOf(snapshot) {
  const { station, guns } = snapshot;
  if (station.state === "emergency_stop") return emergencyWords(station);
  if (ALONE[station.state]) return ALONE[station.state];
  const parts = [`${words.capital(carWords(station, guns))}.`];
  if (!station.mqtt) parts.push("The MQTT broker is gone: no gun can ask for power.");
  if (!station.can.up) parts.push("The CAN link to the modules is down.");
  if (station.draining) parts.push("New cars are not taken in.");
  return parts.join(" ");
}

function emergencyWords(station) {
  const next = station.emergency_stop_healthy
    ? "The button is released: look at the site, then reset."
    : "The button is pressed, or its wire is broken.";
  return `Emergency stop: everything is off. ${next}`;
}

function carWords(station, guns) {
  const inState = (...states) => guns.filter((gun) => states.includes(gunState(gun))).length;
  const charging = inState("charging");
  const parts = [];
  if (charging) parts.push(`${cars(charging, "charges", "charge")} with ${words.kw(station.power_kw)} kW`);
  const others = [
    [inState("connecting"), "is being connected", "are being connected"],
    [inState("waiting"), "waits", "wait"],
    [inState("fault"), "has a fault", "have a fault"],
  ];
  for (const [count, one, many] of others) if (count) parts.push(parts.length ? bare(count, one, many) : cars(count, one, many));
  return parts.length ? words.listed(parts) : "no car asks for power";
}

const cars = (count, one, many) => `${words.counted(count, "car")} ${count === 1 ? one : many}`;
const bare = (count, one, many) => `${count} ${count === 1 ? one : many}`;

export class StationView {
  #figures = new FactList(byId("figures"), ["Power now", "Site limit", "Modules at work", "Delivered"]);
  #inside = new FactList(byId("inside"), INSIDE);

  show(snapshot) {
    const { station } = snapshot;
    document.title = `${words.kw(station.power_kw)} kW · ${station.station_id}`;
    setText(byId("station-id"), station.station_id);
    setAttribute(byId("station-state"), "data-state", station.state);
    setText(byId("station-state-words"), words.wordOf(words.STATION_STATES, station.state));
    setText(byId("sentence"), sentenceOf(snapshot));
    this.#showFigures(snapshot);
    this.#showInside(station, snapshot);
  }

  #showFigures({ station, modules }) {
    const atWork = modules.filter((module) => module.state === "on").length;
    this.#figures.set("Power now", `${words.kw(station.power_kw)} kW`);
    this.#figures.set("Site limit", words.limitWords(station.site_limit_kw));
    this.#figures.set("Modules at work", `${atWork} of ${station.modules_available}`);
    this.#figures.set("Delivered", `${words.kwh(station.energy_kwh)} kWh`);
  }

  #showInside(station, { ts, seq }) {
    const { can, messages } = station;
    const refused = Object.values(messages.rejected).reduce((sum, count) => sum + count, 0);
    this.#inside.set("Controller", `${station.version}, runs for ${words.duration(ts - station.started_ts)}`);
    this.#inside.set("MQTT", station.mqtt ? "connected" : "not connected", station.mqtt ? null : "bad");
    this.#inside.set("CAN", can.up ? `up, load ${words.kw(can.load_10s_pct)} %` : "down", can.up ? null : "bad");
    this.#inside.set("CAN frames refused", String(can.rejected + can.foreign + can.send_failures));
    this.#inside.set("Messages refused", `${refused} of ${messages.accepted + refused}`);
    this.#inside.set("Slowest control step", `${Math.round(station.slowest_step_s * 1000)} ms`);
    this.#inside.set("Snapshot", `${seq}, ${station.lost_snapshots} lost`);
  }
}

const INSIDE = [
  "Controller", "MQTT", "CAN", "CAN frames refused", "Messages refused", "Slowest control step", "Snapshot",
];
