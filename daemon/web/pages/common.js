// common.js: what both pages need: elements made of text alone, requests, the banner.
"use strict";

const byId = id => document.getElementById(id);

// The only way to the page for text that models or people wrote: textContent.
function make(tag, { text, className, ...attributes } = {}, ...children) {
  const e = document.createElement(tag);
  if (text !== undefined && text !== null) e.textContent = text;
  if (className) e.className = className;
  for (const [name, value] of Object.entries(attributes))
    if (name.startsWith("on")) e.addEventListener(name.slice(2), value);
    else if (value === true) e.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) e.setAttribute(name, value);
  e.append(...children.filter(c => c !== null && c !== undefined));
  return e;
}
const put = (parent, ...children) => parent.replaceChildren(...children.filter(c => c !== null && c !== undefined));

class Refused extends Error {
  constructor(status, text) { super(text); this.status = status; }
}

// A request to caid. Throws Refused with caid's own words, or TypeError when nobody answers.
async function ask(what, query, body, more) {
  const words = new URLSearchParams(Object.entries(query || {}).filter(([, v]) => v !== undefined && v !== null && v !== ""));
  const headers = { "X-Cai-Session": localStorage.getItem("cai-session") || "" };
  if (body) headers["Content-Type"] = "application/json";
  const answer = await fetch("/api/" + what + (body || !words.size ? "" : "?" + words), { method: body ? "POST" : "GET", headers,
    body: body ? JSON.stringify(body) : undefined, credentials: "same-origin", cache: "no-store", ...more });
  const o = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Refused(answer.status, o.error || "caid answered " + answer.status);
  return o;
}

function banner(text) {
  const b = byId("banner");
  b.hidden = !text;
  if (b.textContent !== (text || "")) b.textContent = text || "";
}
const saysOf = e => e instanceof Refused ? e.message : "caid does not answer; trying again. What you wrote is kept in this browser.";

function duration(s) {
  if (s < 90) return Math.max(1, Math.round(s)) + " s";
  if (s < 5400) return Math.round(s / 60) + " min";
  return (s / 3600).toFixed(1) + " h";
}
const percent = v => (100 * v).toFixed(1) + " %";
function figure(v) {
  if (typeof v !== "number" || !Number.isFinite(v)) return "–";
  if (Number.isInteger(v)) return v.toLocaleString("en");
  return Math.abs(v) < 1e-3 ? v.toExponential(1) : Math.abs(v) >= 100 ? v.toFixed(1) : v.toPrecision(3);
}
function cellText(v, kind) {
  if (v === null || v === undefined) return "–";
  if (kind === "interval") return percent(v.value) + " (" + (100 * v.low).toFixed(1) + " – " + (100 * v.high).toFixed(1) + ")";
  if (kind === "share") return percent(v);
  return kind === "number" || kind === "count" ? figure(v) : String(v);
}

// A table of the report's form: {"columns": [{"key", "title", "kind"}], "rows"}.
function tableOf(columns, rows) {
  const side = c => c.kind && c.kind !== "text" ? "n" : "";
  return make("table", {},
    make("thead", {}, make("tr", {}, ...columns.map(c => make("th", { text: c.title, scope: "col", className: side(c) })))),
    make("tbody", {}, ...rows.map(r => make("tr", {}, ...columns.map(c =>
      r[c.key] instanceof Node ? make("td", {}, r[c.key]) : make("td", { text: cellText(r[c.key], c.kind), className: side(c) }))))));
}

const leaveButton = byId("leave");
leaveButton.hidden = false;
leaveButton.addEventListener("click", async () => {
  try { await ask("leave", null, {}); } catch (e) { if (!(e instanceof Refused)) { banner(saysOf(e)); return; } }
  localStorage.removeItem("cai-session");
  location.reload();
});
