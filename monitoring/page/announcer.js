/* Job: what a screen reader is told without being asked: the station's state, faults, old data. Nothing else, and only
   when it changes. Units: none. */

import { faultTitle, nameOf } from "./faults.js";
import { byId, setText } from "./dom.js";
import * as words from "./words.js";

export class Announcer {
  #state = null;
  #faults = null;
  #age = "none";

  snapshot({ station, faults }) {
    const news = [];
    if (this.#state !== null && station.state !== this.#state) news.push(`The station is now: ${words.wordOf(words.STATION_STATES, station.state)}.`);
    const standing = new Map(faults.map((fault) => [nameOf(fault), faultTitle(fault)]));
    if (this.#faults !== null) {
      for (const [name, title] of standing) if (!this.#faults.has(name)) news.push(`Fault: ${title}.`);
      for (const [name, title] of this.#faults) if (!standing.has(name)) news.push(`Ended: ${title}.`);
    }
    this.#state = station.state;
    this.#faults = standing;
    if (news.length) setText(byId("announcer"), news.join(" "));
  }

  age(age) {
    if (age === this.#age) return;
    if (age === "old") setText(byId("announcer"), "This page shows old data.");
    if (age === "live" && this.#age === "old") setText(byId("announcer"), "The data is live again.");
    this.#age = age;
  }
}
