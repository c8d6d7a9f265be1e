// Documents: dropped, read one after another, and each shown beside its values.

import { events, getJson, Problem, request } from "./api.js";
import { announce, button, byId, copyButton, el, plural, save, trouble } from "./dom.js";
import { drawReview } from "./review.js";

const OWN = ":fields"; // the choice of fields that a person names
const SHOWN_TEXT = 4000; // characters of a growing answer that are shown

let papers = []; // {file, name, state, ...}
let current = null;
let recipes = null;
let reading = false;

export async function startDocuments() {
  if (recipes) return;
  try {
    ({ data: recipes } = await getJson("/v1/recipes"));
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    return; // what a document is can still be recognized; the banner says what is wrong
  }
  const select = byId("recipe");
  const own = select.lastElementChild;
  for (const each of recipes) own.before(el("option", { value: each.name }, each.name.replaceAll("-", " ")));
}

function describeChoice() {
  const chosen = byId("recipe").value;
  const own = chosen === OWN;
  for (const each of document.querySelectorAll("#wishes .own")) each.hidden = !own;
  const recipe = recipes?.find((each) => each.name === chosen);
  byId("recipe-about").textContent = own ? "" : recipe ? aboutRecipe(recipe) : "A bill is read as a bill, a contract as a contract.";
}

function aboutRecipe({ description, fields = [] }) {
  const named = fields.slice(0, 8).map((each) => each.replaceAll("_", " ")).join(", ");
  return [description, named && `${named}${fields.length > 8 ? ", …" : ""}`].filter(Boolean).join(": ");
}

byId("recipe").addEventListener("change", () => {
  describeChoice();
  if (byId("recipe").value === OWN) byId("fields-asked").focus();
});
byId("wishes").addEventListener("submit", (event) => event.preventDefault());
byId("drop").addEventListener("click", () => byId("papers").click());
byId("papers").addEventListener("change", (event) => {
  readDocuments([...event.target.files]);
  event.target.value = "";
});
addEventListener("paste", (event) => {
  if (byId("documents").hidden || event.target.matches("input, textarea")) return;
  const files = [...event.clipboardData.files];
  if (files.length) readDocuments(files);
});

// What is asked, and reading one after another.

function wishes() {
  const chosen = byId("recipe").value;
  const own = byId("fields-asked").value.trim();
  return {
    recipe: chosen === OWN ? "" : chosen,
    schema: chosen === OWN ? own : "",
    pages: byId("only-pages").value.trim(),
  };
}

export function readDocuments(files) {
  const asked = wishes();
  if (byId("recipe").value === OWN && !asked.schema) {
    byId("fields-asked").focus();
    announce("name the fields first");
    showWant("name the fields first, then choose the document");
    return;
  }
  showWant("");
  const added = files.map((file) => ({ file, name: file.name || "pasted picture", asked, state: "waits" }));
  papers.push(...added);
  showPaper(added[0]);
  next();
}

function showWant(text) {
  byId("wishes").querySelector(".trouble")?.remove();
  if (text) byId("wishes").prepend(trouble({ message: text }));
}

async function next() {
  if (reading) return;
  const paper = papers.find((each) => each.state === "waits");
  if (!paper) return;
  reading = true;
  try {
    await readPaper(paper);
  } finally {
    reading = false;
    next();
  }
}

async function readPaper(paper) {
  const controller = new AbortController();
  Object.assign(paper, { state: "reads", controller, notes: [], text: "", progress: null, problem: null });
  changed(paper);
  announce(`reading ${paper.name}`);
  try {
    const form = new FormData();
    form.append("file", paper.file, paper.name);
    for (const [name, value] of Object.entries({ ...paper.asked, password: paper.password })) {
      if (value) form.append(name, value);
    }
    form.append("review", "true");
    form.append("stream", "true");
    const response = await request("/v1/extract", { method: "POST", body: form, signal: controller.signal });
    for await (const data of events(response)) hear(paper, data);
    if (!paper.result) throw new Problem("the reading broke off", { hint: "try again" });
    paper.state = "done";
    announce(`${paper.name} is read: ${summary(paper.result).join(", ")}`);
  } catch (error) {
    if (error.name === "AbortError") paper.state = "stopped";
    else if (error instanceof Problem) Object.assign(paper, { state: "failed", problem: error });
    else throw error;
    announce(paper.problem ? `${paper.name}: ${paper.problem.message}` : `${paper.name}: stopped`);
  }
  paper.element = null;
  changed(paper);
}

function hear(paper, { note, progress, text, result }) {
  if (note) paper.notes.push(note);
  if (progress) paper.progress = progress;
  if (text) paper.text += text;
  if (result) paper.result = result;
  if (!result) later(paper);
}

let due = null;

function later(paper) {
  due ??= requestAnimationFrame(() => {
    due = null;
    if (paper === current && paper.state === "reads") drawWork(paper);
  });
}

// What is shown.

function changed(paper) {
  drawTabs();
  if (paper === current) showPaper(paper);
}

function showPaper(paper) {
  current = paper;
  byId("ask").hidden = paper !== null;
  byId("sheet").hidden = paper === null;
  drawTabs();
  if (paper === null) {
    byId("drop").focus();
    return;
  }
  if (!paper.element) paper.element = paper.state === "done" ? drawResult(paper) : drawWork(paper);
  if (byId("sheet").firstChild !== paper.element) byId("sheet").replaceChildren(paper.element);
  // A form that appears wants to be written into.
  if (paper.state === "failed") paper.element.querySelector("input, select, button")?.focus({ preventScroll: true });
}

function drawTabs() {
  const signs = { waits: "…", reads: "…", done: "", failed: "!", stopped: "–" };
  const states = { waits: "waits", reads: "is being read", done: "is read", failed: "could not be read", stopped: "stopped" };
  const tabs = papers.map((paper) => el("li", {},
    el("button", {
      type: "button", class: `tab ${paper.state}`, title: paper.name, "aria-current": paper === current ? "true" : null,
      "aria-label": `${paper.name}, ${states[paper.state]}`, onclick: () => showPaper(paper),
    }, el("span", { class: "tab-name" }, paper.name), signs[paper.state] && el("span", { "aria-hidden": "true" }, signs[paper.state])),
    button("close", `Put ${paper.name} away`, () => putAway(paper))));
  const focused = document.activeElement?.closest?.("#tabs li");
  const at = focused ? [...byId("tabs").children].indexOf(focused) : -1;
  byId("tabs").replaceChildren(...tabs);
  byId("tabs").hidden = papers.length < (current === null ? 1 : 2); // its name stands above it
  if (at >= 0) (tabs[Math.min(at, tabs.length - 1)]?.firstChild ?? byId("drop")).focus();
}

function putAway(paper) {
  paper.controller?.abort();
  papers = papers.filter((each) => each !== paper);
  if (paper === current) showPaper(papers.at(-1) ?? null);
  else drawTabs();
}

/** While it is read, and when it could not be. */
function drawWork(paper) {
  const { state, problem, progress } = paper;
  paper.element ??= el("div", { class: "scroll" }, el("div", { class: "column work" }));
  const column = paper.element.firstChild;
  const alive = state === "reads" || state === "waits";
  const title = { waits: "waits for its turn", reads: "is being read", failed: "could not be read", stopped: "was not read to its end" }[state];
  const parts = [el("h1", {}, el("bdi", {}, paper.name)), el("p", { class: "lead" }, title)];
  if (alive) parts.push(...drawProgress(paper, progress));
  if (state === "failed") parts.push(drawFailure(paper, problem), el("p", {}, another()));
  if (state === "stopped") parts.push(el("p", {}, button("again", "Read it again", () => readAgain(paper), { wordy: true }), another()));
  if (paper.notes?.length) parts.push(el("ul", { class: "notes" }, paper.notes.map((each) => el("li", { dir: "auto" }, each))));
  if (alive && paper.text) parts.push(el("pre", { class: "growing-data", "aria-hidden": "true" }, paper.text.slice(-SHOWN_TEXT)));
  const focused = column.contains(document.activeElement);
  column.replaceChildren(...parts);
  if (focused) column.querySelector("button")?.focus({ preventScroll: true });
  return paper.element;
}

function drawProgress(paper, progress) {
  const { done_tokens: done, total_tokens: total } = progress ?? {};
  const known = total > 0 && done < total;
  const bar = el("progress", { "aria-label": "reading", ...(known ? { max: total, value: done } : {}) });
  const said = known ? `${plural(done, "token")} of ${total.toLocaleString("en-US")} read` : paper.text ? "writing" : "";
  return [el("div", { class: "progress" }, bar, el("span", { class: "fine" }, said),
    button("stop", "Stop", () => paper.controller?.abort() ?? putAway(paper), { wordy: true }))];
}

function drawFailure(paper, problem) {
  const line = trouble(problem, () => readAgain(paper), "Try again");
  if (problem.code !== "encrypted") return line;
  const field = el("input", { type: "password", id: "paper-password", autocomplete: "off", required: true });
  return el("form", { class: "locked", onsubmit: (event) => {
    event.preventDefault();
    paper.password = field.value;
    readAgain(paper);
  } }, el("p", { class: "trouble" }, el("strong", {}, problem.message)),
  el("label", { for: "paper-password" }, "Password of the document"),
  el("div", { class: "row" }, field, el("button", { type: "submit", class: "main" }, "Open")));
}

const another = () => {
  const made = button("new", "Read another", () => showPaper(null));
  made.classList.remove("square");
  made.append(el("span", { class: "wide" }, "Read another"));
  return made;
};

function readAgain(paper, asked = paper.asked) {
  Object.assign(paper, { state: "waits", asked, result: null, element: null, notes: [] });
  changed(paper);
  next();
}

// A document that is read.

export function summary(result) {
  const { found, claimed, fields } = result.review ?? { found: 0, claimed: 0, fields: [] };
  const doubtful = fields.filter((each) => each.doubtful).length;
  const parts = [claimed ? `${found} of ${claimed} values found in the document` : "no value was read"];
  if (result.checks_total) {
    const held = result.checks_total - Math.min(result.checks?.length ?? 0, result.checks_total);
    parts.push(`${held} of ${plural(result.checks_total, "check")} hold`);
  }
  if (doubtful) parts.push(`${doubtful} to check`);
  return parts;
}

function drawResult(paper) {
  const { result } = paper;
  const stem = paper.name.replace(/\.[^.]+$/, "") || "document";
  const again = el("select", { "aria-label": "Read it as", title: "Read it as" },
    el("option", { value: "" }, "recognize again"),
    (recipes ?? []).map((each) => el("option", { value: each.name, selected: each.name === result.recipe }, each.name.replaceAll("-", " "))),
    !result.recipe && el("option", { value: OWN, selected: true }, "fields of your own"));
  again.addEventListener("change", () => {
    if (again.value !== OWN) readAgain(paper, { ...paper.asked, recipe: again.value, schema: "" });
  });
  const json = () => `${JSON.stringify(result.data, null, 2)}\n`;
  const head = el("header", { class: "result-head" },
    el("div", { class: "result-title" },
      el("h1", {}, el("bdi", {}, paper.name)),
      el("p", { class: "summary" }, summaryLine(result))),
    el("div", { class: "acts" },
      el("label", { class: "pick" }, el("span", {}, "as"), again),
      button("save", "JSON", () => save(`${stem}.json`, "application/json", json()), { wordy: true }),
      button("save", "CSV", () => save(`${stem}.csv`, "text/csv", `\ufeff${result.csv ?? asCsv([paper])}`), { wordy: true }),
      copyButton(json, "Copy JSON"),
      papers.filter((each) => each.result).length > 1 && button("save", "All as JSON", saveAll, { wordy: true }),
      another()));
  return el("div", { class: "result" }, head, drawReview(result, paper.notes));
}

function summaryLine(result) {
  return summary(result).flatMap((part, at) => [
    at > 0 && el("span", { class: "dot-between" }, " · "),
    el("span", { class: part.endsWith("to check") ? "warn" : null }, part),
  ]).concat(result.valid ? [] : [el("span", { class: "warn" }, " · not valid")]);
}

function saveAll() {
  const lines = papers.filter((each) => each.result).map(({ name, result }) => (
    JSON.stringify({ file: name, recipe: result.recipe, valid: result.valid, data: result.data })));
  save("documents.jsonl", "application/x-ndjson", `${lines.join("\n")}\n`);
}

/** One row a document: objects as `vendor.name`, lists as JSON in their cell, as the command does. */
export function asCsv(read) {
  const rows = read.map(({ name, result }) => ({ file: name, valid: result.valid, ...flatten(result.data) }));
  const columns = [...new Set(rows.flatMap((row) => Object.keys(row)))];
  return [columns, ...rows.map((row) => columns.map((column) => row[column]))]
    .map((row) => row.map(cell).join(",")).join("\r\n").concat("\r\n");
}

function flatten(data, before = "") {
  if (data === null || typeof data !== "object" || Array.isArray(data)) return { [before || "data"]: data };
  return Object.assign({}, ...Object.entries(data).map(([key, value]) => flatten(value, before ? `${before}.${key}` : key)));
}

function cell(value) {
  if (value === null || value === undefined) return "";
  let text = typeof value === "object" ? JSON.stringify(value) : String(value);
  if (typeof value === "string" && /^[=+\-@\t\r]/.test(text)) text = `'${text}`; // no formula for a spreadsheet
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

export function keyOfDocuments(event) {
  const review = byId("sheet").querySelector(".review");
  if (!byId("sheet").hidden && review) review.press(event);
}
