/* Job: how old the data is, at every moment, and a banner when it is old. Nothing old may look as if it were live.
   Units: s. */

import { byId, setAttribute, setHidden, setText } from "./dom.js";
import { OLD_S } from "./stream.js";
import * as words from "./words.js";

/** Before the title, until the next snapshot brings a new one. */
const OLD_TITLE = "old: ";
const startedAt = performance.now();

export class AgeView {
  /** "none", "live" or "old" */
  look(stream) {
    const ageS = stream.ageS;
    const age = ageS === null ? "none" : stream.old ? "old" : "live";
    setAttribute(document.documentElement, "data-age", age);
    setText(byId("age"), ageWords(age, ageS, stream.connected));
    const banner = bannerWords(age, ageS, stream.connected);
    setHidden(byId("old"), banner === "");
    setText(byId("old"), banner);
    if (age === "old" && !document.title.startsWith(OLD_TITLE)) document.title = OLD_TITLE + document.title;
    return age;
  }
}

function ageWords(age, ageS, connected) {
  if (age === "none") return connected ? "waiting for the station" : "connecting";
  return age === "live" ? `live, ${Math.floor(ageS)} s old` : `${words.duration(ageS)} old`;
}

function bannerWords(age, ageS, connected) {
  const why = connected ? "The station tells nothing." : "There is no connection; it is tried again by itself.";
  if (age === "old") return `This page shows old data: last heard ${words.duration(ageS)} ago. ${why}`;
  const waits = age === "none" && performance.now() - startedAt > OLD_S * 1000;
  return waits ? `There is no data yet. ${why}` : "";
}
