// Requests to the server that this page came from, and to no other.

const KEY = "gemma-edge.key"; // of this tab alone: sessionStorage ends with it

/** What went wrong, in a sentence, with a way out. */
export class Problem extends Error {
  constructor(message, { hint = "", code = "", status = 0, retryAfter = 0 } = {}) {
    super(message);
    Object.assign(this, { hint, code, status, retryAfter });
  }
}

let askKey = async () => false;

/** `ask` shows a person that a key is wanted, and resolves to it, or to null. */
export function onKeyWanted(ask) {
  askKey = ask;
}

export function storedKey() {
  try {
    return sessionStorage.getItem(KEY) ?? "";
  } catch {
    return ""; // a browser that stores nothing
  }
}

let key = storedKey();

function rememberKey(value) {
  key = value;
  try {
    if (value) sessionStorage.setItem(KEY, value);
    else sessionStorage.removeItem(KEY);
  } catch {
    // Then it is asked for again after a reload.
  }
}

/** fetch with the key; throws a Problem unless the server said yes. */
export async function request(path, options = {}) {
  for (;;) {
    const used = key;
    const response = await send(path, options, used);
    if (response.ok) return response;
    if (response.status !== 401) throw await problemOf(response);
    if (used === key) {
      const given = await askKey(used !== "");
      if (!given) throw await problemOf(response);
      rememberKey(given);
    }
  }
}

async function send(path, options, used) {
  const headers = new Headers(options.headers);
  if (used) headers.set("Authorization", `Bearer ${used}`);
  try {
    return await fetch(path, { ...options, headers, credentials: "omit", cache: "no-store", redirect: "error" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    dispatchEvent(new Event("unreachable"));
    throw new Problem("the server does not answer", {
      hint: "is `gemma-edge serve` still running?", code: "unreachable",
    });
  }
}

async function problemOf(response) {
  let said = {};
  try {
    said = (await response.json()).error ?? {};
  } catch {
    // What stands between, a proxy perhaps, has pages of its own.
  }
  const retryAfter = Number(response.headers.get("Retry-After")) || 0;
  const { message = `the server says ${response.status} ${response.statusText}`.trim() } = said;
  return new Problem(message, { hint: said.hint, code: said.code, status: response.status, retryAfter });
}

export const getJson = async (path, options) => (await request(path, options)).json();

export const postJson = (path, body, options = {}) =>
  request(path, {
    ...options, method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json" },
  });

/** The data of server-sent events, parsed. Ends with the stream; throws a Problem where
 * the connection breaks, or the server tells of one. */
export async function* events(response) {
  let lines = []; // of the event that comes
  for await (const line of linesOf(response)) {
    if (line) {
      lines.push(line);
      continue;
    }
    const data = lines.filter((each) => each.startsWith("data:")).map((each) => each.slice(5).trimStart()).join("\n");
    lines = [];
    if (data === "[DONE]") return;
    if (data) yield parse(data);
  }
}

/** Each is looked at once, however long it is: the pages of a document come in one of megabytes. */
async function* linesOf(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let pieces = []; // of the line that comes
  try {
    for (;;) {
      const { done, value } = await read(reader);
      if (done) return;
      const ended = value.split("\n");
      const rest = ended.pop();
      for (const end of ended) {
        yield [...pieces, end].join("").replace(/\r$/, "");
        pieces = [];
      }
      pieces.push(rest);
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

async function read(reader) {
  try {
    return await reader.read();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem("the connection ended before the answer did", { hint: "try again", code: "broken" });
  }
}

function parse(data) {
  const value = JSON.parse(data);
  if (value.error) throw new Problem(value.error.message ?? "the answer broke off", value.error);
  return value;
}
