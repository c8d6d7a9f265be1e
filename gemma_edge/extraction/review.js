"use strict";
(() => {
  const pick = (selector, under = document) => [...under.querySelectorAll(selector)];
  const byId = (id) => document.getElementById(id);
  const fields = pick(".field");
  const filter = byId("filter"), only = byId("only"), keys = byId("keys"), status = byId("status");
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const marks = (leaf) => pick(`.box[data-leaf~="${leaf}"], mark[data-leaf~="${leaf}"]`);
  let chosen = null, timer = 0;

  const light = (leaf) => {
    pick(".lit").forEach((each) => each.classList.remove("lit"));
    if (leaf === null) return;
    byId(`leaf-${leaf}`).classList.add("lit");
    marks(leaf).forEach((each) => each.classList.add("lit"));
  };
  const reveal = (element, block, behavior = calm ? "auto" : "smooth") =>
    element && element.scrollIntoView({ block, inline: "nearest", behavior });
  const showOnPage = (leaf, behavior) => reveal(marks(leaf)[0], "center", behavior);
  const choose = (leaf) => { chosen = leaf; light(leaf); };
  const later = (act) => { clearTimeout(timer); timer = setTimeout(act, 140); };
  const rest = () => later(() => light(chosen));

  fields.forEach((field) => {
    const leaf = field.dataset.leaf;
    field.addEventListener("pointerenter", () => { light(leaf); later(() => showOnPage(leaf)); });
    field.addEventListener("pointerleave", rest);
    field.addEventListener("focus", () => { choose(leaf); showOnPage(leaf); });
    field.addEventListener("click", () => { choose(leaf); showOnPage(leaf); });
  });
  // A text can belong to several leaves: each click goes on to the next of them.
  pick(".box, mark").forEach((mark) => {
    const leaves = mark.dataset.leaf.split(" ");
    const next = () => leaves[(leaves.indexOf(String(chosen)) + 1) % leaves.length];
    mark.addEventListener("pointerenter", () => {
      light(next());
      later(() => reveal(byId(`leaf-${next()}`), "nearest"));
    });
    mark.addEventListener("pointerleave", rest);
    mark.addEventListener("click", () => {
      const leaf = next();
      choose(leaf);
      byId(`leaf-${leaf}`).focus({ preventScroll: true });
      reveal(byId(`leaf-${leaf}`), "nearest");
    });
  });

  const sift = () => {
    const words = filter.value.toLocaleLowerCase().split(/\s+/).filter(Boolean);
    const doubtful = only.getAttribute("aria-pressed") === "true";
    let shown = 0;
    fields.forEach((field) => {
      const text = field.dataset.find.toLocaleLowerCase();
      const kept = words.every((word) => text.includes(word)) && (!doubtful || field.closest(".check"));
      field.parentElement.hidden = !kept;
      shown += kept ? 1 : 0;
    });
    pick(".part").forEach((part) => {
      const own = pick(".field", part);
      part.hidden = own.length > 0 && own.every((field) => field.parentElement.hidden);
    });
    byId("none").hidden = shown > 0;
    status.textContent = `${shown} of ${fields.length} fields`;
  };
  filter.addEventListener("input", sift);
  only.addEventListener("click", () => {
    only.setAttribute("aria-pressed", String(only.getAttribute("aria-pressed") !== "true"));
    sift();
  });
  byId("help").addEventListener("click", () => keys.showModal());

  const step = (by) => {
    const seen = fields.filter((field) => !field.parentElement.hidden);
    if (!seen.length) return;
    const at = seen.findIndex((field) => field.dataset.leaf === chosen);
    const next = seen[Math.min(seen.length - 1, Math.max(0, at < 0 ? 0 : at + by))];
    next.focus({ preventScroll: true });
    reveal(next, "nearest");
  };
  const acts = {
    j: () => step(1), k: () => step(-1), "/": () => filter.focus(),
    u: () => only.click(), "?": () => keys.showModal(),
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || keys.open) return;
    if (event.key === "Escape") {
      if (document.activeElement === filter) { filter.value = ""; sift(); }
      document.activeElement.blur();
      choose(null);
    } else if (event.target !== filter && acts[event.key]) {
      event.preventDefault();
      acts[event.key]();
    }
  });
  // A link to one field: review.html#leaf-3
  const linked = () => {
    const field = byId(location.hash.slice(1));
    if (!fields.includes(field)) return;
    field.focus({ preventScroll: true });
    reveal(field, "nearest", "instant");
    showOnPage(field.dataset.leaf, "instant");
  };
  addEventListener("hashchange", linked);
  linked();
})();
