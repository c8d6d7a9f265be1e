// The review of a document: its pages on one side, its values on the other, each lighting the other.

import { announce, calm, el, svg } from "./dom.js";

const LONG = 60; // characters from which a value in a table wraps

/** `result` is an answer of /v1/extract with its review; the element has `press` for keys. */
export function drawReview(result, notes = []) {
  const { review } = result;
  const root = el("div", { class: "review" });
  const marks = new Map(); // number of a value -> its marks on pages
  const buttons = new Map(); // number of a value -> its button
  const state = { chosen: null, timer: 0 };

  const light = (number) => {
    root.querySelectorAll(".lit").forEach((each) => each.classList.remove("lit"));
    if (number === null) return;
    buttons.get(number)?.forEach((each) => each.classList.add("lit"));
    marks.get(number)?.forEach((each) => each.classList.add("lit"));
  };
  const reveal = (element, block) => element?.scrollIntoView({
    block, inline: "nearest", behavior: calm() ? "auto" : "smooth",
  });
  const later = (act) => {
    clearTimeout(state.timer);
    state.timer = setTimeout(act, 140);
  };
  const choose = (number) => {
    state.chosen = number;
    light(number);
  };
  const rest = () => later(() => light(state.chosen));
  const showMark = (number) => reveal(marks.get(number)?.[0], "center");

  const wire = (field, number) => {
    field.addEventListener("pointerenter", () => {
      light(number);
      later(() => showMark(number));
    });
    field.addEventListener("pointerleave", rest);
    for (const event of ["focus", "click"]) {
      field.addEventListener(event, () => {
        choose(number);
        showMark(number);
      });
    }
    if (!buttons.has(number)) buttons.set(number, []);
    buttons.get(number).push(field);
  };

  // A text can belong to several values: each click goes on to the next of them.
  const wireMark = (mark, numbers) => {
    const next = () => numbers[(numbers.indexOf(state.chosen) + 1) % numbers.length];
    mark.addEventListener("pointerenter", () => {
      light(next());
      later(() => reveal(buttons.get(next())?.[0], "nearest"));
    });
    mark.addEventListener("pointerleave", rest);
    mark.addEventListener("click", () => {
      const number = next();
      choose(number);
      const field = buttons.get(number)?.[0];
      field?.focus({ preventScroll: true });
      reveal(field, "nearest");
    });
    for (const number of numbers) {
      if (!marks.has(number)) marks.set(number, []);
      marks.get(number).push(mark);
    }
  };

  const pages = drawPages(review, wireMark);
  const values = drawValues(result, notes, wire);
  root.append(pages, values);

  const filter = values.querySelector("input[type=search]");
  const only = values.querySelector("button[aria-pressed]");
  const none = values.querySelector(".none");

  const sift = () => {
    const asked = filter.value.toLocaleLowerCase().split(/\s+/).filter(Boolean);
    const doubtful = only.getAttribute("aria-pressed") === "true";
    let shown = 0;
    for (const each of values.querySelectorAll("[data-find]")) {
      const found = asked.every((word) => each.dataset.find.includes(word)) && (!doubtful || each.closest(".check"));
      each.hidden = !found;
      if (found) shown += 1;
    }
    for (const part of values.querySelectorAll(".part")) {
      const own = [...part.querySelectorAll("[data-find]")];
      part.hidden = own.length > 0 && own.every((each) => each.hidden);
    }
    none.hidden = shown > 0 || review.fields.length === 0;
    announce(shown === 1 ? "1 row" : `${shown} rows`);
  };
  filter.addEventListener("input", sift);
  only.addEventListener("click", () => {
    only.setAttribute("aria-pressed", String(only.getAttribute("aria-pressed") !== "true"));
    sift();
  });

  const step = (by) => {
    const seen = [...values.querySelectorAll(".field, .cell")].filter((each) => each.offsetParent !== null);
    if (!seen.length) return;
    const at = seen.indexOf(document.activeElement);
    const from = at >= 0 ? at : seen.findIndex((each) => each.classList.contains("lit"));
    const next = seen[Math.min(seen.length - 1, Math.max(0, from < 0 ? 0 : from + by))];
    next.focus({ preventScroll: true });
    reveal(next, "nearest");
  };
  const acts = { j: () => step(1), k: () => step(-1), "/": () => filter.focus(), u: () => only.click() };

  root.press = (event) => {
    if (event.key === "Escape") {
      if (document.activeElement === filter) {
        filter.value = "";
        sift();
      }
      choose(null);
    } else if (!event.target.matches("input, select, textarea") && acts[event.key]) {
      event.preventDefault();
      acts[event.key]();
    }
  };
  return root;
}

// Pages.

function drawPages(review, wireMark) {
  const pages = review.pages.map((page) => (page.image ? drawImage(page, wireMark) : drawText(page, wireMark)));
  const missing = review.missing && el("p", { class: "fine missing" }, `${review.missing}.`);
  const nothing = !pages.length && el("p", { class: "fine" }, "No page of this document can be shown.");
  return el("section", { class: "pages", "aria-label": "Pages of the document", tabindex: "0" }, pages, missing, nothing);
}

const numbersOf = (leaves) => leaves.split(" ").filter(Boolean).map(Number);

function drawImage(page, wireMark) {
  const boxes = page.boxes.map((box) => {
    const { left: x, top: y, width, height } = box;
    const made = svg("rect", { class: `box ${box.state}`, x, y, width, height, rx: 1.5 }, svg("title", {}, box.label));
    wireMark(made, numbersOf(box.leaves));
    return made;
  });
  const image = el("img", { src: page.image, alt: `Page ${page.number}` });
  const over = svg("svg", { viewBox: `0 0 ${page.width} ${page.height}`, preserveAspectRatio: "none" }, boxes);
  return el("figure", { class: "image" }, el("figcaption", {}, el("bdi", {}, page.title)), el("div", { class: "sheet" }, image, over));
}

function drawText(page, wireMark) {
  const parts = page.parts.map(([text, leaves]) => {
    if (!leaves) return text;
    const mark = el("mark", {}, text);
    wireMark(mark, numbersOf(leaves));
    return mark;
  });
  return el("figure", { class: "text" }, el("figcaption", {}, el("bdi", {}, page.title)), el("pre", { class: "sheet", dir: "auto" }, parts));
}

// Values: what is to check comes first; rows of a list are a table.

function drawValues(result, notes, wire) {
  const { review } = result;
  const doubtful = review.fields.filter((each) => each.doubtful);
  const groups = groupsOf(review.fields);
  const tools = el("div", { class: "sift", role: "search" },
    el("input", { type: "search", placeholder: "Filter values", "aria-label": "Filter values", autocomplete: "off", spellcheck: "false" }),
    el("button", { type: "button", class: "quiet framed", "aria-pressed": "false", disabled: doubtful.length === 0 }, "Only to check"));
  const told = [...result.problems, ...notes, ...result.notes];
  const failed = (result.checks ?? []).map(({ text }) => text).filter((text) => !told.some((each) => each.includes(text)));
  const problems = [...result.problems, ...failed];
  const said = [...new Set([...notes, ...result.notes].map(plain))].filter((each) => !problems.includes(each));
  return el("section", { class: "values", "aria-label": "Values" }, tools,
    problems.length > 0 && drawLines("Problems", problems, "problems"),
    doubtful.length > 0 && el("section", { class: "part check" }, el("h2", {}, "To check"),
      el("ul", {}, doubtful.map((each) => drawField(each, wire, true)))),
    groups.map((group) => drawGroup(group, wire, doubtful.length > 0)),
    el("p", { class: "fine none", hidden: true }, "No value matches."),
    drawComputed(result.computed),
    said.length > 0 && drawLines("Notes", said, "notes"),
    el("details", { class: "part raw" }, el("summary", {}, "JSON"),
      el("pre", { tabindex: "0" }, JSON.stringify(result.data, null, 2))));
}

/** Without what only helps at a command line. */
const plain = (note) => note.replace(/[;,] -r \S+ names (it|another)/, "").replace(/ \((--[a-z]+( [A-Z]+)?(, )?)+\)/, "");

function drawLines(title, lines, kind) {
  return el("section", { class: `part ${kind}` }, el("h2", {}, title), el("ul", {}, [...new Set(lines)].map((each) => el("li", { dir: "auto" }, each))));
}

function drawComputed(computed) {
  const entries = Object.entries(computed ?? {});
  if (!entries.length) return null;
  return el("section", { class: "part" }, el("h2", {}, "Computed"),
    el("dl", {}, entries.map(([name, value]) => el("div", {}, el("dt", {}, words(name)), el("dd", {}, shown(value))))));
}

const shown = (value) => (typeof value === "string" ? value : JSON.stringify(value));
const words = (name) => String(name).replaceAll("_", " ");

const steps = (path) => path.map((step) => (typeof step === "number" ? step + 1 : words(step))).join(" › ");
const isNumber = (step) => typeof step === "number";

/** In the order of the document; the rows of a list of objects, or of lists, are one table. */
function groupsOf(fields) {
  const groups = new Map();
  for (const field of fields) {
    const at = field.path.slice(0, -1).findLastIndex(isNumber);
    const within = field.path.slice(at + 1);
    const rows = at >= 0 && (within.length === 1 || !within.some(isNumber));
    const key = steps(rows ? field.path.slice(0, at) : at >= 0 ? field.path.slice(0, -1) : []);
    if (!groups.has(key)) groups.set(key, { title: key, rows, at, fields: [] });
    groups.get(key).fields.push(field);
  }
  return [...groups.values()];
}

function drawGroup({ title, rows, at, fields }, wire, someDoubtful) {
  if (rows) return drawTable(title, at, fields, wire);
  if (title) return drawList(title, fields, wire);
  const kept = fields.filter((each) => !each.doubtful);
  const full = kept.filter((each) => each.state !== "empty");
  const empty = kept.filter((each) => each.state === "empty");
  return el("section", { class: "part" },
    full.length > 0 && el("h2", {}, someDoubtful ? "Found" : "Values"),
    el("ul", {}, full.map((each) => drawField(each, wire))),
    empty.length > 0 && el("details", { class: "empties" },
      el("summary", {}, `${empty.length} not in the document`),
      el("ul", {}, empty.map((each) => drawField(each, wire)))));
}

function drawList(title, fields, wire) {
  const kept = fields.filter((each) => !each.doubtful);
  if (!kept.length) return null;
  return el("section", { class: "part" }, el("h2", {}, title), el("ul", {}, kept.map((each) => drawField(each, wire))));
}

function drawField(field, wire, full = false) {
  const name = full ? steps(field.path) : words(labelOf(field));
  const made = el("button", {
    type: "button", class: `field ${field.state}${field.kind.includes("long") ? " tall" : ""}`,
  },
  el("span", { class: "name" }, el("bdi", {}, name)),
  el("span", { class: `value ${field.kind}` }, el("bdi", {}, field.value)),
  el("span", { class: "badge" }, el("span", { "aria-hidden": "true" }, field.sign), el("span", { class: "word" }, ` ${field.word}`),
    field.page && el("span", { class: "page" }, ` p. ${field.page}`)),
  field.detail && el("span", { class: "detail" }, el("bdi", {}, field.detail)));
  wire(made, field.number);
  return el("li", { "data-find": findable(field) }, made);
}

const labelOf = (field) => (field.group ? `${field.group} › ${field.name}` : field.name);
const findable = (field) => `${labelOf(field)} ${words(labelOf(field))} ${field.value}`.toLocaleLowerCase();

/** A list of objects: one line each, without the columns that are empty in all of them. */
function drawTable(title, at, fields, wire) {
  const rows = new Map();
  for (const field of fields) {
    const row = field.path[at];
    const column = steps(field.path.slice(at + 1));
    if (!rows.has(row)) rows.set(row, new Map());
    rows.get(row).set(column, field);
  }
  const all = [...new Set([...rows.values()].flatMap((row) => [...row.keys()]))];
  const columns = all.filter((name) => [...rows.values()].some((row) => (row.get(name)?.state ?? "empty") !== "empty"));
  const numeric = new Set(columns.filter((name) => [...rows.values()].every((row) => {
    const field = row.get(name);
    return !field || field.state === "empty" || /^(int|float)/.test(field.kind);
  })));
  const body = [...rows.values()].map((row) => el("tr", { "data-find": [...row.values()].map(findable).join(" ") },
    columns.map((name) => el("td", { class: numeric.has(name) ? "number" : null }, row.has(name) ? drawCell(row.get(name), name, wire) : null))));
  return el("section", { class: "part rows" }, el("h2", {}, title, el("span", { class: "fine" }, ` ${rows.size}`)),
    el("div", { class: "grid" }, el("table", {},
      el("thead", {}, el("tr", {}, columns.map((name) => el("th", { scope: "col", class: numeric.has(name) ? "number" : null }, name)))),
      el("tbody", {}, body))));
}

function drawCell(field, column, wire) {
  if (field.state === "empty") return el("span", { class: "none-here", "aria-label": "empty" }, "–");
  const how = [field.word, field.page && `page ${field.page}`, field.detail].filter(Boolean).join(", ");
  const made = el("button", {
    type: "button", class: `cell ${field.state}${field.value.length > LONG ? " tall" : ""}`, title: how,
    "aria-label": `${column}: ${field.value}, ${how}`,
  }, el("bdi", {}, field.value), field.doubtful && el("span", { class: "badge", "aria-hidden": "true" }, ` ${field.sign}`));
  wire(made, field.number);
  return made;
}
