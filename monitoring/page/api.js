/* Job: what is asked of the page's server beside the stream. Paths are relative, so that a proxy may put the page
   anywhere. Units: none. */

/** The answer as an object; null when there is none to be had just now. */
export async function getJson(path) {
  const { status, content } = await askJson(path);
  return status === 200 ? content : null;
}

/** {status, content}; status 0: the server was not reached, or did not answer in JSON. */
export async function askJson(path) {
  try {
    const answer = await fetch(path, { headers: { Accept: "application/json" }, cache: "no-store" });
    return { status: answer.status, content: await answer.json() };
  } catch {
    return { status: 0, content: null };
  }
}

/** The same for what changes something. */
export async function postJson(path, content, headers = {}) {
  try {
    const answer = await fetch(path, {
      method: "POST",
      headers: { "Content-Type": "application/json", Accept: "application/json", ...headers },
      body: JSON.stringify(content),
      cache: "no-store",
    });
    const text = await answer.text();
    return { status: answer.status, content: text ? JSON.parse(text) : {} };
  } catch {
    return { status: 0, content: {} };
  }
}
