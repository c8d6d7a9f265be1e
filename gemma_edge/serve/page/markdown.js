// Markdown to elements. What a model writes is never parsed as HTML: a tag in it is shown as text,
// links go to http, https and mailto alone, and pictures from elsewhere are links.

import { copyButton, el } from "./dom.js";

const FENCE = /^ {0,3}(`{3,}|~{3,})\s*([^`]*)$/;
const HEADING = /^ {0,3}(#{1,6})(?:\s+(.*?))?(?:\s+#+)?\s*$/;
const RULE = /^ {0,3}(?:(?:\*\s*){3,}|(?:-\s*){3,}|(?:_\s*){3,})$/;
const QUOTE = /^ {0,3}>\s?/;
const ITEM = /^( *)([-*+•]|\d{1,9}[.)])(?:( +)|$)/;
const DELIMITERS = /^ {0,3}\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*$/;
const TASK = /^\[([ xX])\]\s+/;
const MAX_DEPTH = 12; // of lists in quotes in lists; what lies deeper is a paragraph
const MAX_COLUMNS = 64;

/** Show `text` in `target`. Blocks that have not changed since the last call stay the elements that
 * they are, so that a selection in them lives on. `open`: the text still grows. */
export function render(target, text, { open = false } = {}) {
  const blocks = parse(text.replace(/\r\n?/g, "\n").split("\n"), 0);
  const known = target.blocks ?? [];
  let same = 0;
  while (same < blocks.length - (open ? 1 : 0) && same < known.length && known[same] === blocks[same].source) same += 1;
  while (target.childNodes.length > same) target.lastChild.remove();
  blocks.slice(same).forEach((block, at) => target.append(draw(block, open && same + at === blocks.length - 1)));
  // The last block of a text that grows was drawn as one: it is drawn again when it has ended.
  target.blocks = blocks.map((block, at) => (open && at === blocks.length - 1 ? null : block.source));
}

/** The blocks that are finished in a text that grows, as plain words: for a screen reader. */
export function spoken(text) {
  const holder = el("div");
  render(holder, text);
  return [...holder.children].map((each) => (each.matches(".code") ? "a piece of code" : each.textContent.trim()));
}

// Blocks.

function parse(lines, depth) {
  const blocks = [];
  for (let at = 0; at < lines.length;) {
    if (!lines[at].trim()) {
      at += 1;
      continue;
    }
    const [block, end] = readBlock(lines, at, depth);
    block.source = lines.slice(at, end).join("\n");
    blocks.push(block);
    at = end;
  }
  return blocks;
}

function readBlock(lines, at, depth) {
  const line = lines[at];
  let match;
  if ((match = line.match(FENCE))) return readFence(lines, at, match);
  if ((match = line.match(HEADING))) return [{ type: "heading", level: match[1].length, text: match[2] ?? "" }, at + 1];
  if (RULE.test(line)) return [{ type: "rule" }, at + 1];
  if (depth < MAX_DEPTH && QUOTE.test(line)) return readQuote(lines, at, depth);
  if (depth < MAX_DEPTH && ITEM.test(line)) return readList(lines, at, depth);
  if (isTable(lines, at)) return readTable(lines, at);
  return readParagraph(lines, at);
}

function readFence(lines, at, [start, fence, info]) {
  const indent = start.length - start.trimStart().length;
  const closing = new RegExp(`^ {0,3}\\${fence[0]}{${fence.length},}\\s*$`);
  const body = [];
  let end = at + 1;
  while (end < lines.length && !closing.test(lines[end])) {
    body.push(lines[end].replace(new RegExp(`^ {0,${indent}}`), ""));
    end += 1;
  }
  const language = info.trim().split(/\s+/)[0].slice(0, 30);
  return [{ type: "code", language, text: body.join("\n") }, Math.min(end + 1, lines.length)];
}

function readQuote(lines, at, depth) {
  const body = [];
  let end = at;
  while (end < lines.length && lines[end].trim()) {
    if (!QUOTE.test(lines[end]) && begins(lines, end)) break;
    body.push(lines[end].replace(QUOTE, ""));
    end += 1;
  }
  return [{ type: "quote", blocks: parse(body, depth + 1) }, end];
}

/** Whether a line begins a block of its own right under a paragraph. */
function begins(lines, at) {
  const line = lines[at];
  const item = line.match(ITEM);
  if (item && item[3] && (!/\d/.test(item[2]) || /^1[.)]$/.test(item[2]))) return true;
  return FENCE.test(line) || HEADING.test(line) || RULE.test(line) || QUOTE.test(line) || isTable(lines, at);
}

function readList(lines, at, depth) {
  const [, before, marker] = lines[at].match(ITEM);
  const base = before.length;
  const ordered = /\d/.test(marker);
  const items = [];
  let end = at;
  let loose = false;
  while (end < lines.length) {
    const match = lines[end].match(ITEM);
    if (!match || RULE.test(lines[end]) || /\d/.test(match[2]) !== ordered || match[1].length > base + 1) break;
    const next = itemEnd(lines, end, base);
    const body = lines.slice(end, next);
    while (!body[body.length - 1].trim()) body.pop();
    loose ||= body.some((line) => !line.trim()) && !body.some((line) => FENCE.test(line));
    items.push(readItem(body, match, depth));
    const between = lines.slice(end + body.length, next).length > 0;
    end = next;
    const following = lines[end]?.match(ITEM);
    if (between && following && /\d/.test(following[2]) === ordered && following[1].length <= base + 1) loose = true;
  }
  return [{ type: "list", ordered, start: ordered ? parseInt(marker, 10) : 1, loose, items }, end];
}

/** Where an item ends that begins at `at`: at another item of its list, or at a block further left. */
function itemEnd(lines, at, base) {
  let end = at + 1;
  let fence = null;
  while (end < lines.length) {
    const line = lines[end];
    const indent = line.length - line.trimStart().length;
    const blank = !line.trim();
    const open = line.trim().match(/^(`{3,}|~{3,})/);
    if (fence) {
      if (open && open[1].startsWith(fence)) fence = null;
    } else if (open && indent > base) {
      fence = open[1];
    } else if (!blank && indent <= base + (ITEM.test(line) ? 1 : 0)) {
      if (ITEM.test(line) || !lines[end - 1].trim() || begins(lines, end)) break;
    }
    end += 1;
  }
  return end;
}

function readItem(body, [, before, marker, gap], depth) {
  const offset = before.length + marker.length + Math.min((gap ?? " ").length, 4);
  const rest = body.slice(1);
  const inner = rest.filter((line) => line.trim()).map((line) => line.length - line.trimStart().length);
  const cut = Math.min(offset, ...inner.filter((indent) => indent > before.length));
  let first = body[0].slice(offset);
  const task = first.match(TASK);
  if (task) first = first.slice(task[0].length);
  const dedented = rest.map((line) => line.slice(Math.min(cut, line.length - line.trimStart().length)));
  return { task: task ? task[1] !== " " : null, blocks: parse([first, ...dedented], depth + 1) };
}

function isTable(lines, at) {
  const [head, under] = [lines[at], lines[at + 1]];
  return under !== undefined && head.includes("|") && under.includes("-") && DELIMITERS.test(under)
    && cells(head).length === cells(under).length;
}

function readTable(lines, at) {
  const head = cells(lines[at]);
  const align = cells(lines[at + 1]).map((cell) => {
    if (cell.endsWith(":")) return cell.startsWith(":") ? "center" : "right";
    return "left";
  });
  const rows = [];
  let end = at + 2;
  while (end < lines.length && lines[end].trim() && lines[end].includes("|")) {
    const row = cells(lines[end]);
    rows.push(head.map((_, column) => row[column] ?? ""));
    end += 1;
  }
  return [{ type: "table", head, align, rows }, end];
}

function cells(line) {
  const inner = line.trim().replace(/^\|/, "").replace(/(^|[^\\])\|$/, "$1");
  const found = [""];
  let code = false;
  for (let at = 0; at < inner.length; at += 1) {
    const sign = inner[at];
    if (sign === "\\" && inner[at + 1] === "|") {
      found[found.length - 1] += "|";
      at += 1;
    } else if (sign === "|" && !code && found.length < MAX_COLUMNS) {
      found.push("");
    } else {
      if (sign === "`" && (code || inner.includes("`", at + 1))) code = !code;
      found[found.length - 1] += sign;
    }
  }
  return found.map((each) => each.trim());
}

function readParagraph(lines, at) {
  let end = at + 1;
  while (end < lines.length && lines[end].trim() && !begins(lines, end)) end += 1;
  return [{ type: "paragraph", text: lines.slice(at, end).map((line) => line.trimStart()).join("\n") }, end];
}

function draw(block, open = false) {
  switch (block.type) {
    case "heading":
      // The page has an h1 and this is a part of it.
      return el(`h${Math.min(block.level + 2, 6)}`, { class: `level-${block.level}`, dir: "auto" }, inline(block.text, open));
    case "rule":
      return el("hr");
    case "code":
      return drawCode(block);
    case "quote":
      return el("blockquote", { dir: "auto" }, drawAll(block.blocks, open));
    case "list":
      return drawList(block, open);
    case "table":
      return drawTable(block);
    default:
      return el("p", { dir: "auto" }, inline(block.text, open));
  }
}

const drawAll = (blocks, open) => blocks.map((block, at) => draw(block, open && at === blocks.length - 1));

function drawCode({ language, text }) {
  const head = el("div", { class: "code-head" }, el("span", {}, language || "text"),
    copyButton(() => text, "Copy", { wordy: true }));
  return el("div", { class: "code" }, head,
    el("pre", { tabindex: "0", role: "region", "aria-label": `${language || "code"}, scrolls` }, el("code", {}, text)));
}

function drawList({ ordered, start, loose, items }, open) {
  const properties = ordered && start !== 1 ? { start } : {};
  return el(ordered ? "ol" : "ul", { ...properties, dir: "auto" }, items.map(({ task, blocks }, at) => {
    const growing = open && at === items.length - 1;
    const inside = blocks.flatMap((block, nth) => (
      block.type === "paragraph" && !loose
        ? inline(block.text, growing && nth === blocks.length - 1)
        : [draw(block, growing && nth === blocks.length - 1)]
    ));
    if (task === null) return el("li", {}, inside);
    const box = el("input", { type: "checkbox", disabled: true, checked: task, "aria-label": task ? "done" : "to do" });
    return el("li", { class: "task" }, box, inside);
  }));
}

function drawTable({ head, align, rows }) {
  const cell = (name) => (text, at) => el(name, { class: align[at], dir: "auto", ...(name === "th" ? { scope: "col" } : {}) }, inline(text));
  return el("div", { class: "table", tabindex: "0", role: "region", "aria-label": "table, scrolls" },
    el("table", {},
      el("thead", {}, el("tr", {}, head.map(cell("th")))),
      el("tbody", {}, rows.map((row) => el("tr", {}, row.map(cell("td")))))));
}

// Words in a line. `open`: a bold or a piece of code that has begun is shown as one before it ends.

const ESCAPED = /[!"#$%&'()*+,\-./:;<=>?@[\\\]^_`{|}~]/;
const LETTER = /[\p{L}\p{N}]/u;
const URL_START = /^(?:https?:\/\/|mailto:)/i;

function inline(text, open = false, depth = 0) {
  const nodes = [];
  const hopeless = new Set(); // signs that nothing behind here closes
  let plain = "";
  const flush = () => {
    if (plain) nodes.push(plain);
    plain = "";
  };
  const push = (node) => {
    flush();
    nodes.push(node);
  };
  for (let at = 0; at < text.length;) {
    const found = depth < MAX_DEPTH ? span(text, at, { open, depth, hopeless }) : null;
    if (found) {
      push(found.node);
      at = found.end;
    } else if (text[at] === "\\" && ESCAPED.test(text[at + 1] ?? "")) {
      plain += text[at + 1];
      at += 2;
    } else if (text[at] === "\n") {
      plain = plain.replace(/(?:\\| +)$/, "");
      push(el("br"));
      at += 1;
    } else {
      // A whole run of a sign that means nothing here is passed over at once.
      const run = text.slice(at).match(/^(`+|\*+|_+|~+|[^\\\n`*_~[!<hHmM]+|.)/s)[0];
      plain += run;
      at += run.length;
    }
  }
  flush();
  return nodes;
}

function span(text, at, context) {
  switch (text[at]) {
    case "`": return codeSpan(text, at, context);
    case "*": case "_": return emphasis(text, at, context);
    case "~": return struck(text, at, context);
    case "[": return link(text, at, context);
    case "!": return text[at + 1] === "[" ? link(text, at + 1, context, true) : null;
    case "<": return angle(text, at);
    case "h": case "H": case "m": case "M": return bareLink(text, at);
    default: return null;
  }
}

function codeSpan(text, at, { open, hopeless }) {
  const ticks = text.slice(at).match(/^`+/)[0];
  if (hopeless.has(ticks)) return null;
  let end = at + ticks.length;
  for (;;) {
    end = text.indexOf(ticks, end);
    if (end < 0) break;
    const run = text.slice(end).match(/^`+/)[0];
    if (run.length === ticks.length) break;
    end += run.length;
  }
  if (end < 0) {
    if (!open) {
      hopeless.add(ticks);
      return null;
    }
    end = text.length;
  }
  const body = text.slice(at + ticks.length, end).replace(/\n/g, " ");
  const bare = /^ .*[^ ].* $/.test(body) ? body.slice(1, -1) : body;
  return { node: el("code", {}, bare), end: Math.min(end + ticks.length, text.length) };
}

function emphasis(text, at, { open, depth, hopeless }) {
  const sign = text[at];
  const run = text.slice(at).match(sign === "*" ? /^\*+/ : /^_+/)[0].length;
  const after = text[at + run] ?? " ";
  if (/\s/.test(after) || (sign === "_" && LETTER.test(text[at - 1] ?? " "))) return null;
  for (const width of [3, 2, 1]) {
    if (width > run || (run > 3 && width < 3)) continue;
    const end = closer(text, at + run, sign, width, hopeless);
    const grows = end < 0 && open && width === 2 && run === 2;
    if (end < 0 && !grows) continue;
    const body = text.slice(at + run, grows ? text.length : end);
    const inside = inline(body, grows, depth + 1);
    const strong = width >= 2 ? el("strong", {}, inside) : el("em", {}, inside);
    const extra = sign.repeat(run - width);
    const node = width === 3 ? el("em", {}, strong) : strong;
    return { node: extra ? el("span", {}, extra, node) : node, end: grows ? text.length : end + width };
  }
  return null;
}

/** Where so many of a sign close what begins before `from`; -1 nowhere. */
function closer(text, from, sign, width, hopeless) {
  const key = sign.repeat(width);
  if (hopeless.has(key)) return -1;
  for (let at = from; at < text.length; at += 1) {
    if (text[at] === "\\") at += 1;
    else if (text[at] === "`") {
      const ticks = text.slice(at).match(/^`+/)[0];
      const end = text.indexOf(ticks, at + ticks.length);
      at = (end < 0 ? at : end) + ticks.length - 1;
    } else if (text[at] === sign) {
      const run = text.slice(at).match(sign === "*" ? /^\*+/ : /^_+/)[0].length;
      const closes = !/\s/.test(text[at - 1]) && !(sign === "_" && LETTER.test(text[at + run] ?? " "));
      if (closes && (run === width || (run > width && run !== 2))) return at + run - width;
      at += run - 1;
    }
  }
  hopeless.add(key);
  return -1;
}

function struck(text, at, { depth, hopeless }) {
  if (!text.startsWith("~~", at) || hopeless.has("~~")) return null;
  const end = text.indexOf("~~", at + 2);
  if (end < 0) hopeless.add("~~");
  if (end <= at + 2) return null;
  return { node: el("del", {}, inline(text.slice(at + 2, end), false, depth + 1)), end: end + 2 };
}

const LINK = /^\[((?:[^[\]\\]|\\.|\[[^[\]]*\])*)\]\(\s*<?((?:[^\s()<>\\]|\\.|\([^\s()<>]*\))*)>?(?:\s+(?:"[^"]*"|'[^']*'))?\s*\)/;
const MAX_LINK = 4000; // characters of one, its words included

function link(text, at, { depth }, picture = false) {
  const match = text.slice(at, at + MAX_LINK).match(LINK);
  if (!match) return null;
  const end = at + match[0].length;
  const url = safeUrl(match[2].replace(/\\(.)/g, "$1"));
  if (picture) {
    const words = match[1] || "picture";
    return { node: url ? anchor(url, [`picture: ${words}`]) : el("span", {}, `picture: ${words}`), end };
  }
  const words = inline(match[1], false, depth + 1);
  if (!url) return { node: el("span", {}, words, match[2] ? ` (${match[2]})` : ""), end };
  return { node: anchor(url, words, match[1]), end };
}

function angle(text, at) {
  const line = text.slice(at, at + 8).match(/^<br\s*\/?>/i);
  if (line) return { node: el("br"), end: at + line[0].length };
  const match = text.slice(at, at + MAX_LINK).match(/^<((?:https?:\/\/|mailto:)[^\s<>]+)>/i);
  const url = match && safeUrl(match[1]);
  return url ? { node: anchor(url, [match[1]], match[1]), end: at + match[0].length } : null;
}

function bareLink(text, at) {
  if (LETTER.test(text[at - 1] ?? " ")) return null;
  const match = text.slice(at, at + MAX_LINK).match(/^https?:\/\/[^\s<>"'`*]+/i);
  if (!match) return null;
  let found = match[0].replace(/[.,;:!?]+$/, "");
  if (found.endsWith(")") && !found.includes("(")) found = found.slice(0, -1).replace(/[.,;:!?]+$/, "");
  const url = safeUrl(found);
  return url ? { node: anchor(url, [found], found), end: at + found.length } : null;
}

function safeUrl(text) {
  if (!URL_START.test(text)) return null;
  try {
    return new URL(text);
  } catch {
    return null;
  }
}

/** A link that says where it goes: words can promise another place. */
function anchor(url, words, said = "") {
  const where = url.protocol === "mailto:" ? url.pathname : url.host;
  const link = el("a", { href: url.href, target: "_blank", rel: "noopener noreferrer", title: url.href }, words);
  if (said.includes(where)) return link;
  return el("span", {}, link, el("span", { class: "where" }, ` (${where})`));
}
