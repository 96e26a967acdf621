/* Job: a command in three steps: choose, read what will happen to which car and agree, read the station's answer.
   Units: kW in names. */

import { consequencesOf } from "./consequences.js";
import { byId, make, setHidden, setText } from "./dom.js";
import * as words from "./words.js";

const Step = Object.freeze({ CHOOSE: "choose", CONFIRM: "confirm", ANSWERED: "answered" });

export class ActDialog {
  #dialog = byId("act-dialog");
  #account;
  #current;
  #step = Step.CHOOSE;
  #order = null;
  #read = null;

  /** `current()` gives {snapshot, old}: what the page shows, and whether that is old. */
  constructor(account, current) {
    this.#account = account;
    this.#current = current;
    byId("act-cancel").addEventListener("click", () => this.#dialog.close());
    byId("act-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#next();
    });
  }

  siteLimit() {
    const { site_limit_kw: limitKw } = this.#current().snapshot.station;
    const field = numberField("Limit at the feed, kW AC", words.isLimit(limitKw) ? limitKw : "", words.UNLIMITED_KW);
    const none = make("input", { type: "checkbox", id: "act-none" });
    none.addEventListener("change", () => {
      field.input.disabled = none.checked;
    });
    const choice = make("div", {}, field.node, make("p", {}, make("label", { class: "tick" }, none, " no limit but that of config.ini")));
    this.#choose("Site limit", choice, () => ["station/site_limit", none.checked ? String(words.UNLIMITED_KW) : field.input.value]);
  }

  rule() {
    const { rule } = this.#current().snapshot.station;
    const { node, chosen } = radioField("Share modules by", Object.entries(words.RULES), rule);
    this.#choose("Rule", node, () => ["station/priority", chosen()]);
  }

  drain() {
    const { draining } = this.#current().snapshot.station;
    this.#confirmAtOnce("New cars", ["station/drain", String(!draining)]);
  }

  reset() {
    this.#confirmAtOnce("Reset", ["station/reset", "true"]);
  }

  gun(number) {
    const gun = this.#current().snapshot.guns.find((each) => each.gun === number);
    const field = numberField("Most power, kW", gun.commanded_kw || gun.max_power_kw, gun.max_power_kw);
    const kinds = [["limit", "limit its power"], ["out", "take it out of use"], ["back", "give it all that config.ini allows"]];
    const { node, chosen } = radioField("What shall change", kinds, gun.commanded_kw === 0 ? "back" : "limit");
    const enable = () => {
      field.input.disabled = chosen() !== "limit";
    };
    node.addEventListener("change", enable);
    enable();
    node.append(field.node);
    const payload = { limit: () => field.input.value, out: () => "0", back: () => String(gun.max_power_kw) };
    this.#choose(`Gun ${number}`, node, () => [`${number}/max_power`, payload[chosen()]()]);
  }

  module(number) {
    const module = this.#current().snapshot.modules.find((each) => each.module === number);
    const kinds = [["false", "take it out of use"], ["true", "use it again"]];
    const { node, chosen } = radioField("What shall change", kinds, String(module.state === "disabled"));
    this.#choose(`Module ${number}`, node, () => [`module/${number}/enabled`, chosen()]);
  }

  /** New data: what will happen may have changed while somebody reads it. */
  show() {
    if (this.#dialog.open && this.#step === Step.CONFIRM) this.#tell();
  }

  #choose(title, choice, read) {
    this.#open(title, Step.CHOOSE);
    this.#read = read;
    byId("act-choice").replaceChildren(choice);
    setHidden(byId("act-choice"), false);
    setText(byId("act-go"), "Next");
    (choice.querySelector("input:checked") ?? choice.querySelector("input")).focus();
  }

  #confirmAtOnce(title, order) {
    this.#open(title, Step.CONFIRM);
    this.#confirm(order);
  }

  #open(title, step) {
    this.#step = step;
    setText(byId("act-title"), title);
    setText(byId("act-answer"), "");
    byId("act-answer").removeAttribute("data-mark");
    setHidden(byId("act-confirm"), true);
    setHidden(byId("act-choice"), true);
    setText(byId("act-cancel"), "Cancel");
    setHidden(byId("act-go"), false);
    this.#dialog.showModal();
  }

  #next() {
    if (this.#step === Step.CHOOSE) this.#confirm(this.#read());
    else if (this.#step === Step.CONFIRM) this.#send();
  }

  #confirm(order) {
    this.#order = order;
    this.#step = Step.CONFIRM;
    this.#tell();
    setHidden(byId("act-choice"), true);
    setHidden(byId("act-confirm"), false);
    setText(byId("act-go"), "Yes, do it");
    byId("act-lead").tabIndex = -1;
    byId("act-lead").focus(); // not the button: nobody shall agree by pressing Enter twice
  }

  #tell() {
    const { snapshot, old } = this.#current();
    const { lead, sentences } = consequencesOf(...this.#order, snapshot);
    const all = old ? ["The data on this page is old: this may no longer be true.", ...sentences] : sentences;
    setText(byId("act-lead"), lead);
    const list = byId("act-consequences");
    if (list.textContent !== all.join("")) list.replaceChildren(...all.map((sentence) => make("li", {}, sentence)));
  }

  async #send() {
    const go = byId("act-go");
    go.disabled = true;
    const refused = await this.#account.act(...this.#order);
    go.disabled = false;
    this.#step = Step.ANSWERED;
    const answer = byId("act-answer");
    answer.dataset.mark = refused === null ? "good" : "bad";
    setText(answer, refused === null ? "The station has taken it." : `Not done: ${refused}`);
    setHidden(go, true);
    setText(byId("act-cancel"), "Close");
    byId("act-cancel").focus();
  }
}

function numberField(label, value, most) {
  const input = make("input", { type: "number", id: "act-number", min: 0, max: most, step: "any", required: true, value, inputmode: "decimal" });
  return { node: make("p", { class: "field" }, make("label", { for: "act-number" }, label), input), input };
}

/** `kinds`: [value, words]. `chosen()` gives the value that is marked. */
function radioField(legend, kinds, marked) {
  const node = make("fieldset", {}, make("legend", {}, legend));
  for (const [value, text] of kinds) {
    const input = make("input", { type: "radio", name: "act-kind", value, checked: value === marked });
    node.append(make("label", { class: "tick" }, input, ` ${text}`));
  }
  return { node, chosen: () => node.querySelector("input[type=radio]:checked")?.value };
}
