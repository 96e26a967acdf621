/* Job: build the views, connect them to the stream, and draw at most once a frame.
   Units: none. */

import { ActDialog } from "./act_dialog.js";
import { Account } from "./acting.js";
import { AgeView } from "./age.js";
import { Announcer } from "./announcer.js";
import { getJson } from "./api.js";
import { ChartView } from "./chart.js";
import { byId, setAttribute, setHidden } from "./dom.js";
import { EventsView } from "./events.js";
import { FaultsView } from "./faults.js";
import { GunsView } from "./guns.js";
import { HistoryView } from "./history.js";
import { MatrixTable } from "./matrix_table.js";
import { MatrixView } from "./matrix.js";
import { ModulesView } from "./modules.js";
import { PowerHour } from "./power.js";
import { SiteView } from "./site.js";
import { StationView } from "./station.js";
import { Stream } from "./stream.js";

let newest = null;
let frameAsked = false;

const account = new Account(() => redraw());
const acts = new ActDialog(account, () => ({ snapshot: newest, old: stream.old }));
const power = new PowerHour();
const station = new StationView();
const faults = new FaultsView();
const guns = new GunsView((gun) => acts.gun(gun));
const matrix = new MatrixView();
const table = new MatrixTable();
const modules = new ModulesView((module) => acts.module(module));
const site = new SiteView();
const chart = new ChartView(power);
const events = new EventsView();
const history = new HistoryView();
const age = new AgeView();
const announcer = new Announcer();

const stream = new Stream("api/stream", {
  connected: () => catchUp(),
  snapshot: (snapshot) => take(snapshot),
  news: (news) => events.add(news.events),
  look: () => look(),
});

/** What the stream does not repeat. */
async function catchUp() {
  account.refresh();
  const [kept, hour] = await Promise.all([getJson("api/events?limit=200"), getJson("api/power?minutes=60")]);
  if (kept !== null) events.add(kept);
  if (hour !== null) power.load(hour);
  chart.draw();
}

function take(snapshot) {
  const anew = newest !== null && newest.station.run !== snapshot.station.run;
  newest = snapshot;
  if (anew) {
    events.clear(); // its numbers begin at 1 again
    catchUp();
  }
  power.add(snapshot);
  announcer.snapshot(snapshot);
  history.look(snapshot);
  look();
  redraw();
}

function redraw() {
  if (newest === null || frameAsked) return;
  frameAsked = true;
  requestAnimationFrame(() => {
    frameAsked = false;
    draw(newest);
  });
}

function draw(snapshot) {
  station.show(snapshot);
  faults.show(snapshot);
  guns.show(snapshot, account.signedIn);
  matrix.show(snapshot);
  table.show(snapshot);
  modules.show(snapshot, account.signedIn);
  site.show(snapshot);
  chart.show(snapshot);
  acts.show();
  for (const node of document.querySelectorAll(".needs-sign-in")) setHidden(node, !account.signedIn);
}

function look() {
  announcer.age(age.look(stream));
  // what does not scroll is no stop for the keyboard
  for (const box of document.querySelectorAll(".scroll")) {
    const scrolls = box.scrollWidth > box.clientWidth + 1 || box.scrollHeight > box.clientHeight + 1;
    setAttribute(box, "tabindex", scrolls ? "0" : null);
  }
}

for (const [id, act] of [
  ["act-site-limit", () => acts.siteLimit()],
  ["act-rule", () => acts.rule()],
  ["act-drain", () => acts.drain()],
  ["act-reset", () => acts.reset()],
  ["act-reset-too", () => acts.reset()],
]) byId(id).addEventListener("click", act);

stream.start();
