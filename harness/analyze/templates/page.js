// The page: one scenario and one metric at a time.
const metricNow = () => payload.metrics.find((metric) => metric.id === shown.metric);

// Each selector offers only what was run with the choices to its left.
function fillSelectors() {
  let rows = payload.scenarios;
  for (const name of ["dataset", "rate", "settings"]) {
    const select = element("pick-" + name);
    const options = unique(rows.map((row) => row[name]));
    fillOptions(select, options);
    if (options.includes(shown[name])) select.value = shown[name];
    shown[name] = select.value;
    rows = rows.filter((row) => row[name] === shown[name]);
  }
  element("settings-label").hidden = payload.scenarios.every((row) => !row.settings);
  return payload.scenarios.indexOf(rows[0]);
}

const ofMetric = (row) => row.metric === shown.metric;

function rateRows() {
  const rows = payload.scenarios.flatMap((other, at) =>
    other.dataset === shown.dataset && other.settings === shown.settings
      ? drawable(rowsOf("rates", at)).filter(ofMetric) : []);
  return unique(rows.map((row) => row.rate.toPrecision(2))).length < 2 ? [] : rows;
}

function responseRows(scenario) {
  const rows = drawable(rowsOf("response", scenario));
  const keys = unique(rows.map((row) => row.key));
  const select = element("pick-key");
  const before = select.value;
  fillOptions(select, keys);
  if (keys.includes(before)) select.value = before;
  return rows.filter((row) => row.key === select.value);
}

function showBoard(scenario) {
  const table = element("board");
  table.classList.add("picked");
  const scores = new Map(rowsOf("rates", scenario).filter(ofMetric).map((row) => [row.method, row]));
  const inTable = [...table.tHead.querySelectorAll("[data-metric]")]
    .some((head) => head.dataset.metric === shown.metric);
  const extra = element("board-extra");
  extra.textContent = metricNow().title;
  extra.hidden = inTable;
  const rows = [...table.tBodies[0].rows];
  const value = (row) => (scores.get(row.dataset.method) || { mean: null }).mean;
  const { sign, target } = metricNow();
  const rank = (row) => -sign * (target === null ? value(row) : Math.abs(value(row) - target));
  rows.sort((a, b) => (value(a) === null) - (value(b) === null) || rank(a) - rank(b));
  for (const row of rows) {
    row.hidden = row.dataset.scenario !== String(scenario) || !picked.has(row.dataset.method);
    const score = scores.get(row.dataset.method);
    const last = row.querySelector(".extra");
    last.hidden = inTable;
    last.textContent = number(score && score.mean);
    if (score && score.low !== null) {
      last.append(small(" (" + number(score.low) + " to " + number(score.high) + ")"));
    }
  }
  table.tBodies[0].append(...rows);
}

function verdictCell(row) {
  const made = cell(row.verdict, "verdict " + row.verdict);
  if (row.hint) made.append(small(": " + row.hint));
  return made;
}

function showDifferences(rows) {
  element("differences").classList.add("picked");
  element("differences").tBodies[0].replaceChildren(...rows.map((row) => tableRow([
    cell("", "where"), cell(row.method, "", "th"), cell(signed(row.difference), "n"),
    cell(interval(row), "n"), cell(row.num_pairs, "n"), cell(pValue(row.p_adjusted), "n"),
    cell(chances(row), "n"), verdictCell(row),
  ])));
}

function showDatasets(rows) {
  element("datasets").tBodies[0].replaceChildren(...rows.map((row) => tableRow([
    cell(row.method, "", "th"), cell(row.num_datasets, "n"),
    cell(together([row.wins, row.ties, row.losses]), "n"), cell(signed(row.difference), "n"),
    cell(interval(row), "n"), cell(pValue(row.p_adjusted), "n"),
    cell(chances(row), "n"),
    verdictCell(row),
  ])));
}

async function showAcross() {
  const rows = coloured(unpack(payload.datasets)).filter(ofMetric);
  element("across").hidden = payload.datasets.n === 0;
  for (const part of document.querySelectorAll(".of-metric")) {
    part.textContent = metricNow().compared;
  }
  showDatasets(rows);
  await draw("datasets", rows);
  await draw("ranks", shown.metric === payload.headline ? unpack(payload.ranks) : []);
}

let latest = 0;

async function update() {
  const mine = ++latest;
  const scenario = fillSelectors();
  const metric = metricNow();
  element("status").textContent = "Showing " + payload.scenarios[scenario].where + ": " + metric.title + ".";
  const differences = rowsOf("differences", scenario).filter(ofMetric);
  const about = metric.title + " (95%, " + metric.direction + ")";
  element("caption-differences").textContent = "Difference from " + payload.baseline + ": "
    + (metric.target === null ? about : metric.compared + " (95%, lower is better)");
  element("caption-rates").textContent = "By positive rate: " + about;
  showBoard(scenario);
  showDifferences(differences);
  const steps = drawable(rowsOf("steps", scenario));
  if (steps.length) {
    element("caption-steps").textContent =
      "Steps to " + steps[0].curve + " " + Number(steps[0].target.toPrecision(3));
  }
  const rows = {
    differences, rates: rateRows(), steps, response: responseRows(scenario),
  };
  const simple = ["precision_recall", "roc", "reliability", "histogram", "learning", "objective", "budget"];
  for (const name of simple) rows[name] = drawable(rowsOf(name, scenario));
  for (const [name, values] of Object.entries(rows)) {
    if (mine !== latest) return; // the reader has picked again meanwhile
    await draw(name, values);
  }
  if (mine === latest) await drawExplorer(scenario);
  if (mine === latest) await showAcross();
  if (mine === latest) document.documentElement.dataset.drawn = String(mine);
}

function methodBoxes() {
  element("methods").append(...payload.methods.map(({ label, colour }) => {
    const made = document.createElement("label");
    const box = document.createElement("input");
    const swatch = document.createElement("i");
    box.type = "checkbox";
    box.checked = true;
    box.addEventListener("change", () => {
      if (box.checked) picked.add(label); else picked.delete(label);
      update();
    });
    if (colour) swatch.style.background = colour;
    const text = document.createElement("span");
    text.textContent = label;
    made.append(box, swatch, text);
    return made;
  }));
}

// The selectors stay in sight where they leave room for what is selected.
function keepSelectors() {
  const bar = element("selectors");
  bar.classList.toggle("tall", bar.offsetHeight > window.innerHeight / 4);
}

if (payload.scenarios.length && payload.metrics.length) {
  fillOptions(element("pick-metric"), payload.metrics.map((m) => m.id), payload.metrics.map((m) => m.title));
  element("pick-metric").value = shown.metric;
  for (const name of Object.keys(shown)) {
    element("pick-" + name).addEventListener("change", (event) => {
      shown[name] = event.target.value;
      update();
    });
  }
  element("pick-key").addEventListener("change", update);
  for (const id of ["selectors", "methods", "charts"]) element(id).hidden = false;
  methodBoxes();
  keepSelectors();
  window.addEventListener("resize", keepSelectors);
  startExplorer();
  update();
}
