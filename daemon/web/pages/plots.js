// plots.js: the dashboard's plots by Chart.js: lines of a training's steps, rates with their
// intervals. A plot is made once and then given points.
"use strict";

const css = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const COLORS = ["--accent", "--bad", "--good", "--warn"];
const EXTRA = ["#8a63d2", "#2a9d9d", "#c0578f", "#7d8a98"];
const colorOf = i => i < COLORS.length ? css(COLORS[i]) : EXTRA[(i - COLORS.length) % EXTRA.length];
const plain = v => v && Math.abs(v) < 1e-3 ? v.toExponential(1) : String(+(+v).toPrecision(5));

// The box of a plot; `says` is the sentence below it and what a reader who sees no canvas gets.
function plotBox(title, says) {
  const canvas = make("canvas", { role: "img", "aria-label": title + ". " + (says || "") });
  const note = make("p", { className: "soft", text: says || "" });
  return { box: make("section", { className: "card" }, make("h3", { text: title }), make("div", { className: "plot" }, canvas), note), canvas, note };
}

function chartOf(canvas, config) {
  Chart.defaults.color = css("--soft");
  Chart.defaults.borderColor = css("--line");
  Chart.defaults.font.family = getComputedStyle(document.body).fontFamily;
  config.options = Object.assign({ responsive: true, maintainAspectRatio: false, animation: false,
    interaction: { mode: "nearest", axis: "x", intersect: false } }, config.options);
  return new Chart(canvas, config);
}

// Dashed lines where a guard acts, when they lie near the curve.
const marksPlugin = { id: "marks", afterDatasetsDraw(chart) {
  const g = chart.ctx, area = chart.chartArea;
  for (const m of chart.options.marks || []) {
    const y = chart.scales.y.getPixelForValue(m.value);
    if (y < area.top || y > area.bottom) continue;
    g.save();
    g.strokeStyle = g.fillStyle = css("--bad");
    g.setLineDash([6, 4]);
    g.beginPath(); g.moveTo(area.left, y); g.lineTo(area.right, y); g.stroke();
    g.font = "12px " + Chart.defaults.font.family;
    g.textAlign = "right";
    g.fillText(m.says, area.right - 4, y - area.top < 18 ? y + 14 : y - 4);
    g.restore();
  }
} };

// A curve over steps: {box, show(points)}; points are [[x, y], …].
function curvePlot(series) {
  const { box, canvas, note } = plotBox(series.title, series.says);
  const dots = series.name === "reward_by_kl", accent = css("--accent");
  const chart = chartOf(canvas, { type: dots ? "scatter" : "line", plugins: [marksPlugin],
    data: { datasets: [{ label: series.title, data: [], borderColor: accent, backgroundColor: dots ? accent + "66" : accent,
      borderWidth: dots ? 0 : 2, pointRadius: dots ? 2.5 : 0, pointHitRadius: 8, tension: 0 }] },
    options: { marks: series.marks || [], plugins: { legend: { display: false },
      tooltip: { callbacks: { title: t => (series.x || "step") + " " + plain(t[0].parsed.x), label: t => plain(t.parsed.y) } } },
      scales: { x: { type: "linear", title: { display: true, text: series.x || "step" }, ticks: { maxTicksLimit: 7, callback: plain } },
        y: { title: { display: !!series.unit, text: series.unit || "" }, ticks: { maxTicksLimit: 7, callback: plain } } } } });
  return { box, show(points) {
    const ys = points.map(p => p[1]), top = Math.max(...ys), low = Math.min(...ys), span = Math.max(top - low, Math.abs(top), 1e-9);
    const near = (series.marks || []).filter(m => m.value <= top + 1.5 * span && m.value >= low - 1.5 * span);
    const far = (series.marks || []).filter(m => !near.includes(m));
    chart.options.scales.y.suggestedMax = Math.max(...near.map(m => m.value), -Infinity) === -Infinity ? undefined : Math.max(...near.map(m => m.value));
    chart.options.scales.y.suggestedMin = near.length ? Math.min(...near.map(m => m.value)) : undefined;
    chart.data.datasets[0].data = points.map(p => ({ x: p[0], y: p[1] }));
    chart.data.datasets[0].pointRadius = dots ? 2.5 : points.length < 30 ? 2.5 : 0;
    chart.update("none");
    const last = points.length && !dots ? "Now " + plain(ys[ys.length - 1]) + ". " : "";
    note.textContent = last + (series.says || "") + far.map(m => " Far from here: " + m.says + ", " + figure(m.value) + ".").join("");
  } };
}

// Rates by stage: a line per column, a whisker per interval.
function ratesPlot(title, says) {
  const { box, canvas } = plotBox(title, says);
  let table = { columns: [], rows: [] };
  const whiskers = { id: "whiskers", afterDatasetsDraw(chart) {
    const g = chart.ctx;
    table.columns.forEach((c, i) => {
      const meta = chart.getDatasetMeta(i);
      if (meta.hidden) return;
      g.save();
      g.strokeStyle = colorOf(i);
      g.lineWidth = 1.5;
      meta.data.forEach((point, j) => {
        const v = table.rows[j] && table.rows[j][c.key];
        if (!v) return;
        const low = chart.scales.y.getPixelForValue(100 * v.low), high = chart.scales.y.getPixelForValue(100 * v.high);
        g.beginPath(); g.moveTo(point.x, low); g.lineTo(point.x, high);
        for (const y of [low, high]) { g.moveTo(point.x - 4, y); g.lineTo(point.x + 4, y); }
        g.stroke();
      });
      g.restore();
    });
  } };
  const chart = chartOf(canvas, { type: "line", plugins: [whiskers], data: { labels: [], datasets: [] },
    options: { scales: { y: { min: 0, suggestedMax: 100, title: { display: true, text: "%" } }, x: { offset: true } },
      plugins: { legend: { labels: { usePointStyle: true, boxHeight: 6 } }, tooltip: { callbacks: { label: t => t.dataset.label + ": " +
        cellText(table.rows[t.dataIndex][table.columns[t.datasetIndex].key], "interval") } } } } });
  return { box, show(columns, rows, labelKey) {
    table = { columns, rows };
    chart.data.labels = rows.map(r => r[labelKey]);
    chart.data.datasets = columns.map((c, i) => ({ label: c.title, borderColor: colorOf(i), backgroundColor: colorOf(i), borderWidth: 2.5,
      pointRadius: 4, pointStyle: ["circle", "rect", "triangle", "rectRot"][i % 4], tension: 0, spanGaps: true,
      data: rows.map(r => r[c.key] ? 100 * r[c.key].value : null) }));
    chart.update("none");
  } };
}
