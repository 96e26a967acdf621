/* Job: what a command will do, to which car, in plain words, before anybody agrees to it. Pure.
   Units: kW in names. What the station does with it stands in docs/monitoring.md. */

import { losses } from "./site.js";
import * as words from "./words.js";

/** {lead, sentences}: what is asked for, and what will happen. Pure. */
export function consequencesOf(command, payload, snapshot) {
  const [place, what] = command.split("/");
  if (place === "module") return moduleWords(Number(what), payload === "true", snapshot);
  if (what === "max_power") return gunWords(Number(place), Number(payload), snapshot);
  return STATION[what](payload, snapshot);
}

const STATION = {
  site_limit: siteLimitWords,
  priority: ruleWords,
  drain: drainWords,
  reset: resetWords,
};

const charges = (gun) => gun.delivered_kw >= 0.5;
const chargingGuns = (snapshot) => snapshot.guns.filter(charges);
const gunNumbers = (guns) => guns.map((gun) => gun.gun);

/** Such as "The car at gun 3 (54 % full, gets 72 kW)" */
function carAt(gun) {
  const full = gun.soc_pct === null ? "" : `${words.percent(gun.soc_pct)} % full, `;
  return `The car at gun ${gun.gun} (${full}gets ${words.kw(gun.delivered_kw)} kW)`;
}

/** A gun that gives nothing now may still have a car that wants something. */
function withoutPower(gun) {
  const wants = gun.asked_kw > 0 || gun.modules.length > 0;
  return wants ? `A car at gun ${gun.gun} asks for ${words.kw(gun.asked_kw)} kW and has none yet.` : "No car is charging there now.";
}

function siteLimitWords(payload, snapshot) {
  const limitKw = Number(payload);
  const { power_kw: powerKw, site_limit_kw: beforeKw } = snapshot.station;
  const guns = chargingGuns(snapshot);
  const before = !words.isLimit(beforeKw) ? "there is no limit now" : `now ${words.kw(beforeKw)} kW`;
  const sentences = [];
  if (guns.length === 0) sentences.push("No car is charging now.");
  else if (limitKw === 0) sentences.push(`All charging stops: ${words.named("gun", gunNumbers(guns))}.`);
  else if (limitKw < powerKw) sentences.push(`Cars get ${words.kw(powerKw)} kW now: they will get less at once, at ${words.named("gun", gunNumbers(guns))}.`);
  else sentences.push(`Cars get ${words.kw(powerKw)} kW now, which the limit allows, as far as losses leave room.`);
  sentences.push("The limit is kept over a restart. It never raises what config.ini allows.");
  return { lead: `Limit the whole site to ${words.kw(limitKw)} kW AC at the feed (${before}).`, sentences };
}

function ruleWords(rule, snapshot) {
  const sentences = ["Cars that are charging keep at least one module.", "The rule of config.ini comes back at the next start."];
  const waiting = snapshot.guns.filter((gun) => gun.state === "waiting" && gun.asked_kw > 0);
  if (waiting.length) sentences.unshift(`${words.capital(words.named("gun", gunNumbers(waiting)))} may get modules sooner or later than now.`);
  return { lead: `Share modules by this rule: ${words.wordOf(words.RULES, rule)}.`, sentences };
}

function drainWords(payload, snapshot) {
  const guns = snapshot.guns.filter((gun) => gun.modules.length > 0);
  if (payload !== "true") return { lead: "Take in new cars again.", sentences: ["Cars that wait are served as the rule says."] };
  const here = guns.length ? `Cars at ${words.named("gun", gunNumbers(guns))} are served to their end.` : "No car is being served now.";
  return { lead: "Take in no new car.", sentences: [here, "Cars that come or wait get no power until a person ends this."] };
}

function resetWords(_payload, snapshot) {
  const latched = snapshot.faults.filter((fault) => fault.latched);
  const sentences = latched.map((fault) => `${words.placeWords(fault.id)}: ${words.codeWords(fault.code, "within")}.`);
  if (!latched.length) sentences.push("Nothing waits for a reset now.");
  sentences.push("What is not proven safe stays as it is. What is, may be switched on again at once: nobody may be at work on it.");
  return { lead: "A person has looked at the site, and the causes of these are mended:", sentences };
}

function gunWords(number, limitKw, snapshot) {
  const gun = snapshot.guns.find((each) => each.gun === number);
  if (limitKw === 0) {
    const car = charges(gun) ? `${carAt(gun)} gets no more power: its current goes down, then its contactors open.` : withoutPower(gun);
    return { lead: `Take gun ${number} out of use.`, sentences: [car, "Its modules are free for other guns.", "It stays out until a person puts it back, or the controller starts anew."] };
  }
  const mostKw = Math.min(limitKw, gun.max_power_kw);
  const sentences = [];
  if (!charges(gun)) sentences.push(withoutPower(gun));
  else if (gun.delivered_kw > mostKw) sentences.push(`${carAt(gun)} will get ${words.kw(mostKw)} kW at most, at once.`);
  else if (gun.asked_kw > gun.delivered_kw + 0.5 && gun.commanded_kw !== null) sentences.push(`${carAt(gun)} asks for ${words.kw(gun.asked_kw)} kW and may get more.`);
  else sentences.push(`Nothing changes for the car at gun ${number} now.`);
  const lead = limitKw >= gun.max_power_kw ? `Gun ${number} may give all that config.ini allows: ${words.kw(gun.max_power_kw)} kW.` : `Limit gun ${number} to ${words.kw(limitKw)} kW.`;
  return { lead, sentences };
}

function moduleWords(number, back, snapshot) {
  if (back) return { lead: `Use module ${number} again.`, sentences: ["It is planned with as soon as it answers and is proven off."] };
  const module = snapshot.modules.find((each) => each.module === number);
  const sentences = [];
  if (module.gun === null) sentences.push("It serves nobody now.");
  else sentences.push(`It serves gun ${module.gun} with ${words.kw(module.power_kw)} kW: its current goes down, then its contactor opens.`);
  const loss = losses(snapshot.station.loss_kw_without_module).find((each) => each.module === number);
  if (loss) for (const [gun, kw] of loss.guns) sentences.push(`The car at gun ${gun} loses about ${words.wholeKw(kw)} kW.`);
  else if (module.gun !== null) sentences.push("Other modules take over: no car loses power for long.");
  sentences.push("It stays out until a person puts it back, or the controller starts anew.");
  return { lead: `Take module ${number} out of use.`, sentences };
}
