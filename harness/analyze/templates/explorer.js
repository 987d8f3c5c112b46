// The threshold and cost explorer: confusion counts at any threshold, from counts of scores.
const explorer = { scenario: null, at: 0, method: null, moved: false };
const COSTS = { cost_fp: "cost-fp", cost_fn: "cost-fn", cost_tp: "cost-tp", cost_tn: "cost-tn" };
const COUNT_CHARTS = ["thresholds", "costs", "net_benefit"];
const probability = (logit) => 1 / (1 + Math.exp(-logit));

const shownProbability = (p) => p < 0.1 || p > 0.9 ? p.toPrecision(p < 0.1 ? 2 : 4) : p.toFixed(3);

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
function cost({ tp, fp, positives, negatives }) {
  const { cost_fp, cost_fn, cost_tp, cost_tn } = costs();
  return fp * cost_fp + (positives - tp) * cost_fn + tp * cost_tp + (negatives - fp) * cost_tn;
}

// What the sweep decided by: its costs, and the threshold that its rule chose for a method.
const ofSweep = () => payload.scenarios[explorer.scenario];
const chosenAt = (method) => {
  const chosen = ofSweep().chosen;
  return Object.hasOwn(chosen, method) ? chosen[method] : null;
};
const nearest = (logit) => payload.thresholds.reduce((best, value, i, all) =>
  Math.abs(value - logit) < Math.abs(all[best] - logit) ? i : best, 0);

function takeCostsOfSweep() {
  for (const [name, id] of Object.entries(COSTS)) element(id).value = ofSweep().costs[name];
  Object.assign(lastCosts, ofSweep().costs);
  costs();
}

// Until the reader moves the threshold it is the one chosen for the method shown.
function takeThresholdOfSweep() {
  const chosen = chosenAt(explorer.method);
  if (!explorer.moved && chosen !== null) explorer.at = nearest(chosen);
}

// The last sound cost stands where a reader has typed something else: an error costs no less than
// the right decision for the same label.
const lastCosts = { cost_fp: 1, cost_fn: 1, cost_tp: 0, cost_tn: 0 };
const RIGHT = { cost_fp: "cost_tn", cost_fn: "cost_tp" };
function costs() {
  for (const name of ["cost_tp", "cost_tn", "cost_fp", "cost_fn"]) {
    const input = element(COSTS[name]);
    const least = name in RIGHT ? lastCosts[RIGHT[name]] : -Infinity;
    const sound = input.value !== "" && Number(input.value) >= least;
    input.setAttribute("aria-invalid", String(!sound));
    if (sound) lastCosts[name] = Number(input.value);
  }
  return lastCosts;
}

const signalsNow = () => ({ at: payload.thresholds[explorer.at], ...lastCosts });
const signalsOf = (name) => name === "costs" ? signalsNow() : { at: signalsNow().at };

function methodsWithCounts() {
  return [...picked].filter((method) => countsOf(method, "test"));
}

async function drawExplorer(scenario) {
  const before = explorer.scenario === null ? null : ofSweep();
  explorer.scenario = scenario;
  if (before !== ofSweep()) explorer.moved = false;
  if (before === null || JSON.stringify(before.costs) !== JSON.stringify(ofSweep().costs)) takeCostsOfSweep();
  const methods = methodsWithCounts();
  element("explorer").hidden = methods.length === 0;
  if (!methods.length) return;
  fillOptions(element("pick-method"), methods);
  if (methods.includes(explorer.method)) element("pick-method").value = explorer.method;
  explorer.method = element("pick-method").value;
  takeThresholdOfSweep();
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
  const shownP = shownProbability(p);
  element("threshold-value").textContent = shownP;
  element("threshold").value = explorer.at;
  element("threshold").setAttribute("aria-valuetext", "probability " + shownP);
  const { cost_fp, cost_fn, cost_tp, cost_tn } = costs();
  const alarm = cost_fp - cost_tn, miss = cost_fn - cost_tp;
  const rational = alarm + miss ? number(alarm / (alarm + miss), 3) : "\u2013";
  const chosen = chosenAt(explorer.method);
  element("threshold-note").textContent = explorer.method + ", test rows of " + counts.runs
    + (counts.runs === 1 ? " run" : " runs added up") + ". "
    + (chosen === null ? "" : "The sweep chose " + shownProbability(probability(chosen))
      + " on validation for " + ofSweep().rule + ". ")
    + "With calibrated probabilities the cheapest threshold would be " + rational + ".";
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
  explorer.moved = true;
  showThreshold();
}

function showThreshold() {
  showConfusion();
  for (const name of COUNT_CHARTS) setSignals(name, signalsOf(name));
}

function startExplorer() {
  explorer.at = payload.thresholds.indexOf(0);
  const gains = payload.scenarios.some(({ costs }) => costs.cost_tp || costs.cost_tn);
  for (const id of ["cost-tp", "cost-tn"]) element(id).parentElement.hidden = !gains;
  const slider = element("threshold");
  slider.max = payload.thresholds.length - 1;
  slider.value = explorer.at;
  slider.addEventListener("input", () => moveThreshold(Number(slider.value)));
  for (const id of Object.values(COSTS)) element(id).addEventListener("input", showThreshold);
  element("as-chosen").addEventListener("click", () => {
    explorer.moved = false;
    takeCostsOfSweep();
    takeThresholdOfSweep();
    showThreshold();
  });
  element("pick-method").addEventListener("change", (event) => {
    explorer.method = event.target.value;
    drawExplorer(explorer.scenario);
  });
  element("cheapest").addEventListener("click", () => choose((row) => -cost(row)));
  element("best-f1").addEventListener("click", () => choose(f1));
  element("threshold-form").addEventListener("submit", (event) => event.preventDefault());
}
