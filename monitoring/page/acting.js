/* Job: who may act: signing in and out, and sending a command. The cookie is the browser's, the CSRF word ours.
   Units: none. */

import { getJson, postJson } from "./api.js";
import { byId, setHidden, setText } from "./dom.js";

const NOT_REACHED = "The page's server was not reached, so it is not known whether this arrived. Look at what the page shows.";

export class Account {
  #changed;
  #csrf = null;
  #offered = false;
  #dialog = byId("sign-in-dialog");

  /** `changed()` is called whenever somebody has signed in or out. */
  constructor(changed) {
    this.#changed = changed;
    byId("sign-in").addEventListener("click", () => this.#open());
    byId("sign-out").addEventListener("click", () => this.#signOut());
    byId("sign-in-cancel").addEventListener("click", () => this.#dialog.close());
    byId("sign-in-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#signIn();
    });
    this.#dialog.addEventListener("close", () => {
      byId("token").value = "";
    });
  }

  get signedIn() {
    return this.#csrf !== null;
  }

  /** Ask the server, at the start and after each new connection: a session ends with the server. */
  async refresh() {
    const me = await getJson("api/me");
    if (me === null) return;
    this.#offered = me.acting;
    this.#take(me.signed_in ? me.csrf : null);
  }

  /** Send a command; null: taken, else why not, in words. */
  async act(command, payload) {
    const { status, content } = await postJson("api/act", { command, payload }, { "X-CSRF-Token": this.#csrf ?? "" });
    if (status === 200) return null;
    if (status === 401) {
      this.#take(null);
      return "You are no longer signed in. Sign in and try again.";
    }
    if (status === 0) return NOT_REACHED;
    return content.refused ?? wordsOf(content, "The station did not take it.");
  }

  #open() {
    setText(byId("sign-in-answer"), "");
    this.#dialog.showModal();
    byId("token").focus();
  }

  async #signIn() {
    const { status, content } = await postJson("api/login", { token: byId("token").value });
    if (status === 200) {
      this.#take(content.csrf);
      this.#dialog.close();
      return;
    }
    const otherwise = status === 0 ? "The page's server was not reached." : "This did not work.";
    setText(byId("sign-in-answer"), wordsOf(content, otherwise));
    byId("token").select();
  }

  async #signOut() {
    const { status } = await postJson("api/logout", {}, { "X-CSRF-Token": this.#csrf ?? "" });
    if (status !== 0) this.#take(null);
    byId("sign-in").focus();
  }

  #take(csrf) {
    this.#csrf = csrf;
    setHidden(byId("account"), !this.#offered && csrf === null);
    setHidden(byId("sign-in"), csrf !== null);
    setHidden(byId("sign-out"), csrf === null);
    setHidden(byId("signed-in"), csrf === null);
    this.#changed();
  }
}

/** Refusals are {"detail": "sentence"}. */
function wordsOf(content, otherwise) {
  return typeof content.detail === "string" ? content.detail : otherwise;
}
