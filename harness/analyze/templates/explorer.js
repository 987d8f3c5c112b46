// The threshold and cost explorer: confusion counts at any threshold, from counts of scores.
const explorer = { scenario: 0, at: 0, method: null };
const COUNT_CHARTS = ["thresholds", "costs", "net_benefit"];
const probability = (logit) => 1 / (1 + Math.exp(-logit));

function countsOf(method, split) {
  const ofScenario = payload.counts[explorer.scenario] || {};
  const ofMethod = Object.hasOwn(ofScenario, method) ? ofScenario[method] : {};
  return ofMethod[split];
}

// True and false positives at each threshold: the scores in the gaps above it.
function atThresholds(counts) {
  let tp = 0, fp = 0;
  const rows = [];
  for (let i = payload.thresholds.length; i > 0; i--) {
    tp += counts.positive[i];
    fp += counts.negative[i];
    rows[i - 1] = { logit: payload.thresholds[i - 1], tp, fp };
  }
  const positives = tp + counts.positive[0], negatives = fp + counts.negative[0];
  return rows.map((row) => ({ ...row, positives, negatives }));
}

const f1 = ({ tp, fp, positives }) => (tp + fp + positives ? 2 * tp / (tp + fp + positives) : 0);
const cost = ({ tp, fp, positives }) => fp * costs().cost_fp + (positives - tp) * costs().cost_fn;

// The last sound cost stands where a reader has typed something else.
const lastCosts = { cost_fp: 1, cost_fn: 1 };
function costs() {
  for (const [name, id] of [["cost_fp", "cost-fp"], ["cost_fn", "cost-fn"]]) {
    const input = element(id);
    const sound = input.value !== "" && Number(input.value) >= 0;
    input.setAttribute("aria-invalid", String(!sound));
    if (sound) lastCosts[name] = Number(input.value);
  }
  return lastCosts;
}

const signalsNow = () => ({ at: payload.thresholds[explorer.at], ...lastCosts });
const signalsOf = (name) => {
  const { at, cost_fp, cost_fn } = signalsNow();
  return name === "costs" ? { at, cost_fp, cost_fn } : { at };
};

function methodsWithCounts() {
  return [...picked].filter((method) => countsOf(method, "test"));
}

async function drawExplorer(scenario) {
  explorer.scenario = scenario;
  const methods = methodsWithCounts();
  element("explorer").hidden = methods.length === 0;
  if (!methods.length) return;
  fillOptions(element("pick-method"), methods);
  if (methods.includes(explorer.method)) element("pick-method").value = explorer.method;
  explorer.method = element("pick-method").value;
  showConfusion();
  const rows = coloured(methods.flatMap((method) =>
    atThresholds(countsOf(method, "test")).map((row) => ({ ...row, method }))));
  await draw("thresholds", rows.filter((row) => row.method === explorer.method), signalsOf("thresholds"));
  await draw("costs", rows, signalsOf("costs"));
  await draw("net_benefit", rows, signalsOf("net_benefit"));
}

function showConfusion() {
  const counts = countsOf(explorer.method, "test");
  const row = atThresholds(counts)[explorer.at];
  const { tp, fp, positives, negatives } = row;
  const cells = { tp, fp, fn: positives - tp, tn: negatives - fp };
  for (const [name, value] of Object.entries(cells)) element(name).textContent = count(value);
  const total = positives + negatives;
  const share = (part, whole) => whole ? (100 * part / whole).toFixed(1) + "%" : "\u2013";
  const facts = {
    precision: share(tp, tp + fp), recall: share(tp, positives), f1: number(f1(row), 3),
    flagged: share(tp + fp, total), cost: number(1000 * cost(row) / total, 1),
    benefit: number((tp - fp * Math.exp(row.logit)) / total, 4),
  };
  for (const [name, value] of Object.entries(facts)) element("rate-" + name).textContent = value;
  const p = probability(row.logit);
  const shownP = p < 0.1 || p > 0.9 ? p.toPrecision(p < 0.1 ? 2 : 4) : p.toFixed(3);
  element("threshold-value").textContent = shownP;
  element("threshold").value = explorer.at;
  element("threshold").setAttribute("aria-valuetext", "probability " + shownP);
  const { cost_fp, cost_fn } = costs();
  const rational = cost_fp + cost_fn ? number(cost_fp / (cost_fp + cost_fn), 3) : "\u2013";
  element("threshold-note").textContent = explorer.method + ", test rows of " + counts.runs
    + (counts.runs === 1 ? " run" : " runs added up")
    + ". With calibrated probabilities the cheapest threshold would be " + rational + ".";
}

// Chosen on validation rows, shown on test rows.
function choose(score) {
  const counts = countsOf(explorer.method, "validation");
  if (!counts) return;
  const scores = atThresholds(counts).map(score);
  const best = Math.max(...scores);
  // Of equal thresholds the middle one: the least likely to be off on other rows.
  const equal = scores.flatMap((value, i) => (value === best ? [i] : []));
  moveThreshold(equal[Math.floor(equal.length / 2)]);
}

function moveThreshold(at) {
  explorer.at = at;
  showConfusion();
  for (const name of COUNT_CHARTS) setSignals(name, signalsOf(name));
}

function startExplorer() {
  explorer.at = payload.thresholds.indexOf(0);
  const slider = element("threshold");
  slider.max = payload.thresholds.length - 1;
  slider.value = explorer.at;
  slider.addEventListener("input", () => moveThreshold(Number(slider.value)));
  for (const id of ["cost-fp", "cost-fn"]) {
    element(id).addEventListener("input", () => { costs(); moveThreshold(explorer.at); });
  }
  element("pick-method").addEventListener("change", (event) => {
    explorer.method = event.target.value;
    drawExplorer(explorer.scenario);
  });
  element("cheapest").addEventListener("click", () => choose((row) => -cost(row)));
  element("best-f1").addEventListener("click", () => choose(f1));
  element("threshold-form").addEventListener("submit", (event) => event.preventDefault());
}
