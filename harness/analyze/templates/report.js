"use strict";
// A block: the bundle before this one owns the short global names.
{
// Shows one scenario at a time. Names are data: they are only ever set as textContent.
const payload = JSON.parse(document.getElementById("payload").textContent);
const pick = (name) => document.getElementById("pick-" + name);
const unique = (values) => [...new Set(values)];
const shown = { dataset: null, rate: null, settings: null, metric: null };

function fill(name, options, titles = options) {
  const select = pick(name);
  select.replaceChildren(...options.map((value, i) => {
    const option = document.createElement("option");
    option.value = value;
    option.textContent = titles[i] || "(none)";
    return option;
  }));
  if (options.includes(shown[name])) select.value = shown[name];
  shown[name] = select.value;
  select.disabled = options.length < 2;
}

// Each selector offers only what was run with the choices to its left.
function fillSelectors() {
  let rows = payload.scenarios;
  for (const name of ["dataset", "rate", "settings"]) {
    fill(name, unique(rows.map((row) => row[name])));
    rows = rows.filter((row) => row[name] === shown[name]);
  }
  document.getElementById("settings-label").hidden = payload.scenarios.every((s) => !s.settings);
  return payload.scenarios.indexOf(rows[0]);
}

function rowsOf(chart, scenario) {
  return (payload.charts[chart] || {})[scenario] || [];
}

function chartRows(scenario) {
  const ofMetric = (row) => row.metric === shown.metric;
  const rows = {};
  for (const name of Object.keys(payload.definitions)) rows[name] = rowsOf(name, scenario);
  rows.differences = rows.differences.filter(ofMetric);
  rows.rates = payload.scenarios.flatMap((other, number) =>
    other.dataset === shown.dataset && other.settings === shown.settings
      ? rowsOf("rates", number).filter(ofMetric) : []);
  if (unique(rows.rates.map((row) => row.rate.toPrecision(2))).length < 2) rows.rates = [];
  return rows;
}

async function draw(name, values) {
  const target = document.getElementById("chart-" + name);
  target.parentElement.hidden = values.length === 0;
  if (!values.length) return;
  const spec = { ...payload.definitions[name], datasets: { ...payload.definitions[name].datasets, rows: values } };
  // ast: expressions are interpreted, so the policy need not allow eval.
  await drawChart(target, spec, {
    actions: false, ast: true, renderer: "svg", defaultStyle: false,
    tooltip: { disableDefaultStyle: true },
  });
}

function showRows(scenario) {
  for (const id of ["board", "differences"]) {
    const table = document.getElementById(id);
    table.classList.add("picked");
    for (const row of table.tBodies[0].rows) {
      const metric = row.dataset.metric;
      row.hidden = row.dataset.scenario !== String(scenario)
        || (metric !== undefined && !isHeadline(metric) && metric !== shown.metric);
    }
  }
}

const isHeadline = (metric) => metric === payload.headline;

function caption(id, text) {
  document.getElementById("caption-" + id).textContent = text;
}

let latest = 0;

async function update() {
  const mine = ++latest;
  const scenario = fillSelectors();
  const metric = payload.metrics.find((m) => m.id === shown.metric);
  const direction = metric.lower ? "lower is better" : "higher is better";
  document.getElementById("status").textContent = "Showing " + payload.scenarios[scenario].where + ".";
  caption("differences", "Difference from bce: " + metric.title + " (95%, " + direction + ")");
  caption("rates", "By positive rate: " + metric.title + " (95%, " + direction + ")");
  showRows(scenario);
  for (const [name, rows] of Object.entries(chartRows(scenario))) {
    if (mine !== latest) return; // the reader has picked again meanwhile
    await draw(name, rows);
  }
}

function legend() {
  document.getElementById("legend").replaceChildren(...payload.losses.map(({ label, colour }) => {
    const item = document.createElement("span");
    const swatch = document.createElement("i");
    swatch.style.background = colour;
    item.append(swatch, label);
    return item;
  }));
}

if (payload.scenarios.length && payload.metrics.length) {
  shown.metric = payload.headline;
  fill("metric", payload.metrics.map((m) => m.id), payload.metrics.map((m) => m.title));
  for (const name of Object.keys(shown)) {
    pick(name).addEventListener("change", (event) => { shown[name] = event.target.value; update(); });
  }
  document.getElementById("selectors").hidden = false;
  document.getElementById("charts").hidden = false;
  legend();
  update();
}
}
