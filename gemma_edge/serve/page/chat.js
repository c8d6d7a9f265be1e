// The conversation: a tree of messages, of which one path is shown. Editing a message, or asking
// again, begins a branch and loses nothing. It lives in this tab and nowhere else.

import { Problem, events, getJson, postJson } from "./api.js";
import { announce, button, byId, copyButton, count, el, icon, plural, readAs, save, tokens, trouble } from "./dom.js";
import { render, spoken } from "./markdown.js";

const MAX_TEXT = 400_000; // characters of a text file that is attached; no context holds more
const NEAR_END = 80; // pixels from the end within which new words are followed
const PATIENT = 3; // seconds of reading that pass without a word
const SAID_EVERY = 4000; // milliseconds between two things said to a screen reader

const IMAGE = /^image\/|\.(heic|heif|avif|jxl|tiff?|bmp|webp)$/i;
const TEXT = /^text\/|json$|xml$|\.(txt|md|csv|tsv|log|ya?ml|toml|ini|py|js|ts|c|h|cpp|rs|go|java|sh|sql|css|tex|rst)$/i;

let machine = {};
let openDocument = () => {};
let root = { children: [], at: 0 };
let files = []; // attached to the next message
let running = null; // {controller, node}
let instructions = "";

const words = byId("words");
const thread = byId("thread");
const scroller = byId("thread-scroll");

/** `read` opens a document in the other view. */
export function startChat({ read }) {
  openDocument = read;
  byId("composer").addEventListener("submit", (event) => {
    event.preventDefault();
    submit();
  });
  words.addEventListener("input", fit);
  words.addEventListener("keydown", onKey);
  words.addEventListener("paste", onPaste);
  byId("stop").addEventListener("click", stop);
  byId("attach").addEventListener("click", () => byId("files").click());
  byId("start-look").addEventListener("click", () => byId("files").click());
  byId("files").addEventListener("change", (event) => {
    attach([...event.target.files]);
    event.target.value = "";
  });
  byId("start-talk").addEventListener("click", () => {
    words.value = "Write a friendly reminder that the rent is due on Friday.";
    fit();
    words.focus();
  });
  byId("chat-new").addEventListener("click", clear);
  byId("chat-save").addEventListener("click", saveThread);
  byId("to-end").addEventListener("click", () => toEnd(true));
  scroller.addEventListener("scroll", () => {
    byId("to-end").hidden = atEnd();
  }, { passive: true });
  byId("tune").addEventListener("click", () => {
    byId("instructions").value = instructions;
    byId("tune-dialog").showModal();
  });
  byId("tune-dialog").addEventListener("close", () => {
    instructions = byId("instructions").value.trim();
    byId("tune").classList.toggle("active", instructions !== "");
  });
  byId("instructions-clear").addEventListener("click", () => {
    byId("instructions").value = "";
    byId("instructions").focus();
  });
  addEventListener("beforeunload", (event) => {
    if (root.children.length) event.preventDefault(); // it would be lost: the browser asks
  });
  fit();
}

export function showMachine(found) {
  machine = found;
  byId("thinking-label").hidden = found.thinking === false;
  byId("start-look-item").hidden = found.vision === false;
  const accept = [".txt,.md,.csv,.json,.log,text/*"];
  if (found.vision !== false) accept.push("image/*,.heic,.heif");
  byId("files").accept = accept.join(",");
  showUsage();
}

export const focusChat = () => words.focus({ preventScroll: true });

// What is written.

function fit() {
  words.style.height = "auto";
  words.style.height = `${Math.min(words.scrollHeight, innerHeight * 0.4)}px`;
  byId("send").disabled = !words.value.trim() && !files.length;
}

function onKey(event) {
  if (event.isComposing) return; // Enter ends a word of Chinese or Japanese, not a message
  if (event.key === "Enter" && !event.shiftKey) {
    event.preventDefault();
    submit();
  } else if (event.key === "ArrowUp" && !words.value && !running) {
    const last = path().reverse().find((node) => node.role === "user");
    if (last) {
      event.preventDefault();
      edit(last);
    }
  }
}

function onPaste(event) {
  const pasted = [...event.clipboardData.files];
  if (!pasted.length) return;
  event.preventDefault();
  attach(pasted);
}

/** Take pictures and texts for the next message; documents go to the other view. */
export async function attach(given) {
  for (const file of given) {
    const kind = `${file.type || file.name}`;
    if (IMAGE.test(kind) || IMAGE.test(file.name)) await attachPicture(file);
    else if (TEXT.test(kind) || TEXT.test(file.name)) await attachText(file);
    else offerDocument(file);
  }
  showChips();
  focusChat();
}

async function attachPicture(file) {
  if (machine.vision === false) {
    complain(`${file.name}: the model that runs sees no pictures`, "start the server with one that does");
    return;
  }
  files.push({ name: file.name || "picture", kind: "picture", url: await readAs(file, "url") });
  announce(`${file.name || "picture"} is attached`);
}

async function attachText(file) {
  const text = await readAs(file, "text");
  if (text.length > MAX_TEXT) {
    complain(`${file.name} is too long: ${count(text.length)} characters`, "read it under Documents");
    return;
  }
  files.push({ name: file.name, kind: "text", text });
  announce(`${file.name} is attached`);
}

function offerDocument(file) {
  complain(`${file.name} is a document`, "its values are read under Documents", {
    act: "Read it there", go: () => openDocument([file]),
  });
}

function showChips() {
  byId("chips").replaceChildren(...files.map((file, at) => el("li", { class: "chip" },
    thumbnail(file),
    el("span", { class: "chip-name", title: file.name }, file.name),
    button("close", `Remove ${file.name}`, () => {
      files.splice(at, 1);
      showChips();
      focusChat();
    }),
  )));
  fit();
}

/** A picture, or a sign for one that this browser cannot draw. */
function thumbnail(file, alt = "") {
  if (file.kind !== "picture") return icon("doc");
  const image = el("img", { src: file.url, alt });
  image.addEventListener("error", () => image.replaceWith(icon("image")));
  return image;
}

/** A line over the composer, which goes when something else is done. */
function complain(message, hint = "", { act, go } = {}) {
  byId("composer").querySelector(".trouble")?.remove();
  const line = trouble({ message, hint }, act && (() => {
    line.remove();
    go();
  }), act);
  line.append(button("close", "Dismiss", () => line.remove()));
  byId("composer").prepend(line);
}

function submit() {
  const text = words.value.trim();
  if (running || (!text && !files.length)) return;
  byId("composer").querySelector(".trouble")?.remove();
  const node = grow(path().at(-1) ?? root, { role: "user", text, files });
  words.value = "";
  files = [];
  showChips();
  answer(node);
}

// The tree.

function grow(parent, node) {
  Object.assign(node, { parent, children: [], at: 0 });
  parent.children.push(node);
  parent.at = parent.children.length - 1;
  return node;
}

function path() {
  const found = [];
  for (let node = root.children[root.at]; node; node = node.children[node.at]) found.push(node);
  return found;
}

function clear() {
  if (running) stop();
  root = { children: [], at: 0 };
  draw();
  showUsage();
  announce("a new chat");
  focusChat();
}

function saveThread() {
  const parts = path().map((node) => {
    const named = (node.files ?? []).map((file) => `*${file.name}*\n\n`).join("");
    return `## ${node.role === "user" ? "You" : machine.name || "Answer"}\n\n${named}${node.text}`;
  });
  const day = new Date().toLocaleDateString("sv"); // 2026-11-30
  save(`chat ${day}.md`, "text/markdown", `${parts.join("\n\n")}\n`);
}

// Asking.

/** What was not answered is left out, with its answer: it would be asked once more, or be too long
 * once more. */
function messagesTo(node) {
  const found = [asMessage(node)];
  for (let reply = node.parent; reply.role; reply = reply.parent.parent) {
    if (reply.text) found.unshift(asMessage(reply.parent), { role: "assistant", content: reply.text });
  }
  if (instructions) found.unshift({ role: "system", content: instructions });
  return found;
}

function asMessage({ text, files: attached }) {
  if (!attached?.length) return { role: "user", content: text };
  const parts = attached.map((file) => (file.kind === "picture"
    ? { type: "image_url", image_url: { url: file.url } }
    : { type: "text", text: `${file.name}:\n\n${file.text}` }));
  if (text) parts.push({ type: "text", text });
  return { role: "user", content: parts };
}

async function answer(question) {
  const node = grow(question, { role: "assistant", text: "", thoughts: "", state: "waiting" });
  const controller = new AbortController();
  running = { controller, node };
  busy(true);
  draw();
  toEnd();
  const reader = new Said();
  const ticking = setInterval(() => tell(node), 1000);
  node.asked = performance.now();
  try {
    const body = {
      model: machine.model ?? "default", messages: messagesTo(question), stream: true,
      stream_options: { include_usage: true },
    };
    if (machine.thinking !== false) body.reasoning_effort = byId("thinking").value;
    const response = await postJson("/v1/chat/completions", body, { signal: controller.signal });
    for await (const data of events(response)) {
      take(node, data);
      reader.hear(node.text);
    }
    if (!node.finish) throw new Problem("the answer broke off", { hint: "try again", code: "broken" });
    node.state = node.finish === "length" ? "cut" : "done";
  } catch (error) {
    if (error.name === "AbortError") node.state = "stopped";
    else if (error instanceof Problem) Object.assign(node, { state: "failed", problem: error });
    else throw error;
  } finally {
    clearInterval(ticking);
    running = null;
    busy(false);
    refresh(node);
    draw();
    showUsage();
    reader.end(node);
  }
}

function take(node, data) {
  const [choice] = data.choices ?? [];
  const { content = "", reasoning_content: thoughts = "" } = choice?.delta ?? {};
  node.text += content ?? "";
  node.thoughts += thoughts ?? "";
  if (choice?.finish_reason) node.finish = choice.finish_reason;
  if (data.usage) node.usage = data.usage;
  if (content || thoughts) {
    node.last = performance.now();
    node.first ??= node.last;
  }
  if (content) node.state = "answering";
  else if (thoughts) node.state = "thinking";
  later(node);
}

/** How long it has been reading, and whether others are answered before. */
async function tell(node) {
  const seconds = Math.floor((performance.now() - node.asked) / 1000);
  if (seconds < PATIENT || node.state !== "waiting") return;
  if (seconds % PATIENT === 0) {
    const { queue } = await getJson("/v1/status").catch(() => ({}));
    node.queued = queue?.waiting > 0;
  }
  node.parts.wait.lastChild.textContent = `${node.queued ? "waiting for others" : "reading"}, ${seconds} s`;
}

let due = null;

/** At most one drawing a frame, however fast the words come. */
function later(node) {
  due ??= requestAnimationFrame(() => {
    due = null;
    if (running?.node !== node) return;
    const follow = atEnd();
    refresh(node);
    if (follow) toEnd();
  });
}

function stop() {
  running?.controller.abort();
  announce("stopped");
}

export function escape() {
  if (running) stop();
}

function busy(is) {
  const focused = document.activeElement;
  byId("stop").hidden = !is;
  byId("send").hidden = is;
  byId("composer").classList.toggle("busy", is);
  if (is && focused === byId("send")) byId("stop").focus();
  // On a telephone the keyboard would come up.
  if (!is && focused === byId("stop")) (matchMedia("(hover: hover)").matches ? words : thread).focus({ preventScroll: true });
  if (is) announce("waiting for the answer");
}

/** What a screen reader hears of an answer: whole blocks, and not too many at once. */
class Said {
  said = 0;
  last = performance.now();

  hear(text) {
    if (performance.now() - this.last < SAID_EVERY) return;
    this.tell(spoken(text).slice(this.said, -1));
  }

  tell(blocks) {
    if (!blocks.length) return;
    this.last = performance.now();
    this.said += blocks.length;
    announce(blocks.join("\n"));
  }

  end(node) {
    const rest = spoken(node.text).slice(this.said);
    const how = { stopped: "stopped", failed: node.problem?.message, cut: "the answer is cut" }[node.state];
    if (node.state !== "stopped" || rest.length) announce([...rest, how ?? ""].join("\n"));
  }
}

// Drawing. Each message is one element, made once.

function draw() {
  const shown = path();
  byId("welcome").hidden = shown.length > 0;
  byId("chat-tools").hidden = shown.length === 0;
  byId("chat").classList.toggle("empty", shown.length === 0);
  const wanted = shown.map((node) => {
    node.element ??= node.role === "user" ? drawQuestion(node) : drawAnswer(node);
    drawActions(node, node === shown.at(-1));
    return node.element;
  });
  [...thread.children].forEach((each) => wanted.includes(each) || each.remove());
  wanted.forEach((each, at) => thread.children[at] === each || thread.insertBefore(each, thread.children[at] ?? null));
}

function drawQuestion(node) {
  const pictures = node.files.filter((file) => file.kind === "picture");
  const texts = node.files.filter((file) => file.kind !== "picture");
  return el("article", { class: "turn question", "aria-label": "You" },
    pictures.length > 0 && el("div", { class: "pictures" }, pictures.map((file) => thumbnail(file, file.name))),
    texts.map((file) => el("p", { class: "chip" }, icon("doc"), el("span", { class: "chip-name" }, file.name))),
    node.text && el("div", { class: "bubble", dir: "auto" }, node.text),
    el("div", { class: "actions" }));
}

function drawAnswer(node) {
  node.parts = {
    thoughts: el("details", { class: "thoughts", hidden: true }, el("summary"), el("div", { class: "prose" })),
    prose: el("div", { class: "prose" }),
    wait: el("p", { class: "wait" }, el("span", { class: "pulse", "aria-hidden": "true" }), el("span", {}, "reading")),
    note: el("div"),
  };
  const { thoughts, prose, wait, note } = node.parts;
  const made = el("article", { class: "turn answer", "aria-label": "Answer" }, thoughts, prose, wait, note, el("div", { class: "actions" }));
  thoughts.addEventListener("toggle", () => refresh(node));
  node.element = made;
  refresh(node);
  return made;
}

function refresh(node) {
  const { thoughts, prose, wait, note } = node.parts;
  const alive = running?.node === node;
  thoughts.hidden = !node.thoughts;
  const used = node.usage?.completion_tokens_details?.reasoning_tokens;
  thoughts.firstChild.textContent = node.state === "thinking" ? "thinking" : `thought${used ? ` for ${plural(used, "token")}` : ""}`;
  thoughts.classList.toggle("live", alive && node.state === "thinking");
  if (thoughts.open) render(thoughts.lastChild, node.thoughts, { open: alive });
  render(prose, node.text, { open: alive });
  wait.hidden = !alive || node.text !== "" || node.state === "thinking";
  prose.classList.toggle("growing", alive && node.text !== "");
  note.replaceChildren();
  if (alive) return;
  const ends = { stopped: node.text ? "stopped" : "stopped before the first word", done: node.text ? "" : "the answer is empty" };
  if (ends[node.state]) note.append(el("p", { class: "fine" }, ends[node.state]));
  if (node.state === "cut") note.append(cutLine(node));
  if (node.state === "failed") note.append(trouble(node.problem, () => again(node), "Try again"));
}

function cutLine(node) {
  const at = node.usage ? ` at ${plural(node.usage.completion_tokens, "token")}` : "";
  return el("p", { class: "trouble" }, el("span", {}, `the answer stopped${at}, before its end`),
    button(null, "Go on", () => {
      if (running) return;
      answer(grow(node, { role: "user", text: "Go on where you stopped.", files: [] }));
    }, { wordy: true }));
}

function drawActions(node, last) {
  const place = node.element.querySelector(":scope > .actions");
  const idle = running === null;
  place.classList.toggle("last", last);
  if (running?.node === node) {
    place.replaceChildren();
    return;
  }
  const acts = [branches(node)];
  if (node.text) acts.push(copyButton(() => node.text, "Copy"));
  if (node.role === "user" && idle) acts.push(button("edit", "Change this message", () => edit(node)));
  if (node.role === "assistant" && idle && node.state !== "failed") acts.push(button("again", "Answer again", () => again(node)));
  if (node.role === "assistant" && node.usage && node.first) acts.push(el("span", { class: "fine" }, speedOf(node)));
  place.replaceChildren(...acts.filter(Boolean));
}

/** `‹ 2 of 3 ›` where a message was changed or answered again. */
function branches(node) {
  const { parent } = node;
  const { length } = parent.children;
  if (length < 2) return null;
  const at = parent.children.indexOf(node);
  const go = (by) => () => {
    if (running) return;
    parent.at = at + by;
    draw();
    showUsage();
    const shown = parent.children[parent.at].element;
    shown.querySelector(`.branches button[data-by="${by}"]:not(:disabled), .branches button:not(:disabled)`)?.focus();
    announce(`version ${parent.at + 1} of ${length}`);
  };
  const step = (sign, label, by) => {
    const made = button(sign, label, go(by));
    made.dataset.by = by;
    made.disabled = at + by < 0 || at + by >= length;
    return made;
  };
  return el("span", { class: "branches" }, step("left", "Earlier version", -1),
    el("span", {}, `${at + 1} of ${length}`), step("right", "Later version", 1));
}

function again(node) {
  if (!running) answer(node.parent);
}

function edit(node) {
  const bubble = node.element.querySelector(".bubble");
  if (running || node.element.querySelector("form")) return;
  const field = el("textarea", { "aria-label": "Your message", rows: Math.min(12, node.text.split("\n").length + 1) });
  field.value = node.text;
  const done = () => {
    form.remove();
    if (bubble) bubble.hidden = false;
    node.element.querySelector(".actions").hidden = false;
  };
  const form = el("form", { class: "editing", onsubmit: (event) => {
    event.preventDefault();
    const text = field.value.trim();
    if (!text && !node.files.length) return;
    done();
    answer(grow(node.parent, { role: "user", text, files: node.files }));
  } }, field, el("div", { class: "row" }, el("span", { class: "space" }),
    button(null, "Cancel", () => {
      done();
      focusChat();
    }, { wordy: true }),
    el("button", { type: "submit", class: "main" }, "Send")));
  field.addEventListener("keydown", (event) => {
    if (event.isComposing) return;
    if (event.key === "Escape") {
      event.stopPropagation();
      done();
      focusChat();
    } else if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      form.requestSubmit();
    }
  });
  if (bubble) bubble.hidden = true;
  node.element.querySelector(".actions").hidden = true;
  node.element.insertBefore(form, node.element.querySelector(".actions"));
  field.focus();
  field.setSelectionRange(field.value.length, field.value.length);
}

// How much of the context is used, and how fast it went.

function speedOf(node) {
  const written = node.usage.completion_tokens - 1; // the first ended the reading
  const seconds = (node.last - node.first) / 1000;
  const said = [];
  if (written > 0 && seconds > 0) {
    const speed = written / seconds;
    said.push(`${speed < 10 ? speed.toFixed(1) : count(Math.round(speed))} tok/s`);
  }
  said.push(`first word ${((node.first - node.asked) / 1000).toFixed(1)} s`);
  return said.join(" · ");
}

function showUsage() {
  const last = path().reverse().find((node) => node.usage);
  const room = machine.context_tokens;
  byId("meter").hidden = !last || !room;
  if (!last || !room) return;
  const used = last.usage.total_tokens ?? last.usage.prompt_tokens + last.usage.completion_tokens;
  const share = Math.min(100, (100 * used) / room);
  byId("meter-used").setAttribute("stroke-dasharray", `${share} 100`);
  byId("meter-text").textContent = `${count(used)} of ${room < 10_000 ? count(room) : tokens(room)}`;
  byId("meter").setAttribute("aria-label", `${count(used)} of ${count(room)} tokens of the context are used`);
  byId("meter").title = `${count(used)} of ${count(room)} tokens: what the model can read at once`;
  byId("meter").classList.toggle("full", share > 85);
}

const atEnd = () => scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < NEAR_END;

function toEnd(gently = false) {
  const calmly = matchMedia("(prefers-reduced-motion: reduce)").matches;
  scroller.scrollTo({ top: scroller.scrollHeight, behavior: gently && !calmly ? "smooth" : "instant" });
}
