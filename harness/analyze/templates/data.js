// The data block, unpacked. Names are data: they are only ever set as textContent.
const payload = JSON.parse(document.getElementById("payload").textContent);
const element = (id) => document.getElementById(id);
const unique = (values) => [...new Set(values)];
const shown = { dataset: null, rate: null, settings: null, metric: payload.headline };
const colours = new Map(payload.methods.map(({ label, colour }) => [label, colour]));
const picked = new Set(colours.keys());

// Columns to rows: a column is a list, one value for all rows, or an index into a few texts.
function unpack({ n, columns }) {
  const rows = Array.from({ length: n }, () => ({}));
  for (const [name, column] of Object.entries(columns)) {
    const at = Array.isArray(column) ? (i) => column[i]
      : "all" in column ? () => column.all : (i) => column.of[column.at[i]];
    rows.forEach((row, i) => { row[name] = at(i); });
  }
  return rows;
}

// Rows of the picked methods in one scenario, each with its colour.
function rowsOf(chart, scenario) {
  const packed = (payload.charts[chart] || {})[scenario];
  return packed ? coloured(unpack(packed)) : [];
}

const coloured = (rows) => rows
  .filter((row) => picked.has(row.method))
  .map((row) => ({ ...row, colour: colours.get(row.method) }));

// Charts of methods without a colour would be charts of lines nobody can name.
const drawable = (rows) => rows.filter((row) => row.colour);

const minus = (text) => text.replace("-", "\u2212");
const number = (value, digits = 4) =>
  value === null || value === undefined ? "\u2013" : minus(value.toFixed(digits));
const signed = (value) => (value > 0 && Number(value.toFixed(4)) > 0 ? "+" : "") + number(value);
const interval = ({ low, high }) => low === null ? "\u2013" : signed(low) + " to " + signed(high);
const pValue = (value) => value !== null && value < 1e-4 ? "< 0.0001" : number(value);
const together = (values, shown = String) =>
  values[0] === null ? "\u2013" : values.map((value) => shown(value)).join(" / ");
const chances = ({ p_worse, p_equivalent, p_better }) =>
  together([p_worse, p_equivalent, p_better], (p) => number(p, 2));
const count = (value) => value.toLocaleString("en");

function cell(text, name = "", tag = "td") {
  const made = document.createElement(tag);
  made.textContent = text;
  if (name) made.className = name;
  if (tag === "th") made.scope = "row";
  return made;
}

function small(text) {
  const made = document.createElement("small");
  made.textContent = text;
  return made;
}

function tableRow(cells) {
  const made = document.createElement("tr");
  made.append(...cells);
  return made;
}

function fillOptions(select, values, titles = values) {
  select.replaceChildren(...values.map((value, i) => {
    const option = document.createElement("option");
    option.value = value;
    option.textContent = titles[i] || "(none)";
    return option;
  }));
  select.disabled = values.length < 2;
}

// Small multiples as wide as their place: as many columns as leave each panel room.
function panels(definition, width, number) {
  const axis = 40, gap = definition.spacing;
  const columns = Math.min(number, definition.columns, Math.max(1, Math.floor(width / 130)));
  const each = Math.min(220, Math.floor((width - axis - gap * (columns - 1)) / columns));
  return { columns, spec: { ...definition.spec, width: each, height: Math.min(each, 150) } };
}

const views = new Map();
const waiting = new Map();

// Draws a chart, or hides its place where there is nothing to draw. A newer call wins.
async function draw(name, values, signals = {}) {
  const target = element("chart-" + name);
  target.closest("figure").hidden = values.length === 0;
  const turn = (waiting.get(name) || 0) + 1;
  waiting.set(name, turn);
  if (!values.length) return;
  const definition = payload.definitions[name];
  const spec = { ...definition, datasets: { ...definition.datasets, rows: values } };
  const methods = unique(values.map((row) => row.method)).length;
  if (definition.facet) Object.assign(spec, panels(definition, target.clientWidth, methods));
  else if (definition.height.step) spec.height = definition.height.step * methods;
  // ast: expressions are interpreted, so the policy need not allow eval.
  const options = {
    actions: false, ast: true, renderer: "svg", defaultStyle: false, logLevel: 1,
    tooltip: { disableDefaultStyle: true },
  };
  const old = views.get(name);
  const made = await drawChart(target, spec, options);
  if (waiting.get(name) !== turn) { made.finalize(); return; }
  if (old) old.finalize();
  // The caption names the chart and the tables hold its numbers: its marks would be read as noise.
  target.querySelector("svg").setAttribute("aria-hidden", "true");
  views.set(name, made);
  setSignals(name, signals);
}

function setSignals(name, signals) {
  const made = views.get(name);
  if (!made) return;
  for (const [signal, value] of Object.entries(signals)) made.view.signal(signal, value);
  if (Object.keys(signals).length) made.view.runAsync();
}
