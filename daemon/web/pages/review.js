// review.js: the queue, the keys, and sending: every change is kept at once in this browser and
// soon at caid, so that neither a reload nor caid's end loses a word.
"use strict";

const SAVE_MS = 700, RETRY_MS = 1500;
const job = +new URLSearchParams(location.search).get("job") || undefined;
let queue = { items: [], done: 0, required: 0, pending: 0, mine: 0 }, view = null, version = 0, busy = false;
let timer = 0, unsaved = false, saving = null, lastSent = "";

const pause = ms => new Promise(done => setTimeout(done, ms));
const tell = text => { byId("said").textContent = text; };
const saved = text => { byId("saved").textContent = text; };
const clock = () => new Date().toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });

// The same object has the same text, whatever order caid keeps its members in.
function canonical(v) {
  if (Array.isArray(v)) return "[" + v.map(canonical).join(",") + "]";
  return v && typeof v === "object" ? "{" + Object.keys(v).sort().map(k => JSON.stringify(k) + ":" + canonical(v[k])).join(",") + "}" : JSON.stringify(v);
}

// Asks until caid answers; a refusal is thrown. ret.again: whether it had to be asked again.
async function insist(what, query, body) {
  for (let tries = 0;; tries++) {
    try {
      const o = await ask(what, query, body);
      banner("");
      return { o, again: tries > 0 };
    } catch (e) {
      if (e instanceof Refused) { e.again = tries > 0; throw e; }
      banner(saysOf(e));
      await pause(RETRY_MS);
    }
  }
}

/* ---- drafts ---- */

const place = id => "cai-draft-" + id;

function keepHere() {
  localStorage.setItem(place(view.item.id), JSON.stringify({ version, draft: view.judgement.toObject() }));
}

function changed() {
  if (view.judged) return;
  keepHere();
  unsaved = true;
  saved("");
  clearTimeout(timer);
  timer = setTimeout(save, SAVE_MS);
}

// One at a time, and again when something changed meanwhile.
async function save(more) {
  clearTimeout(timer);
  if (!view || view.judged || view.first || !unsaved) return;
  if (saving) { await saving; return save(more); }
  const item = view.item, draft = view.judgement.toObject();
  unsaved = false;
  lastSent = canonical(draft);
  saving = ask("draft", null, { id: item.id, version, draft }, more).then(o => {
    if (view && view.item === item) {
      version = o.version;
      if (!unsaved) localStorage.removeItem(place(item.id));
      saved("Draft saved " + clock());
      banner("");
    }
  }, e => view && view.item === item ? notSaved(e, item) : null).finally(() => { saving = null; });
  return saving;
}

async function notSaved(e, item) {
  unsaved = true;
  if (e instanceof Refused && e.status === 409) {
    // Ours may have come through although its answer was lost; else another window has saved.
    const now = await ask("item", { id: item.id }).catch(() => null);
    if (!now || !view || view.item !== item) return;
    if (canonical(now.draft || {}) !== lastSent) banner("This item's draft was saved in another window since. Reload to take that one up; what you change here is saved over it.");
    version = now.version;
  } else {
    banner(saysOf(e));
    saved("Not saved at caid yet");
    if (e instanceof Refused && e.status !== 500) return;
  }
  timer = setTimeout(save, RETRY_MS);
}

// The draft that is newer: this browser's is, unless caid's was saved from elsewhere since.
function newest(item) {
  let here = null;
  try { here = JSON.parse(localStorage.getItem(place(item.id))); } catch { /* not ours */ }
  if (here && here.version >= item.version && !item.verdict) { unsaved = true; return here.draft; }
  return item.draft;
}

/* ---- the page ---- */

function drawBar() {
  const done = queue.done, all = Math.max(queue.required, done), mine = queue.mine;
  put(byId("bar"), make("strong", { text: done + " of " + all + " judged" }), make("progress", { max: Math.max(1, all), value: done, "aria-label": "judged" }),
    make("span", { className: "soft", text: queue.pending + " to go · " + mine + (mine === 1 ? " is yours" : " are yours") }));
  byId("queue").hidden = !queue.items.length;
  put(byId("list"), ...queue.items.map(i => make("li", {}, make("a", { href: "#" + i.id, "aria-current": view && view.item.id === i.id ? "true" : null,
    text: "Item " + i.id + (i.state === "draft" ? " · draft" : "") }))));
}

function drawItem(item) {
  view = new ItemView(item, new Judgement(newest(item)), changed);
  version = item.version;
  history.replaceState(null, "", location.pathname + location.search + "#" + item.id);
  put(byId("item"), view.box);
  if (view.here >= 0) view.goTo(view.here, false);
  byId("foot").hidden = false;
  byId("submit").firstChild.data = view.first ? "Keep first verdict " : "Submit ";
  byId("submit").disabled = byId("save").disabled = byId("skip").disabled = view.judged;
  saved(item.draft ? "Draft from before" : "");
  drawBar();
  scrollTo(0, 0);
  byId("item-title").focus({ preventScroll: true });
  if (unsaved) timer = setTimeout(save, SAVE_MS);
}

function drawDone() {
  view = null;
  history.replaceState(null, "", location.pathname + location.search);
  put(byId("item"), make("div", { className: "card done-box" }, make("h1", { id: "item-title", tabindex: -1, text: "Nothing waits for you" }),
    make("p", { className: "soft", text: queue.required ? "What this job asked of people is judged, or others have it open. This page looks again by itself." : "No job asks people to judge now. A job does with human: {required: N} in its file. This page looks again by itself." })));
  byId("foot").hidden = false;
  byId("submit").disabled = byId("save").disabled = byId("skip").disabled = true;
  drawBar();
}

// Opens an item, or the queue's first.
async function open(id) {
  clearTimeout(timer);
  unsaved = false;
  queue = (await insist("queue", { job })).o;
  const wanted = id || (queue.items[0] || {}).id;
  if (!wanted) { drawDone(); return; }
  try {
    drawItem((await insist("item", { id: wanted })).o);
  } catch (e) {
    if (!(e instanceof Refused) || !id || e.status === 401) throw e;
    tell(e.message);
    await open();
  }
}

// One thing at a time; what caid refuses is said.
async function doing(f) {
  if (busy) return;
  busy = true;
  try { await f(); } catch (e) {
    if (!(e instanceof Refused)) throw e;
    banner(e.message);
  } finally { busy = false; }
}

/* ---- what a reader does ---- */

function submit() {
  if (!view || view.judged) return;
  if (!view.judgement.verdict) { banner("A verdict from 1 to 7 is wanted first."); return; }
  const empty = view.cards.find(c => view.entry(c.critique.id).state === "edit" && !(view.entry(c.critique.id).text || "").trim());
  if (empty) { banner("The critique that you edit is empty: write it, or reject it."); return; }
  banner("");
  return doing(view.first ? sendFirst : sendFinal);
}

async function sendFirst() {
  const item = view.item, { verdict, severity } = view.judgement.toObject();
  try {
    const { o } = await insist("first", null, { id: item.id, verdict: severity === undefined ? { verdict } : { verdict, severity } });
    localStorage.removeItem(place(item.id));
    tell("First verdict kept.");
    unsaved = false;
    drawItem(o);
  } catch (e) {
    if (!e.again || e.status !== 409) throw e;
    await open(item.id); // it had come through
  }
}

async function sendFinal() {
  const item = view.item, verdict = view.judgement.toObject();
  clearTimeout(timer);
  if (saving) await saving;
  clearTimeout(timer);
  unsaved = false;
  let next;
  try {
    const { o } = await insist("submit", null, { id: item.id, verdict });
    tell("Judged. " + o.done + " of " + o.required + ".");
    next = o.next;
  } catch (e) {
    if (!e.again || e.status !== 409) { unsaved = true; throw e; }
    tell("Judged.");
  }
  localStorage.removeItem(place(item.id));
  await open(next || undefined);
}

function askSkip() {
  if (!view || view.judged || busy) return;
  byId("reason").value = "";
  byId("skipping").showModal();
  byId("reason").focus();
}

function skip() {
  const item = view.item, reason = byId("reason").value.trim();
  if (!reason) { byId("reason").focus(); return; }
  byId("skipping").close();
  return doing(async () => {
    clearTimeout(timer);
    unsaved = false;
    await insist("skip", null, { id: item.id, reason });
    localStorage.removeItem(place(item.id));
    tell("Skipped.");
    await open();
  });
}

function undo() {
  return doing(async () => {
    await save();
    const { o } = await insist("undo", null, {});
    tell("Taken back: " + o.undone + ".");
    await open(o.id);
  });
}

/* ---- keys ---- */

const typing = e => e.target instanceof HTMLTextAreaElement || e.target instanceof HTMLSelectElement || (e.target instanceof HTMLInputElement && e.target.type === "text");

function onControlKey(e) {
  if (e.key === "Enter") { e.preventDefault(); if (byId("skipping").open) skip(); else if (!byId("keys").open) submit(); }
  else if (e.key.toLowerCase() === "s") { e.preventDefault(); if (view && !view.judged) { unsaved = true; save(); } }
}

function onLetter(e) {
  const digit = /^Digit([0-9])$/.exec(e.code) || /^Numpad([0-9])$/.exec(e.code);
  if (digit && e.shiftKey) return digit[1] <= 4 && (view.choose("severity", digit[1]), true);
  if (/^[1-7]$/.test(e.key)) return view.choose("verdict", e.key), true;
  const does = { j: () => view.goTo(Math.min(view.here + 1, view.cards.length - 1), true), k: () => view.goTo(Math.max(view.here - 1, 0), true),
    y: () => view.decide("keep"), n: () => view.decide("reject"), e: () => view.decide("edit"), s: askSkip }[e.key];
  if (does) does();
  return !!does;
}

document.addEventListener("keydown", e => {
  if (e.isComposing || e.altKey) return;
  if (e.ctrlKey || e.metaKey) { onControlKey(e); return; }
  if (e.key === "Escape" && typing(e) && view && !byId("skipping").open) { const c = view.cards[view.here]; if (c && c.card.contains(e.target)) c.card.focus(); else byId("item-title").focus(); return; }
  if (typing(e) || byId("skipping").open || byId("keys").open) return;
  if (e.key === "?") { e.preventDefault(); byId("keys").showModal(); return; }
  if (e.key === "u") { e.preventDefault(); undo(); return; }
  if (view && onLetter(e)) e.preventDefault();
});

byId("submit").addEventListener("click", submit);
byId("save").addEventListener("click", () => { unsaved = true; save(); });
byId("skip").addEventListener("click", askSkip);
byId("undo").addEventListener("click", undo);
byId("help").addEventListener("click", () => byId("keys").showModal());
byId("keys-close").addEventListener("click", () => byId("keys").close());
byId("skip-yes").addEventListener("click", skip);
byId("skip-no").addEventListener("click", () => byId("skipping").close());
addEventListener("hashchange", () => { const id = +location.hash.slice(1); if (id && (!view || id !== view.item.id)) doing(async () => { await save(); await open(id); }); });
document.addEventListener("visibilitychange", () => { if (document.hidden) save({ keepalive: true }); });
addEventListener("pagehide", () => save({ keepalive: true }));
setInterval(() => { if (!view && !document.hidden) doing(() => open()); }, 5000);
doing(() => open(+location.hash.slice(1) || undefined));
