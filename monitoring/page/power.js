/* Job: the power of the last hour, in steps of 5 s: what the server kept, then what the stream brings.
   Units: kW; a step is a whole number, its moment is step * STEP_S in Unix seconds. */

export const STEP_S = 5;
export const STEPS = 720;

export class PowerHour {
  /** step -> {count, stationKw, gunsKw: Map(gun -> kW)}: sums of `count` samples */
  #steps = new Map();
  #newest = 0;

  /** Take what /api/power answers; a step that the stream already filled keeps what it has. */
  load({ ts, station_kw: stationKw, guns_kw: gunsKw }) {
    ts.forEach((at, index) => {
      const step = Math.floor(at / STEP_S);
      if (this.#steps.has(step) || stationKw[index] === null) return;
      const guns = Object.entries(gunsKw).map(([gun, kw]) => [Number(gun), kw[index]]);
      this.#steps.set(step, { count: 1, stationKw: stationKw[index], gunsKw: new Map(guns) });
      this.#newest = Math.max(this.#newest, step);
    });
    this.#forget();
  }

  add(snapshot) {
    const step = Math.floor(snapshot.ts / STEP_S);
    if (step < this.#newest) this.#steps.clear(); // the clock was set back: a new hour begins
    if (step < this.#newest) this.#newest = step;
    const kept = this.#steps.get(step) ?? { count: 0, stationKw: 0, gunsKw: new Map() };
    kept.count += 1;
    kept.stationKw += snapshot.station.power_kw;
    for (const gun of snapshot.guns) kept.gunsKw.set(gun.gun, (kept.gunsKw.get(gun.gun) ?? 0) + gun.delivered_kw);
    this.#steps.set(step, kept);
    this.#newest = Math.max(this.#newest, step);
    this.#forget();
  }

  get empty() {
    return this.#steps.size === 0;
  }

  /** Step of the newest mean. */
  get newest() {
    return this.#newest;
  }

  /** Step of the oldest mean that is kept. */
  get oldest() {
    return Math.min(...this.#steps.keys());
  }

  /** The mean of one step; null: nothing is known of it. */
  at(step) {
    const kept = this.#steps.get(step);
    if (!kept) return null;
    const guns = new Map([...kept.gunsKw].map(([gun, kw]) => [gun, kw / kept.count]));
    return { stationKw: kept.stationKw / kept.count, gunsKw: guns };
  }

  #forget() {
    for (const step of this.#steps.keys()) if (step <= this.#newest - STEPS) this.#steps.delete(step);
  }
}
