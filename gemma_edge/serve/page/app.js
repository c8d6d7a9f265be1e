// The frame: which view is shown, what runs, the key, and files that are dropped anywhere.

import { getJson, onKeyWanted, Problem } from "./api.js";
import { attach, escape, focusChat, showMachine, startChat } from "./chat.js";
import { announce, button, byId, el } from "./dom.js";
import { keyOfDocuments, readDocuments, startDocuments } from "./documents.js";
import { drawMachine } from "./machine.js";

const VIEWS = { chat: "Chat", documents: "Documents", machine: "This machine" };
const AGAIN = 5000; // milliseconds until a server that is gone is asked again

const view = () => (location.hash.slice(1) in VIEWS ? location.hash.slice(1) : "chat");

function show({ focus = false } = {}) {
  const now = view();
  for (const name of Object.keys(VIEWS)) byId(name).hidden = name !== now;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#${now}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${VIEWS[now]} · gemma-edge`;
  if (now === "machine") learn({ fresh: true });
  if (!focus) return;
  announce(VIEWS[now]);
  if (now === "chat" && matchMedia("(hover: hover)").matches) focusChat(); // no keyboard pops up by itself
}

// What runs. Asked at the start, and again while nobody answers.

let timer = 0;

async function learn({ fresh = false } = {}) {
  clearTimeout(timer);
  try {
    const found = await getJson("/v1/status");
    byId("banner").hidden = true;
    byId("dot").className = "dot on";
    found.name = (found.title ?? found.model).replace(/ \(.*\)$/, ""); // without what it was made for
    byId("model").textContent = found.name;
    byId("state").title = found.plan ?? "";
    byId("state").setAttribute("aria-label", `${found.name} answers: this machine`);
    showMachine(found);
    drawMachine(found);
    if (!fresh) startDocuments();
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    lost();
    if (error.status === 401) clearTimeout(timer);
    warn(error);
  }
}

function lost() {
  clearTimeout(timer);
  byId("dot").className = "dot off";
  byId("model").textContent = "";
  byId("state").setAttribute("aria-label", "nobody answers: this machine");
  timer = setTimeout(learn, AGAIN);
}

function warn({ message, hint, status }) {
  const text = [message, hint].filter(Boolean).join(" · ");
  const act = button(null, status === 401 ? "Enter the key" : "Try now", () => learn(), { wordy: true });
  byId("banner").replaceChildren(el("span", {}, text), act);
  byId("banner").hidden = false;
}

// The key.

let asking = null;

/** One dialog, however many requests want the key. */
function askKey(wrong) {
  asking ??= new Promise((resolve) => {
    const dialog = byId("key-dialog");
    byId("key-title").textContent = wrong ? "That is not its key" : "This server wants its key";
    byId("key").value = "";
    dialog.returnValue = "";
    let given = null;
    byId("key-form").onsubmit = () => {
      given = byId("key").value.trim();
    };
    dialog.addEventListener("close", () => {
      asking = null;
      resolve(given);
    }, { once: true });
    dialog.showModal();
  });
  return asking;
}

// Files that are dropped: on the chat for the next message, elsewhere to be read.

function startDropping() {
  let depth = 0;
  const carries = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  const cover = (is) => {
    byId("veil").hidden = !is;
    byId("veil").firstChild.textContent = view() === "chat" ? "Drop it to show it to the model" : "Drop it to read it";
  };
  addEventListener("dragenter", (event) => {
    if (!carries(event)) return;
    event.preventDefault();
    depth += 1;
    cover(true);
  });
  addEventListener("dragover", (event) => carries(event) && event.preventDefault());
  addEventListener("dragleave", (event) => {
    if (!carries(event)) return;
    depth = Math.max(0, depth - 1);
    if (!depth) cover(false);
  });
  addEventListener("drop", (event) => {
    if (!carries(event)) return;
    event.preventDefault();
    depth = 0;
    cover(false);
    take([...event.dataTransfer.files]);
  });
}

function take(files) {
  if (!files.length) return;
  if (view() === "chat") {
    attach(files);
  } else {
    location.hash = "#documents";
    readDocuments(files);
  }
}

function startKeys() {
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    if (event.key === "Escape" && view() === "chat") escape();
    else if (view() === "documents") keyOfDocuments(event);
  });
  byId("help-open").addEventListener("click", () => byId("help").showModal());
  byId("skip").addEventListener("click", () => byId("main").focus());
  // A click beside a dialog closes it.
  for (const dialog of document.querySelectorAll("dialog")) {
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  }
}

onKeyWanted(askKey);
startChat({
  read: (files) => {
    location.hash = "#documents";
    readDocuments(files);
  },
});
startDropping();
startKeys();
addEventListener("unreachable", lost);
addEventListener("hashchange", () => show({ focus: true }));
show({ focus: true });
learn();
