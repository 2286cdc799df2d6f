// dashboard.js: jobs, what the chosen one does and has done, workers. Small questions every few
// seconds while somebody looks; the whole report only when a stage has changed.
"use strict";

const POLL_MS = 2500;
const STAGES = {
  red_team: "prompts are looked for that lead the model to harm",
  revise: "the model's replies are criticised under a principle, and rewritten",
  sft: "the model learns the rewritten replies",
  label: "an overseer chooses between two replies under a principle",
  prefer: "a preference model learns these choices",
  evaluate: "replies to held-out prompts are graded",
  ppo: "the model learns to please the preference model, without going far from where it began",
};
const STATES = { PENDING: "waits its turn", HELD: "held by a person", RUNNING: "running", WAITING_REVIEW: "waits for a person",
  COMPLETING: "ending", SUSPENDED: "paused", COMPLETED: "done", FAILED: "failed", CANCELLED: "cancelled" };
let chosen = 0, jobs = [], timer = 0, view = null;

const stateOf = state => make("span", { className: "state " + state, text: STATES[state] || state });
const rest = job => job.eta_s === null || job.eta_s === undefined ? "" : duration(job.eta_s) + " left in this stage";
const placeOf = job => (job.title ? (job.round >= 1 && job.round <= job.rounds ? "Round " + job.round + " of " + job.rounds + " · " : "") + job.title : "");

/* ---- the list ---- */

function jobCard(job) {
  const track = make("span", { className: "track", "aria-hidden": "true" }, ...(job.stages || []).map(s => make("span", { className: s.state })));
  const bar = job.total > 0 && job.state === "RUNNING" ? make("progress", { max: job.total, value: job.done, "aria-label": "progress of the stage" }) : null;
  const done = (job.stages || []).filter(s => s.state === "done").length, all = (job.stages || []).length;
  return make("button", { type: "button", className: "job", "aria-pressed": String(job.id === chosen), "data-job": job.id, onclick: () => choose(job.id) },
    make("span", { className: "head" }, make("span", { className: "name", text: job.name }), stateOf(job.state)),
    make("span", { className: "soft", text: "Job " + job.id + (job.user ? " · " + job.user : "") + (all ? " · " + done + " of " + all + " stages" : "") }),
    track, bar,
    make("span", { className: "soft", text: [placeOf(job), job.total > 0 && job.state === "RUNNING" ? figure(Math.floor(job.done)) + " of " + figure(job.total) + " " + job.unit : "", rest(job)].filter(x => x).join(" · ") }),
    job.reason ? make("span", { className: "soft", text: job.reason }) : null);
}

function drawJobs() {
  const held = document.activeElement && document.activeElement.dataset ? document.activeElement.dataset.job : null;
  put(byId("jobs"), jobs.length ? make("div", { className: "grid" }, ...jobs.map(jobCard))
    : make("div", { className: "card" }, make("p", { text: "No job yet." }), make("p", { className: "soft" }, "A job begins with ", make("code", { text: "caictl init > job.yaml" }), " and ", make("code", { text: "caictl submit job.yaml" }), ".")));
  const again = held && document.querySelector(`[data-job="${held}"]`);
  if (again) again.focus({ preventScroll: true });
}

function choose(id) {
  chosen = id;
  history.replaceState(null, "", "#job=" + id);
  drawJobs();
  view = null;
  put(byId("detail"));
  tick();
}

/* ---- the chosen job ---- */

const section = (title, ...inside) => make("section", {}, make("h2", { text: title }), ...inside);
const tableNamed = (report, name) => (report.tables || []).find(t => t.name === name);
const tableBox = (t, bare) => make("div", { className: "card scroll" }, bare ? null : make("h3", { text: t.title }), tableOf(t.columns, t.rows), t.note ? make("p", { className: "soft", text: t.note }) : null);

function tile(label, value, remark) {
  return make("div", { className: "card tile" }, make("div", { className: "soft", text: label }), make("div", { className: "value", text: value }), make("div", { className: "soft", text: remark || "" }));
}

function tilesOf(job, report) {
  const evaluate = tableNamed(report, "evaluate"), prefer = tableNamed(report, "prefer"), tiles = [];
  const rows = evaluate ? evaluate.rows.filter(r => r.harmful_rate) : [], first = rows[0], last = rows[rows.length - 1];
  if (first) tiles.push(tile("Harmful replies to harmful prompts", percent(last.harmful_rate.value), rows.length > 1 ? "at the start " + percent(first.harmful_rate.value) + "; now: " + last.checkpoint : "at the start"));
  const helpful = evaluate ? evaluate.rows.filter(r => r.evasion_rate_helpful) : [];
  if (helpful.length) tiles.push(tile("Evades harmless questions", percent(helpful[helpful.length - 1].evasion_rate_helpful.value), helpful[helpful.length - 1].checkpoint));
  const pm = prefer ? prefer.rows.filter(r => r.pm_accuracy) : [];
  if (pm.length) tiles.push(tile("Preference model agrees", percent(pm[pm.length - 1].pm_accuracy.value), "with held-out labels, round " + pm[pm.length - 1].checkpoint));
  for (const [name, label] of [["reward", "Reward now"], ["kl", "Distance from the start"], ["accuracy", "Decided rightly now"], ["loss", "Loss now"]])
    if (job.figures && typeof job.figures[name] === "number") tiles.push(tile(label, figure(job.figures[name]), name === "kl" ? "nats a reply" : job.title));
  if (job.elapsed_s) tiles.push(tile("Time so far", duration(job.elapsed_s), rest(job)));
  return tiles;
}

// Each guard in one line: what it watches, how it stands.
function guardsOf(job, report) {
  const rows = [];
  const row = (state, name, says) => rows.push(make("tr", {}, make("td", {}, make("span", { className: "state " + state, text: { ok: "fine", watch: "look", halt: "tripped", idle: "–", people: "waits" }[state] })), make("td", { text: name }), make("td", { text: says })));
  if (/^review/.test(job.gate)) row("people", "people's verdicts", job.reason);
  else if (job.gate) row("halt", job.gate, job.reason + ". caictl resume " + job.id + " --accept " + job.gate + ", once you have looked");
  for (const line of report.warnings || []) if (/^Accepted/.test(line)) row("watch", "accepted", line);
  const table = tableNamed(report, "guard");
  for (const r of table ? table.rows : []) {
    const low = /\(([\d.]+) to/.exec(r.R || ""), value = parseFloat(r.R || "");
    row(low && +low[1] > 1 ? "halt" : value > 1 ? "watch" : "ok", r.checkpoint, "as often as a round before × " + (r.R || "–") + ", as at the start × " + (r.R0 || "–") + (r.safe ? "; a rise is " + r.safe : ""));
  }
  // Every guard at the newest checkpoint where it looked: quiet, or it tripped.
  const all = tableNamed(report, "guards");
  for (const r of all ? all.rows : []) {
    const at = all.columns.slice(1).find(c => r[c.key]);
    row(!at ? "idle" : r[at.key] === "TRIPPED" ? "halt" : "ok", r.checkpoint, at ? r[at.key].toLowerCase() + ", " + at.title : "had nothing to look at");
  }
  const kl = view.curves.get("ppo/kl"), budget = kl && (kl.series.marks || [])[0];
  if (budget && kl.points.length) {
    const now = kl.points[kl.points.length - 1][1];
    row(now > budget.value ? "halt" : now > 0.8 * budget.value ? "watch" : "ok", "KL budget", figure(now) + " of " + figure(budget.value) + " nats a reply");
  }
  return rows.length ? make("div", { className: "card scroll" }, make("table", {}, make("thead", {}, make("tr", {}, ...["State", "Guard", "How it stands"].map(t => make("th", { text: t, scope: "col" })))), make("tbody", {}, ...rows)),
    table && table.note ? make("p", { className: "soft", text: table.note }) : null) : make("p", { className: "soft", text: "Guards have nothing to say yet: they speak after the first round's evaluation." });
}

// What people said: how far they are, whether they agree, what the critiques did to them.
async function drawPeople(job) {
  const o = await ask("review", { job: job.id }).catch(e => { if (e instanceof Refused && e.status !== 401) return null; throw e; });
  if (!o || !view || view.id !== job.id || !(o.queues || []).length) return;
  const between = (v, low, high, as) => v === null || v === undefined ? "–" : as(v) + (low === null || low === undefined ? "" : " (" + as(low) + " – " + as(high) + ")");
  const tiles = o.queues.map(q => tile(({ comparison: "Comparisons", critique: "Rewrites", grade: "Grades" }[q.kind] || q.kind) + (q.round ? ", round " + q.round : ""), q.done + " of " + q.required, q.closed ? "used in training" : "judged by people"));
  for (const a of o.agreement || []) if (a.kappa !== null && a.kappa !== undefined) tiles.push(tile("Readers agree, κ", figure(a.kappa), between(a.kappa, a.low, a.high, figure) + " on " + a.items + " " + a.kind + "s"));
  if (o.help && o.help.effect !== null && o.help.effect !== undefined) tiles.push(tile("Critiques show flaws", (o.help.effect > 0 ? "+" : "") + percent(o.help.effect), "flaw rate aided less unaided, " + between(o.help.effect, o.help.low, o.help.high, percent)));
  if (o.overturned && o.overturned.labels) tiles.push(tile("Overseer overturned", percent(o.overturned.rate), o.overturned.turned + " of " + o.overturned.labels + " labels"));
  put(view.people, section("People", make("div", { className: "tiles" }, ...tiles)));
}

function samplesOf(job) {
  const list = make("div"), more = make("button", { type: "button", text: "More" }), stages = [...new Set((job.stages || []).map(s => s.stage))];
  const pick = make("select", { id: "stage" }, ...stages.map(s => make("option", { text: s, value: s })));
  let after = 0;
  async function load(fresh) {
    try {
      if (fresh) { after = 0; put(list); }
      const o = await ask("samples", { id: job.id, stage: pick.value, after, limit: 12 });
      for (const r of o.rows.filter(x => x.text)) {
        const key = r.round + "/" + r.item;
        let box = list.lastElementChild;
        if (!box || box.dataset.key !== key) list.append(box = make("div", { className: "sample", "data-key": key }, make("div", { className: "soft", text: "Round " + r.round + ", item " + r.item })));
        box.append(make("div", { className: "turn" }, make("div", { className: "role", text: r.kind.replace("_", " ") + (r.principle ? " · " + r.principle : "") }), make("div", { className: "talk", text: r.text.trim() })));
      }
      if (!list.childElementCount) put(list, make("p", { className: "soft", text: "This stage has written nothing yet." }));
      after = o.next;
      more.hidden = o.next === null;
    } catch (e) { banner(saysOf(e)); }
  }
  more.addEventListener("click", () => load(false));
  pick.addEventListener("change", () => load(true));
  const now = stages.includes(job.stage) ? job.stage : stages.includes("revise") ? "revise" : stages[0];
  if (now) pick.value = now;
  load(true);
  return make("div", { className: "card" }, make("div", { className: "row" }, make("label", { for: "stage", text: "Stage" }), pick), list, more);
}

function talkOf(t) {
  const last = t.replies.length - 1;
  return make("section", { className: "card" }, ...t.messages.map(m => make("div", { className: "turn" }, make("div", { className: "role", text: m.role === "user" ? "Person" : m.role }), make("div", { className: "talk", text: m.content }))),
    ...t.replies.filter((_, i) => i === 0 || i === last).map((r, i) => make("div", { className: "turn said " + (i ? "after" : "before") }, make("div", { className: "role", text: r.checkpoint }), make("div", { className: "talk", text: r.text.trim() }))));
}

const ALWAYS = ["reward", "kl", "entropy", "length", "reward_by_kl"];

function drawReport(job, report) {
  const detail = byId("detail"), plots = make("div", { className: "charts" });
  const evaluate = tableNamed(report, "evaluate"), prefer = tableNamed(report, "prefer");
  view = { id: job.id, key: keyOf(job), curves: new Map(), plots, head: make("div"), tiles: make("div", { className: "tiles" }), job, report };
  put(detail, make("section", { "aria-label": "Job " + job.id }, view.head, view.tiles,
    section("Curves", plots),
    ...((report.transcripts || []).length ? [section("Before and after", make("div", { className: "charts" }, ...report.transcripts.map(talkOf)))] : []),
    section("Guards", view.guards = make("div")),
    ...["principles"].map(n => tableNamed(report, n)).filter(t => t && t.rows.length).map(t => section("Principles", tableBox(t, true))),
    view.people = make("div"),
    section("Samples", samplesOf(job)),
    ...(report.tables.some(t => t.rows.length) ? [make("details", {}, make("summary", { text: "All figures" }), ...report.tables.filter(t => t.rows.length && t.name !== "principles").map(t => make("p", {}, tableBox(t))))] : []),
    section("What happened", view.log = make("ol", { className: "log card" }))));
  if (evaluate && evaluate.rows.length) {
    const columns = evaluate.columns.filter(c => c.kind === "interval"), p = ratesPlot("Held-out replies by stage", "Lower is better for harm and evasion; bars are 95 % intervals. " + (columns[0] && columns[0].grader ? "Graded by: " + columns[0].grader + (columns[0].verified ? "." : ", never checked.") : ""));
    plots.append(p.box);
    p.show(columns.filter(c => /harmful|refusal|evasion/.test(c.key)).slice(0, 6), evaluate.rows, "checkpoint");
  }
  const shares = prefer ? prefer.columns.filter(c => c.kind === "interval" && prefer.rows.some(r => r[c.key])) : [];
  if (shares.length) {
    const p = ratesPlot("Accuracy of the preference model", "With held-out labels, by round; 50 % is chance. PPO learns from this model.");
    plots.append(p.box);
    p.show(shares, prefer.rows, "checkpoint");
  }
  for (const s of (report.series || []).filter(x => x.stage === "ppo" && ALWAYS.includes(x.name)).sort((a, b) => a.place - b.place)) addCurve(s, s.points);
  drawHead(job);
  drawPeople(job).catch(e => banner(saysOf(e)));
}

function addCurve(series, points) {
  const key = series.stage + "/" + series.name;
  let c = view.curves.get(key);
  if (!c) {
    c = { plot: curvePlot(series), points: [], series };
    view.curves.set(key, c);
    view.plots.append(c.plot.box);
  }
  const last = c.points.length && series.name !== "reward_by_kl" ? c.points[c.points.length - 1][0] : -Infinity;
  c.points = c.points.concat(points.filter(p => p[0] > last));
  c.plot.show(c.points);
}

function drawHead(job) {
  view.job = job;
  const steps = (job.stages || []).map(s => make("li", { className: s.state, text: (s.round >= 1 && s.round <= job.rounds && job.rounds > 1 ? s.round + " · " : "") + s.stage.replace("_", " ") }, make("span", { className: "sr", text: " " + s.state })));
  const now = STAGES[job.stage] && !/COMPLETED|FAILED|CANCELLED/.test(job.state) ? "Now: " + STAGES[job.stage] + "." : "";
  put(view.head, make("h2", { text: job.name + " · job " + job.id }),
    job.state === "WAITING_REVIEW" ? make("p", { className: "banner" }, job.reason + " ", make("a", { href: "/review", text: "Go to the review" })) : null,
    ...(view.report.headline || []).map(t => make("p", { text: t })), now ? make("p", { className: "soft", text: now }) : null,
    steps.length ? make("ol", { className: "steps" }, ...steps) : null);
  put(view.tiles, ...tilesOf(job, view.report));
  put(view.guards, guardsOf(job, view.report));
}

const keyOf = job => [job.id, job.state, job.round, job.stage].join("/");

async function follow(job) {
  if (!view || view.key !== keyOf(job)) {
    const report = await ask("report", { id: job.id });
    if (job.id !== chosen) return;
    drawReport(job, report);
  } else if (job.state === "RUNNING" || !view.log.childElementCount) {
    drawHead(job);
  }
  if (/^review/.test(job.gate)) await drawPeople(job);
  if (job.state === "RUNNING" && /ppo|sft|prefer/.test(job.stage)) {
    const seen = [...view.curves.entries()].filter(([k]) => k.startsWith(job.stage + "/") && !k.endsWith("_by_kl")).map(([, c]) => c.points.length ? c.points[c.points.length - 1][0] : 0);
    const o = await ask("curves", { id: job.id, after: seen.length ? Math.min(...seen) : 0 });
    if (view && view.id === job.id) for (const s of o.series) if (s.points.length) addCurve(s, s.points);
    if (view && view.id === job.id) drawHead(job);
  }
  await followLog(job);
}

async function followLog(job) {
  if (!view || view.id !== job.id) return;
  const o = await ask("logs", { id: job.id, after: view.after || 0, limit: 200 });
  if (!view || view.id !== job.id) return;
  view.after = o.next;
  for (const r of o.rows) {
    const at = new Date(r.at_ms);
    view.log.prepend(make("li", { className: r.level }, make("time", { text: (at.toDateString() === new Date().toDateString() ? "" : at.toLocaleDateString() + " ") + at.toLocaleTimeString([], { hour12: false }), datetime: at.toISOString() }), r.text));
  }
  while (view.log.childElementCount > 60) view.log.lastChild.remove();
}

/* ---- workers ---- */

function drawWorkers(rows) {
  put(byId("workers"), rows.length ? tableOf([{ key: "name", title: "Worker" }, { key: "host", title: "Machine" }, { key: "told", title: "State" }, { key: "does", title: "Does" }, { key: "reason", title: "Remark" }],
    rows.map(w => Object.assign({}, w, { told: make("span", { className: "state " + w.state, text: w.state }), does: w.job ? "job " + w.job + ", " + w.stage + (w.rank !== undefined ? ", rank " + w.rank : "") : "" })))
    : make("p", { className: "soft", text: "No worker is connected: start cai-worker, or caid with --spawn 2." }));
}

/* ---- the clock of it all ---- */

async function tick() {
  clearTimeout(timer);
  try {
    jobs = (await ask("jobs")).rows;
    if (!jobs.some(j => j.id === chosen)) chosen = (jobs.find(j => j.state === "RUNNING") || jobs[0] || { id: 0 }).id;
    drawJobs();
    drawWorkers((await ask("workers")).rows);
    const job = jobs.find(j => j.id === chosen);
    if (job) await follow(job);
    await countReview();
    banner("");
  } catch (e) {
    banner(saysOf(e));
    if (e instanceof Refused && (e.status === 401 || e.status === 403)) return;
  }
  clearTimeout(timer);
  if (!document.hidden) timer = setTimeout(tick, POLL_MS);
}

async function countReview() {
  const n = (await ask("queue").catch(e => { if (e instanceof Refused && e.status !== 401) return { items: [] }; throw e; })).items.length, badge = byId("pending");
  badge.hidden = !n;
  badge.textContent = n;
}

chosen = +(/^#job=(\d+)$/.exec(location.hash) || [0, 0])[1];
document.addEventListener("visibilitychange", () => { if (!document.hidden) tick(); });
addEventListener("hashchange", () => { const id = +(/^#job=(\d+)$/.exec(location.hash) || [0, 0])[1]; if (id && id !== chosen) choose(id); });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { view = null; tick(); });
tick();
