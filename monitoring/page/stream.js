/* Job: the live data: server-sent events, their age, and connecting again with back-off.
   Units: s in names. A snapshot that was seen before is not news, whoever sends it again: the age goes on. */

/** Data older than this is said to be old. */
export const OLD_S = 3;
const FIRST_WAIT_S = 1;
const LONGEST_WAIT_S = 15;
/** Nothing at all for so long: the connection is dead although nobody said so (a cable was pulled). */
const QUIET_S = 10;
const LOOK_S = 0.5;

/** Both clocks of the browser: one does not count while the device sleeps, the other one jumps when it is set. */
function stamp(agoS = 0) {
  return { monotonic: performance.now() / 1000 - agoS, wall: Date.now() / 1000 - agoS };
}

function since(moment) {
  return Math.max(0, performance.now() / 1000 - moment.monotonic, Date.now() / 1000 - moment.wall);
}

export class Stream {
  #url;
  #listener;
  #source = null;
  #retry = null;
  #waitS = FIRST_WAIT_S;
  #heard = stamp();
  #made = null;
  #newest = "";
  #connected = false;

  /** `listener`: snapshot(snapshot), news(news), look() each half second, connected() at each new connection. */
  constructor(url, listener) {
    this.#url = url;
    this.#listener = listener;
  }

  start() {
    this.#open();
    setInterval(() => this.#look(), LOOK_S * 1000);
    addEventListener("online", () => this.#openSooner());
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden) this.#openSooner();
    });
  }

  /** Connected to the page's server (which may itself have lost the station). */
  get connected() {
    return this.#connected;
  }

  /** Age of the newest snapshot; null: there was none yet. */
  get ageS() {
    return this.#made === null ? null : since(this.#made);
  }

  get old() {
    return this.#made === null || this.ageS > OLD_S;
  }

  #open() {
    clearTimeout(this.#retry);
    this.#source?.close();
    this.#heard = stamp();
    const source = new EventSource(this.#url);
    this.#source = source;
    source.addEventListener("open", () => {
      this.#connected = true;
      this.#listener.connected();
    });
    source.addEventListener("snapshot", (event) => this.#take(JSON.parse(event.data)));
    source.addEventListener("news", (event) => {
      this.#heard = stamp();
      this.#listener.news(JSON.parse(event.data));
    });
    source.addEventListener("stale", (event) => this.#takeStale(JSON.parse(event.data).age_s));
    source.addEventListener("error", () => this.#openLater());
  }

  #take(snapshot) {
    this.#heard = stamp();
    const name = `${snapshot.station.run} ${snapshot.seq}`;
    if (name !== this.#newest) {
      this.#newest = name;
      this.#made = stamp();
      this.#waitS = FIRST_WAIT_S;
    }
    this.#listener.snapshot(snapshot);
  }

  #takeStale(ageS) {
    this.#heard = stamp();
    if (this.#made !== null && ageS > since(this.#made)) this.#made = stamp(ageS);
    this.#listener.look();
  }

  #openLater() {
    this.#connected = false;
    this.#source?.close();
    this.#source = null;
    clearTimeout(this.#retry);
    // many pages must not come back in the same moment
    this.#retry = setTimeout(() => this.#open(), this.#waitS * 1000 * (0.75 + Math.random() / 2));
    this.#waitS = Math.min(2 * this.#waitS, LONGEST_WAIT_S);
    this.#listener.look();
  }

  #openSooner() {
    if (this.#source === null || since(this.#heard) > OLD_S) this.#open();
  }

  #look() {
    if (this.#source !== null && since(this.#heard) > QUIET_S) this.#openLater();
    this.#listener.look();
  }
}
