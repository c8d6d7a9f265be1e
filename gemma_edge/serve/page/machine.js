// The machine: what runs, where its memory goes, and how other programs use it.

import { byId, bytes, copyButton, count, el } from "./dom.js";

// The tone of each part, darkest what is always there; the words are in the table below it.
const TONES = { weights: "t1", "KV global": "t2", "KV window": "t2", margin: "t5" };
const OTHER = "t3";
const LEAST = 0.4; // per cent of a bar below which a part is not drawn

export function drawMachine(found) {
  byId("machine-page").replaceChildren(...[
    el("div", { class: "welcome" },
      el("h1", {}, found.name),
      el("p", { class: "lead" }, placeOf(found))),
    facts(found),
    ...(found.places ?? []).map(drawPlace),
    (found.reasons ?? []).length > 0 && lines("Why this model, and this way", found.reasons),
    (found.alternatives ?? []).length > 0 && lines("What else would run here", found.alternatives),
    forPrograms(found),
    el("section", { class: "part" }, el("h2", {}, "What leaves this machine"),
      el("p", {}, "Nothing. The page, the model and what you give it are here; the page loads nothing from elsewhere, and the server opens no address out of a request.")),
    el("p", { class: "fine" }, `gemma-edge ${found.version ?? ""}`),
  ].filter(Boolean));
}

/** How it is placed; its name stands above. */
function placeOf({ name, plan }) {
  return plan?.startsWith(name) ? plan.slice(name.length).trim() : plan;
}

function facts({ context_tokens: room, speed, vision, thinking, queue }) {
  const rows = [
    room && ["reads at once", `${count(room)} tokens, about ${count(Math.round(room * 0.7 / 100) * 100)} words`],
    speed?.tokens_per_second && ["writes", `${speed.measured ? "" : "about "}${count(Math.round(speed.tokens_per_second))} tokens a second${speed.measured ? ", measured here" : ", an estimate"}`],
    ["sees pictures", vision === false ? "no" : "yes"],
    thinking !== undefined && ["can think first", thinking ? "yes" : "no"],
    queue && ["answers", `${count(queue.places)} at a time; ${count(queue.active)} now, ${count(queue.waiting)} waiting`],
  ];
  return el("dl", { class: "facts" }, rows.filter(Boolean).map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
}

function drawPlace(place) {
  const name = place.place === "RAM" ? "Main memory" : place.title ?? place.place;
  const free = place.free_bytes || place.total_bytes || place.planned_bytes;
  const parts = place.parts.map((part) => ({ ...part, size: part.bytes ?? part.size_bytes ?? 0 })).filter((part) => part.size > 0);
  const margin = parts.find((part) => part.name === "margin")?.size ?? 0;
  const all = parts.reduce((sum, part) => sum + part.size, 0);
  const taken = all - margin;
  const scale = Math.max(free, all);
  const said = `${bytes(taken)} of ${bytes(free)} that ${place.place === "RAM" ? "were" : "are"} free`;
  const bar = el("div", { class: "ledger", role: "img", "aria-label": `${name}: ${said}` },
    parts.map((part) => {
      const share = (100 * part.size) / scale;
      if (share < LEAST) return null;
      const piece = el("span", { class: TONES[part.name] ?? OTHER, title: `${part.name} ${bytes(part.size)}` });
      piece.style.width = `${share}%`;
      return piece;
    }));
  const rows = parts.map((part) => el("tr", {},
    el("th", { scope: "row" }, el("span", { class: `swatch ${TONES[part.name] ?? OTHER}`, "aria-hidden": "true" }), part.name === "margin" ? "kept free" : part.name),
    el("td", { class: "number" }, `${part.exact === false ? "~" : ""}${bytes(part.size)}`),
    el("td", {}, part.note)));
  return el("section", { class: "part place" },
    el("h2", {}, name, el("span", { class: "fine" }, ` ${said}`)), bar,
    el("details", {}, el("summary", {}, "Every part"), el("table", {}, el("tbody", {}, rows)),
      el("p", { class: "fine" }, "~ an estimate; the others are what llama.cpp allocates, to the byte")));
}

function lines(title, texts) {
  return el("section", { class: "part" }, el("h2", {}, title), el("ul", { class: "plain" }, texts.map((each) => el("li", {}, each))));
}

function forPrograms({ model }) {
  const base = `${location.origin}/v1`;
  const python = `from openai import OpenAI\n\nclient = OpenAI(base_url="${base}", api_key="any")\nanswer = client.chat.completions.create(\n    model="${model}", messages=[{"role": "user", "content": "Hello"}]\n)\nprint(answer.choices[0].message.content)`;
  const shell = `curl ${base}/extract -F file=@bill.pdf`;
  return el("section", { class: "part" }, el("h2", {}, "For other programs"),
    el("p", {}, "Whatever speaks OpenAI’s protocol works with this address and model:"),
    el("dl", { class: "facts" }, [["address", base], ["model", model]].map(([name, value]) => (
      el("div", {}, el("dt", {}, name), el("dd", {}, el("code", {}, value), copyButton(() => value, `Copy the ${name}`)))))),
    snippet("Python", python), snippet("shell, a document to JSON", shell));
}

const snippet = (name, text) => el("div", { class: "code" },
  el("div", { class: "code-head" }, el("span", {}, name), copyButton(() => text, "Copy", { wordy: true })),
  el("pre", { tabindex: "0" }, el("code", {}, text)));
