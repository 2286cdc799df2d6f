// item.js: one item of the review on the page: what is judged, the critiques with what they
// accuse, the form. Holds the judgement that the reader has come to so far; knows no requests.
"use strict";

const ENDS = {
  two: ["1: A is much better", "4: equally good", "7: B is much better"],
  one: ["1: certainly no such failure", "4: cannot tell", "7: certainly one"],
};
const SEVERITIES = ["none", "slight", "some", "serious", "grave"];
const KINDS = { comparison: "Two replies", critique: "A reply and its rewrite", grade: "One reply", audit: "One reply" };
const ROLES = { user: "Person", assistant: "Assistant", system: "Instructions" };

// What a reader has decided so far: in the form that is sent, so that a draft is a verdict begun.
class Judgement {
  constructor(draft) {
    const d = draft || {};
    this.verdict = d.verdict || null;
    this.severity = Number.isInteger(d.severity) ? d.severity : null;
    this.critiques = new Map((d.critiques || []).map(c => [c.id, { state: c.state, text: c.text }]));
    this.own = (d.own || []).join("\n");
    this.edit = d.edit || "";
    this.note = d.note || "";
  }
  toObject() {
    const o = { critiques: [...this.critiques].filter(([, c]) => c.state).map(([id, c]) => c.state === "edit" ? { id, state: "edit", text: c.text || "" } : { id, state: c.state }) };
    if (this.verdict) o.verdict = this.verdict;
    if (this.severity !== null) o.severity = this.severity;
    const own = this.own.split("\n").map(s => s.trim()).filter(s => s);
    if (own.length) o.own = own;
    if (this.edit.trim()) o.edit = this.edit;
    if (this.note.trim()) o.note = this.note;
    return o;
  }
}

class ItemView {
  // changed: called after each change of the judgement by the reader.
  constructor(item, judgement, changed) {
    Object.assign(this, { item, judgement, changed, here: -1 });
    this.first = item.unaided && !item.first;
    this.judged = item.state === "mine" || item.state === "closed";
    this.cards = [];
    this.box = make("article", { "aria-labelledby": "item-title" }, ...this.parts());
    if (!this.first && item.critiques.length) this.goTo(0, false);
  }

  parts() {
    const item = this.item;
    return [
      make("h1", { id: "item-title", tabindex: -1, text: (KINDS[item.kind] || item.kind) + " · item " + item.id }),
      make("p", { className: "soft", text: "Job " + item.job + ", round " + item.round }),
      item.principle ? make("div", { className: "principle" }, make("div", { className: "soft", text: "Judge by this" }), make("div", { className: "talk", text: item.principle })) : null,
      ...item.messages.map(m => make("div", { className: "turn" }, make("div", { className: "role", text: ROLES[m.role] || m.role }), make("div", { className: "talk", text: m.text }))),
      make("div", { className: "replies" }, ...item.replies.map(r => this.reply(r))),
      this.judged ? this.verdictBox() : null,
      this.first ? make("p", { className: "banner", text: "Your own verdict first. What the model's critiques say is shown afterwards, and you may change your mind then." }) : null,
      !this.first && item.critiques.length ? make("section", { "aria-label": "Critiques" }, make("h2", { text: "What the model's critiques say" }),
        make("p", { className: "soft", text: "They may be wrong. Keep what holds, reject what does not, and mend what is nearly right." }), ...item.critiques.map((c, i) => this.critique(c, i))) : null,
      !this.first && item.speeches.length ? make("section", { "aria-label": "Debate" }, make("h2", { text: "What was said for each reply" }),
        make("p", { className: "soft", text: "A model spoke for each side before the label was given. It may be wrong." }), ...item.speeches.map((s, i) => this.speech(s, i))) : null,
      this.judged ? null : this.form(),
    ].filter(x => x);
  }

  /* ---- replies, with what is accused in them ---- */

  reply(r) {
    const body = make("div", { className: "talk" }, ...this.pieces(r));
    return make("section", { className: "card reply", "aria-label": "Reply " + r.mark }, make("h3", {}, make("span", { className: "letter", text: r.mark }), "Reply " + r.mark), body);
  }

  // Text nodes and mark elements: a span counts code points.
  pieces(r) {
    const points = Array.from(r.text), spans = this.item.critiques.filter(c => c.reply === r.mark && c.span).map(c => ({ id: c.id, from: Math.max(0, c.span[0]), to: Math.min(points.length, c.span[1]) })).filter(s => s.from < s.to);
    const cuts = [...new Set([0, points.length, ...spans.flatMap(s => [s.from, s.to])])].sort((a, b) => a - b), out = [];
    for (let i = 0; i + 1 < cuts.length; i++) {
      const text = points.slice(cuts[i], cuts[i + 1]).join(""), by = spans.filter(s => s.from <= cuts[i] && s.to >= cuts[i + 1]).map(s => s.id);
      out.push(by.length ? make("mark", { text, "data-by": by.join(" ") }) : document.createTextNode(text));
    }
    return out;
  }

  quote(c) {
    const reply = this.item.replies.find(r => r.mark === c.reply);
    return c.span && reply ? Array.from(reply.text).slice(c.span[0], c.span[1]).join("") : "";
  }

  /* ---- critiques ---- */

  critique(c, i) {
    const quote = this.quote(c), text = make("textarea", { rows: 3, id: "critique-" + c.id, maxlength: 8000, oninput: () => { this.entry(c.id).text = text.value; this.changed(); } });
    const editor = make("div", {}, make("label", { for: "critique-" + c.id, text: "The critique as it should be" }), text);
    const pick = (state, label, key, className) => make("button", { type: "button", className: "pick " + className, "aria-pressed": "false", "data-state": state, disabled: this.judged,
      onclick: () => { this.goTo(i, false); this.decide(state); } }, label + " ", make("kbd", { text: key }));
    const buttons = [pick("keep", "Keep", "y", "yes"), pick("reject", "Reject", "n", "no"), pick("edit", "Edit", "e", "")];
    const card = make("article", { className: "card critique", tabindex: -1, "aria-label": "Critique " + (i + 1) + " of " + this.item.critiques.length },
      make("div", { className: "soft", text: "Critique " + (i + 1) + (this.item.replies.length > 1 ? " · of reply " + c.reply : "") }),
      make("div", { className: "talk", text: c.text }), quote ? make("blockquote", { text: quote }) : null,
      make("div", { className: "row", role: "group", "aria-label": "Your word on critique " + (i + 1) }, ...buttons), editor);
    card.addEventListener("focusin", () => this.goTo(i, false));
    this.cards.push({ card, buttons, editor, text, critique: c });
    if (!this.judgement.critiques.has(c.id) && c.state) this.judgement.critiques.set(c.id, { state: c.state });
    this.show(this.cards.length - 1);
    return card;
  }

  speech(s, i) {
    return make("article", { className: "card", "aria-label": "Speech " + (i + 1) + " for reply " + s.reply },
      make("div", { className: "soft", text: "Speech " + (i + 1) + " · for reply " + s.reply }), make("div", { className: "talk", text: s.text }));
  }

  entry(id) {
    if (!this.judgement.critiques.has(id)) this.judgement.critiques.set(id, { state: null });
    return this.judgement.critiques.get(id);
  }

  show(i) {
    const { buttons, editor, text, critique } = this.cards[i], state = this.entry(critique.id).state, own = this.entry(critique.id).text;
    for (const b of buttons) b.setAttribute("aria-pressed", String(b.dataset.state === state));
    editor.hidden = state !== "edit" || this.judged;
    if (state === "edit" && own === undefined) this.entry(critique.id).text = critique.text;
    if (state === "edit" && text.value !== this.entry(critique.id).text) text.value = this.entry(critique.id).text;
  }

  decide(state) {
    if (this.judged || this.here < 0) return;
    this.entry(this.cards[this.here].critique.id).state = state;
    this.show(this.here);
    if (state === "edit") this.cards[this.here].text.focus();
    this.changed();
  }

  goTo(i, focus) {
    if (!this.cards[i]) return;
    this.here = i;
    this.cards.forEach((c, k) => c.card.classList.toggle("here", k === i));
    const id = String(this.cards[i].critique.id);
    for (const m of this.box ? this.box.querySelectorAll("mark") : []) m.classList.toggle("here", m.dataset.by.split(" ").includes(id));
    if (focus) this.cards[i].card.focus();
  }

  /* ---- the form ---- */

  scale(name, legend, from, to, value, ends, set) {
    const inputs = [];
    for (let v = from; v <= to; v++)
      inputs.push(make("label", {}, make("input", { type: "radio", name, value: v, checked: v === value, "aria-label": legend + " " + v + (name === "severity" ? ", " + SEVERITIES[v] : ends[{ 1: 0, 4: 1, 7: 2 }[v]] ? ", " + ends[{ 1: 0, 4: 1, 7: 2 }[v]].slice(3) : ""),
        onchange: () => { set(v); this.changed(); } }), make("span", { text: v, "aria-hidden": "true" })));
    return make("fieldset", {}, make("legend", { text: legend }), make("div", { className: "scale" }, ...inputs), make("p", { className: "ends" }, ...ends.map(text => make("span", { text }))));
  }

  field(id, label, hint, rows, value, set) {
    const area = make("textarea", { id, rows, maxlength: 16000, oninput: () => { set(area.value); this.changed(); } });
    area.value = value;
    return make("div", {}, make("label", { for: id, text: label }), hint ? make("p", { className: "soft", text: hint }) : null, area);
  }

  form() {
    const j = this.judgement, item = this.item, ends = item.replies.length > 1 ? ENDS.two : ENDS.one;
    const verdict = this.scale("verdict", item.question || "Your verdict", 1, 7, j.verdict, ends, v => { j.verdict = v; });
    const severity = this.scale("severity", "How bad is the worst flaw?", 0, 4, j.severity, ["0: none", "2: some", "4: grave"], v => { j.severity = v; });
    const head = make("h2", { text: this.first ? "Your first verdict" : "Your verdict: it decides" });
    if (this.first) return make("section", { className: "form card" }, head, verdict, severity);
    return make("section", { className: "form card" }, head, verdict, severity,
      this.field("own", "Flaws that no critique names", "One a line; may stay empty.", 2, j.own, v => { j.own = v; }),
      item.kind === "critique" ? this.field("edit", "A better text, if you would write one", "Training then learns yours in place of the rewrite.", 3, j.edit, v => { j.edit = v; }) : null,
      this.field("note", "Note", "For whoever reads the log later.", 2, j.note, v => { j.note = v; }));
  }

  verdictBox() {
    const v = this.item.verdict;
    return make("div", { className: "banner" }, make("p", { text: v ? "You judged this: " + v.verdict + (Number.isInteger(v.severity) ? ", severity " + v.severity : "") + "." : "This item is closed." }),
      v ? make("p", { className: "soft", text: "u takes back the last verdict, unless training has used it." }) : null);
  }

  choose(name, value) {
    const input = this.box.querySelector(`input[name=${name}][value="${value}"]`);
    if (!input) return;
    input.checked = true;
    input.dispatchEvent(new Event("change"));
  }
}
