// Elements, numbers and files. Text enters the page as text, never as markup.

const SVG = "http://www.w3.org/2000/svg";

export const byId = (id) => document.getElementById(id);
export const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

/** An element; `properties` are attributes, `on…` listeners, and `class`. Children are nodes or text. */
export function el(name, properties = {}, ...children) {
  return fill(document.createElement(name), properties, children);
}

export function svg(name, properties = {}, ...children) {
  return fill(document.createElementNS(SVG, name), properties, children);
}

function fill(element, properties, children) {
  // Children first: under dir="auto" each that is added has a browser look through all of them.
  element.append(...children.flat().filter((each) => each !== null && each !== undefined && each !== false));
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  return element;
}

export const icon = (name) => svg("svg", { "aria-hidden": "true" }, svg("use", { href: `#i-${name}` }));

/** A button with an icon, and words beside it or, without `wordy`, for screen readers alone. */
export function button(sign, label, onclick, { wordy = false, kind = "quiet" } = {}) {
  const own = wordy ? {} : { "aria-label": label, title: label };
  const face = `${kind}${wordy ? "" : " square"}`;
  return el("button", { type: "button", class: face, onclick, ...own }, sign && icon(sign), wordy && label);
}

export const count = (number) => Number(number).toLocaleString("en-US");
export const plural = (number, word) => `${count(number)} ${word}${number === 1 ? "" : "s"}`;

export function bytes(number) {
  if (number >= 1 << 30) return `${(number / 2 ** 30).toFixed(1)} GiB`;
  if (number >= 1 << 20) return `${count(Math.round(number / 2 ** 20))} MiB`;
  return `${count(Math.ceil(number / 1024))} KiB`;
}

/** A context as people say it: 8k, 128k. */
export const tokens = (number) => (number >= 1024 && number % 1024 === 0 ? `${number / 1024}k` : count(number));

/** Tell screen readers, once, what happened. */
export function announce(text) {
  byId("status").textContent = text;
}

export async function copy(text, what = "copied") {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Without TLS a page of another machine has no clipboard: the old way asks no permission.
    const field = el("textarea", { class: "unseen", "aria-hidden": "true" });
    const focused = document.activeElement;
    field.value = text;
    (document.querySelector("dialog[open]") ?? document.body).append(field);
    field.select();
    document.execCommand("copy");
    field.remove();
    focused?.focus?.({ preventScroll: true });
  }
  announce(what);
}

/** A button that copies and says so for a moment. */
export function copyButton(text, label, options) {
  const made = button("copy", label, async () => {
    await copy(text());
    const sign = made.querySelector("use");
    sign.setAttribute("href", "#i-check");
    setTimeout(() => sign.setAttribute("href", "#i-copy"), 1500);
  }, options);
  return made;
}

/** Let the browser save a file. */
export function save(name, type, text) {
  const url = URL.createObjectURL(new Blob([text], { type: `${type};charset=utf-8` }));
  const link = el("a", { href: url, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
  announce(`${name} is saved`);
}

export function readAs(file, how) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    if (how === "text") reader.readAsText(file);
    else reader.readAsDataURL(file);
  });
}

/** One line that says what is wrong and what to do about it. */
export function trouble({ message, hint, retryAfter }, act, label) {
  const wait = retryAfter ? `free again in about ${plural(retryAfter, "second")}` : "";
  return el("p", { class: "trouble" },
    el("span", {}, el("strong", {}, message), [hint, wait].filter(Boolean).map((each) => ` · ${each}`)),
    act && button(null, label, act, { wordy: true }));
}
