"""Claims as data: the schema's errors, the judge against references, the command end to end."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml
from scipy import stats

from harness.config import parse
from harness.config.composing import Composer
from harness.errors import UserError
from harness.losses import BCE
from harness.metrics import probability_metrics
from harness.reproduce import Request, judging, observed, read, reproduce, results, running
from harness.reproduce.claims import Claim, Side, experiments
from harness.reproduce.judging import Pairs, finding, judge
from tests.fabricated import Sweep, fabricate

ROOT = Path(__file__).parents[1] / "experiments"

CONSTANT = {
    "question": "Does a constant score the entropy?",
    "source": "arithmetic",
    "measures": {"entropy": {"derive": "entropy", "of": "dataset.positive_rate"}},
    "claims": [
        {
            "name": "entropy",
            "says": "The constant scores H(pi).",
            "of": {"measure": "test/log_loss"},
            "than": {"measure": "entropy"},
            "expect": "equal",
            "by": 1e-5,
            "test": "exact",
        }
    ],
    "figures": [
        {"name": "scores", "title": "Scores", "x": "seed", "y": "test/log_loss", "mark": "point"}
    ],
}
PRIOR_ONLY = {
    "constant": {
        "set": {
            "dataset": "two_gaussians",
            "dataset.rows": 1000,
            "model": "logistic",
            "model.prior_bias": True,
            "optimizer": "sgd",
            "optimizer.learning_rate": 1e-60,
            "training.num_epochs": 1,
            "training.batch_size": 16,
        },
        "seeds": 2,
    }
}


def write(folder, claims=None, sweeps=None):
    """An experiment's folder."""
    folder.mkdir(parents=True)
    (folder / "README.md").write_text("Expected: what follows from arithmetic.")
    (folder / "claims.yaml").write_text(yaml.safe_dump(claims or CONSTANT))
    if sweeps:
        (folder / "sweep.yaml").write_text(yaml.safe_dump(sweeps))
    return folder


def claim(expect="higher", by=0.0, test="draws", name="one", than=0.0):
    return Claim(
        name=name, says=".", of=Side(measure="m"), than=Side(value=than), expect=expect, by=by,
        test=test,
    )  # fmt: skip


def changed(path, value):
    """`CONSTANT` with the value at ``path`` replaced."""
    copy = json.loads(json.dumps(CONSTANT))
    *parents, last = path
    at = copy
    for key in parents:
        at = at[key]
    at[last] = value
    return copy


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("claims", 0, "expect"), "bigger", "claims.0.expect"),
        (("claims", 0, "by"), -1, "claims.0.by"),
        (("claims", 0, "name"), "Two words", "claims.0.name"),
        (("claims", 0, "colour"), "red", "claims.0.colour"),
        (("claims", 0, "than"), {}, "than needs"),
        (("claims",), [], "claims"),
        (("claims",), CONSTANT["claims"] * 2, "two claims are named entropy"),
        (("tune",), {"keys": ["seed"], "by": "test/auroc"}, "tune.by"),
        (("measures", "entropy", "derive"), "entropie", "measures.entropy.derive"),
        (("measures", "entropy", "off"), 1, "unexpected keyword"),
        (("claims", 0, "of"), {"measure": "test/luck"}, "no metric is called 'luck'"),
        (("claims", 0, "of"), {"measure": "luck"}, "no column 'luck'"),
        (("claims", 0, "of"), {"table": "walks", "measure": "m"}, "no table 'walks'"),
        (("claims", 0, "of"), {"measure": "seed", "where": "loss = dice"}, "no row of runs"),
        (("claims", 0, "unit"), ["loss.name"], "one row a unit"),
    ],
)
def test_a_mistake_is_one_line(harness, tmp_path, path, value, said):
    write(tmp_path / "experiments" / "odd", changed(path, value), PRIOR_ONLY)
    answer = harness("reproduce", "odd")
    assert answer.code == 2 and said in answer.err
    assert answer.err.count("\n") == 1
    assert not (tmp_path / "results").exists()


def test_an_unknown_experiment_and_a_budget_alone(harness, tmp_path):
    write(tmp_path / "experiments" / "known")
    assert "one of known, all" in harness("reproduce", "unknown").err
    assert "go together" in harness("reproduce", "known", "--budget", "4").err


@pytest.mark.parametrize(
    ("expect", "by", "mean", "word"),
    [
        ("higher", 0.5, 1.0, "supported"),
        ("higher", 0.5, 0.0, "refuted"),
        ("higher", 0.5, 0.5, "undecided"),
        ("lower", 0.5, -1.0, "supported"),
        ("lower", 0.5, 0.0, "refuted"),
        ("equal", 0.5, 0.0, "supported"),
        ("equal", 0.5, 1.0, "refuted"),
        ("equal", 0.5, -1.0, "refuted"),
        ("equal", 0.5, 0.5, "undecided"),
        ("not_lower", 0.5, 0.0, "supported"),
        ("not_lower", 0.5, -1.0, "refuted"),
        ("not_higher", 0.5, 0.0, "supported"),
        ("not_higher", 0.5, 1.0, "refuted"),
    ],
)
@pytest.mark.parametrize("test", ["draws", "repeats", "datasets"])
def test_verdicts(expect, by, mean, word, test):
    d = mean + 0.1 * stats.norm.ppf((np.arange(12) + 0.5) / 12)
    (verdict,) = judge([claim(expect, by, test)], [Pairs(d, ratio=0.1)], alpha=0.05)
    assert verdict.word == word
    assert verdict.effect == pytest.approx(mean, abs=1e-9)
    assert (verdict.more is None) or word == "undecided"


def test_p_is_that_of_scipy():
    d = np.random.default_rng(0).normal(0.3, 1.0, 15)
    (t,) = judge([claim(by=0.1)], [Pairs(d)], alpha=0.05)
    assert t.p == pytest.approx(stats.ttest_1samp(d, 0.1, alternative="less").pvalue)
    interval = stats.ttest_1samp(d, 0.1).confidence_interval()
    assert (t.low, t.high) == pytest.approx((interval.low, interval.high))
    (ranks,) = judge([claim(by=0.1, test="datasets")], [Pairs(d)], alpha=0.05)
    assert ranks.p == pytest.approx(stats.wilcoxon(d - 0.1, alternative="less").pvalue)
    hits = np.array([1.0] * 8 + [0.0] * 92)
    shares = Pairs(hits - 0.05, threshold=0.05)
    (share,) = judge([claim("lower", test="share", than=0.05)], [shares], alpha=0.05)
    above = stats.binomtest(8, 100, 0.05, alternative="greater").pvalue
    assert share.p == pytest.approx(above)
    assert share.word == "undecided"


def test_trials_that_would_decide_a_share():
    """20 hits of 20 do not tell a share from .9; the number named does, and hardly fewer do."""

    def judged(count):
        pairs = Pairs(np.full(count, 0.1), threshold=0.9)
        return judge([claim(test="share", than=0.9)], [pairs], alpha=0.05)[0]

    few = judged(20)
    enough = 20 + few.more
    assert few.word == "undecided" and judged(enough).word == "supported"
    assert judged(enough - 2).word == "undecided"
    hits = Pairs(np.array([1, 1, 1, 0, 0]) - 0.9, threshold=0.9)  # from 6 of 10 on it is refuted
    (some,) = judge([claim(test="share", than=0.9)], [hits], alpha=0.05)
    assert some.word == "undecided" and some.more <= 5


def test_equivalence_is_two_one_sided_tests():
    d = np.random.default_rng(1).normal(0.0, 0.3, 10)
    (verdict,) = judge([claim("equal", 0.4)], [Pairs(d)], alpha=0.05)
    sides = [
        stats.ttest_1samp(d, -0.4, alternative="greater").pvalue,
        stats.ttest_1samp(d, 0.4, alternative="less").pvalue,
    ]
    assert verdict.word == "supported" and verdict.p == pytest.approx(max(sides))


@pytest.mark.parametrize(
    ("test", "count", "word"),
    [("draws", 2, "undecided"), ("draws", 10, "supported"), ("repeats", 10, "undecided")],
)
def test_differences_that_are_all_the_same_are_a_sign_test_of_draws_alone(test, count, word):
    """A t of infinity would support anything; overlapping splits may repeat one result."""
    d = np.full(count, 0.3) + np.tile([1e-17, 0.0], count // 2)
    (verdict,) = judge([claim(test=test)], [Pairs(d, ratio=0.3)], alpha=0.05)
    assert verdict.word == word and verdict.effect == pytest.approx(0.3)
    assert np.isnan([verdict.low, verdict.high]).all()
    if test == "draws":
        assert verdict.p == pytest.approx(0.5**count)
    else:
        assert verdict.p is None and "all differ by the same" in finding(verdict)


@pytest.mark.parametrize(
    ("count", "than", "expect", "by", "p"),
    [(10, 0.97, "higher", 0.0, 0.97**10), (10, 0.97, "equal", 0.05, 0.92**10),
     (20, 0.95, "higher", 0.0, 0.95**20)],
    ids=["higher", "equal", "twenty"],
)  # fmt: skip
def test_rows_that_are_all_right_are_as_likely_as_the_number_says(count, than, expect, by, p):
    """A sign test of such rows, or a t of infinity, would support anything."""
    judged = [claim(expect, by, "rows", than=than)]
    (verdict,) = judge(judged, [Pairs(np.ones(count) - than, threshold=than)], alpha=0.05)
    assert verdict.word == "undecided" and verdict.p == pytest.approx(p)
    assert verdict.high == pytest.approx(1 - than) and verdict.more > 0


def test_rows_that_are_right_or_wrong_are_a_binomial():
    """Of the true accuracy's own binomial, t would decide in a fifth of samples of 60."""
    right = np.r_[np.ones(59), 0.0]
    accuracy = claim(test="rows", than=0.95)
    (verdict,) = judge([accuracy], [Pairs(right - 0.95, threshold=0.95)], alpha=0.05)
    alone = stats.binomtest(59, 60, 0.95, alternative="greater")
    interval = stats.binomtest(59, 60).proportion_ci()
    assert verdict.p == pytest.approx(alone.pvalue) and verdict.word == "undecided"
    assert (verdict.low + 0.95, verdict.high + 0.95) == pytest.approx((interval.low, interval.high))
    # A row that two of three models tell right is rounded against each side.
    shares = Pairs(np.r_[np.ones(58), 2 / 3, 0.0] - 0.95, threshold=0.95)
    (higher,) = judge([accuracy], [shares], alpha=0.05)
    fewer = Pairs(shares.differences - 0.04, threshold=0.99)
    (lower,) = judge([claim("lower", test="rows", than=0.99)], [fewer], alpha=1.0)
    assert higher.p == pytest.approx(stats.binom.sf(57, 60, 0.95))
    assert lower.p == pytest.approx(stats.binom.cdf(59, 60, 0.99))
    assert higher.effect == pytest.approx((58 + 2 / 3) / 60 - 0.95)


def test_rows_of_other_scores_are_a_t_and_say_nothing_where_all_are_the_same():
    losses = np.random.default_rng(4).gamma(1.0, 0.2, 30)
    worse = claim(test="rows", than=0.1)
    (t,) = judge([worse], [Pairs(losses - 0.1, threshold=0.1)], alpha=0.05)
    assert t.p == pytest.approx(stats.ttest_1samp(losses, 0.1, alternative="greater").pvalue)
    (same,) = judge([worse], [Pairs(np.full(30, 0.2), threshold=0.1)], alpha=0.05)
    assert same.word == "undecided" and same.p is None
    assert finding(same) == f"{same.why} (30 rows)" and "split" not in same.why


@pytest.mark.parametrize("test", ["draws", "datasets"])
def test_few_units_foretell_nothing(test):
    (few,) = judge([claim(test=test)], [Pairs(np.array([0.3, -0.1, 0.2, 0.1]))], alpha=0.05)
    assert few.word == "undecided" and few.more is None and "nobody can tell" in finding(few)


def test_holm_over_claims_can_undo_a_verdict():
    d = np.random.default_rng(2).normal(0.0, 1.0, 20)
    d += 0.42 - d.mean()  # p is about .04, one-sided
    (alone,) = judge([claim()], [Pairs(d)], alpha=0.05)
    names = [claim(name=name) for name in ("one", "two", "three")]
    first, *_ = judge(names, [Pairs(d)] * 3, alpha=0.05)
    assert alone.word == "supported" and first.word == "undecided" and first.more > 0


def test_exact_claims_know_no_chance():
    inside, outside = Pairs(np.array([0.0, 1e-9])), Pairs(np.array([0.0, 1e-3]))
    one, other = claim("equal", 1e-6, "exact"), claim("equal", 1e-6, "exact", name="two")
    held, broken = judge([one, other], [inside, outside], alpha=0.05)
    assert (held.word, held.is_broken, held.p) == ("supported", False, None)
    assert (broken.word, broken.is_broken) == ("refuted", True)
    (unknown,) = judge([one], [Pairs(np.array([0.0, np.nan]))], alpha=0.05)
    assert unknown.is_broken


def test_units_without_a_value_are_not_dropped():
    d = np.r_[np.full(30, 1.0), np.nan]
    (verdict,) = judge([claim()], [Pairs(d)], alpha=0.05)
    assert verdict.word == "undecided" and "1 of 31" in verdict.why
    whole = Pairs(np.random.default_rng(3).normal(0.55, 1.0, 20))
    (alone,) = judge([claim()], [whole], alpha=0.05)
    _, beside = judge([claim(name="gap"), claim()], [Pairs(d), whole], alpha=0.05)
    assert beside.p == pytest.approx(min(1.0, 2 * alone.p))  # it is a claim tested all the same


def fabricated(tmp_path, claims, effects, monkeypatch, request=None, seeds=10, **store):
    """Reproduces over a made-up store in which losses differ as ``effects`` say."""
    monkeypatch.setattr(observed, "numerics_named", lambda names: "1")
    sweeps = {"main": {"set": {"loss": "bce,focal"}, "seeds": seeds}}
    experiment = read(write(tmp_path / "experiments" / "made", claims, sweeps))

    def train(overrides):
        given = dict(text.split("=", 1) for text in overrides)
        folder = Path(given["root"].strip("'")) / given["name"]
        count = int(given["seed"].removeprefix("range(").removesuffix(")"))
        if not (folder / "shards").exists():
            made = Sweep(effects=effects, seeds=tuple(range(24)), noise=0.4, **store)
            fabricate(folder, made)
        assert count <= 24

    asked = Request(runs=tmp_path / "runs", results=tmp_path / "results", command="test")
    return reproduce(experiment, replace(asked, **(request or {})), train=train)


def of_losses(**changes):
    made = {
        "name": "focal-ranks-better",
        "says": "Focal ranks better.",
        "of": {"where": "loss = focal", "measure": "test/average_precision"},
        "than": {"where": "loss = bce"},
        "expect": "higher",
        "test": "repeats",
    }
    return {"question": "?", "source": "nobody", "claims": [made | changes]}


@pytest.mark.parametrize(
    ("effect", "word"), [(2.0, "supported"), (-2.0, "refuted"), (0.0, "undecided")]
)
def test_judged_over_a_store(tmp_path, monkeypatch, effect, word):
    done = fabricated(tmp_path, of_losses(), {"bce": 0.0, "focal": effect}, monkeypatch)
    assert done.verdicts[0].word == word and done.verdicts[0].num_units == 10
    page = (done.folder / "README.md").read_text()
    assert f"**{word}**" in page


@pytest.mark.slow
def test_tables_are_of_all_runs_and_claims_of_those_chosen(tmp_path, monkeypatch):
    pairs = {"same": ["test/auroc", "test/auroc"]}
    claims = of_losses()
    claims["tune"] = {"keys": ["optimizer.learning_rate"], "by": "validation/average_precision"}
    claims["tables"] = {"all": {"derive": "correlations", "by": ["seed"], "pairs": pairs}}
    effects = {"bce": 0.0, "focal": 0.0}
    done = fabricated(tmp_path, claims, effects, monkeypatch, seeds=3, learning_rates=(1e-3, 1e-1))
    counts = pl.read_csv(done.folder / "all.csv")["num_runs"].to_list()
    assert counts == [4, 4, 4]  # two losses at two learning rates
    assert pl.read_csv(done.folder / "runs.csv").height == 6
    # Of a grid of two values every choice is an end.
    assert {verdict.word for verdict in done.verdicts} == {"not judged"}
    said = "6 of 6 choices at an end of the grid of optimizer.learning_rate"
    written = json.loads((done.folder / "verdicts.json").read_text())
    assert said in written["trained"] and written["claims"][0]["finding"].startswith(said)
    assert f"**Not trained:** {said}." in (done.folder / "README.md").read_text()


def test_what_a_name_implies_is_left_out_of_the_runs(tmp_path):
    """The data sets' sources are the same in every row of a name; a rate is not."""
    config = {"dataset.name": ["a", "a", "b"], "dataset.source": ["x", "x", "y"]}
    config |= {"dataset.positive_rate": [0.1, 0.2, 0.1]}
    written = read(write(tmp_path / "made"))
    frame = pl.DataFrame({**config, "run_id": list("123"), "status": ["done"] * 3})
    seen = observed.Observed(written, {"runs": frame}, list(config))
    header = results._csv(seen, "runs", frame).decode().splitlines()[0]
    assert header == "run_id,status,dataset.name,dataset.positive_rate"


@pytest.mark.slow
def test_thousands_of_runs_are_not_listed_one_by_one(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "MOST_RUNS", 5)
    monkeypatch.setattr(results, "MOST_FINGERPRINTS", 0)
    done = fabricated(tmp_path, of_losses(), {"bce": 0.0, "focal": 2.0}, monkeypatch)
    assert {path.name for path in done.folder.iterdir()} == {
        "README.md", "verdicts.json", "provenance.json",
    }  # fmt: skip
    prints = json.loads((done.folder / "provenance.json").read_text())["data_fingerprints"]
    assert list(prints) == ["all 1 together"]


@pytest.mark.parametrize(
    ("listed", "left"),
    [
        ({"figures": ["renamed.svg"], "tables": ["gone.csv"]}, {"mine.csv", "mine.svg"}),
        ({}, {"mine.csv", "mine.svg", "renamed.svg", "gone.csv"}),  # results older than the lists
    ],
    ids=["listed", "not listed"],
)
def test_what_earlier_results_list_goes_and_nobodys_own_file(tmp_path, monkeypatch, listed, left):
    folder = tmp_path / "results" / "made"
    folder.mkdir(parents=True)
    for name in ("gone.csv", "renamed.svg", "mine.csv", "mine.svg"):
        (folder / name).write_text("old")
    (folder / "verdicts.json").write_text(json.dumps(listed))
    fabricated(tmp_path, of_losses(), {"bce": 0.0, "focal": 2.0}, monkeypatch)
    written = json.loads((folder / "verdicts.json").read_text())
    assert written["tables"] == ["runs.csv"] and written["figures"] == []
    ours = {"README.md", "verdicts.json", "provenance.json", "runs.csv"}
    assert {path.name for path in folder.iterdir()} == ours | left


@pytest.mark.slow
def test_seeds_are_added_until_decided(tmp_path, monkeypatch):
    request = {"budget": 24}
    effects = {"bce": 0.0, "focal": 0.8}
    done = fabricated(tmp_path, of_losses(), effects, monkeypatch, request, seeds=3)
    (verdict,) = done.verdicts
    assert verdict.word == "supported" and verdict.num_units == 3 * verdict.look
    again = fabricated(tmp_path / "null", of_losses(), {"bce": 0.0, "focal": 0.0}, monkeypatch,
                       request, seeds=8)  # fmt: skip
    assert again.verdicts[0].num_units == 24 and again.verdicts[0].look == 3


@pytest.mark.slow
def test_looking_often_does_not_err_often():
    """200 nulls, eight looks each: wrong verdicts stay below 5%; at the full level they do not."""
    rng = np.random.default_rng(3)

    def wrong(spend):
        count = 0
        for d in rng.normal(size=(200, 40)):
            for look in range(1, 9):
                (verdict,) = judge([claim()], [Pairs(d[: 5 * look])], alpha=spend(look))
                if verdict.word == "supported":  # refuted is true: the region is open
                    count += 1
                    break
        return count / 200

    assert wrong(lambda look: judging.level(0.05, look)) <= 0.05
    assert wrong(lambda look: 0.05) > 0.08


def test_the_same_verdicts_again_to_the_byte(harness, tmp_path):
    folder = write(tmp_path / "experiments" / "constant", sweeps=PRIOR_ONLY)
    first = harness("reproduce", "constant")
    assert first.code == 0 and "supported entropy" in first.out
    results = tmp_path / "results" / "constant"
    written = {name: (results / name).read_bytes() for name in ("verdicts.json", "runs.csv")}
    again = harness("reproduce", "all")
    assert "0 trained" in again.out and "moved" not in again.out
    assert written == {name: (results / name).read_bytes() for name in written}
    names = {path.name for path in results.iterdir()}
    assert names == {"README.md", "verdicts.json", "provenance.json", "runs.csv", "scores.svg"}
    provenance = json.loads((results / "provenance.json").read_text())
    assert provenance["command"] == "harness reproduce constant" and provenance["runs"] == 2
    # Under other versions the effect may move; the command says so and keeps a note.
    verdicts = json.loads(written["verdicts.json"])
    verdicts["claims"][0]["effect"] = 0.5
    (results / "verdicts.json").write_text(json.dumps(verdicts))
    assert "moved: entropy: effect was 0.5" in harness("reproduce", "constant").out
    assert json.loads((results / "provenance.json").read_text())["moved"]
    assert read(folder).name == "constant"


@pytest.mark.slow
def test_a_sweep_may_start_from_another(harness, tmp_path):
    """A step too short to move anything leaves what was learnt; two starts are two runs."""
    pretrain = PRIOR_ONLY["constant"]["set"] | {
        "model.prior_bias": False,
        "optimizer.learning_rate": 0.5,
        "training.steps_per_epoch": 20,
        "training.save_model": True,
    }
    sweeps = {
        "pretrain": {"set": pretrain, "seeds": 2},
        "tuned": {
            "set": PRIOR_ONLY["constant"]["set"] | {"split.seed": 0, "model.prior_bias": False},
            "start_from": "pretrain",
        },
    }
    same = {
        "name": "nothing-is-lost",
        "says": "What was learnt is still there.",
        "of": {"where": "sweep = tuned", "measure": "test/auroc"},
        "than": {"where": "sweep = pretrain and seed = 0"},
        "expect": "equal",
        "by": 0.01,
        "test": "exact",
    }
    folder = tmp_path / "experiments" / "transfer"
    write(folder, CONSTANT | {"claims": [same], "figures": []}, sweeps)
    said = harness("reproduce", "transfer")
    assert "exact claim needs one row a unit" in said.err  # a row for each of the two starts
    sweeps["pretrain"]["seeds"] = 1
    (folder / "sweep.yaml").write_text(yaml.safe_dump(sweeps))
    said = harness("reproduce", "transfer")
    assert said.code == 0 and "supported nothing-is-lost" in said.out
    sweeps["tuned"]["start_from"] = "tuned"
    (folder / "sweep.yaml").write_text(yaml.safe_dump(sweeps))
    said = harness("reproduce", "transfer")
    assert said.code == 2 and "sweep tuned starts from 'tuned', no earlier sweep" in said.err


def test_a_broken_metric_fails_the_command(harness, tmp_path, monkeypatch):
    write(tmp_path / "experiments" / "constant", sweeps=PRIOR_ONLY)
    whole = probability_metrics.proper_scores

    def broken(*arguments):
        values = whole(*arguments)
        return values | {"log_loss": values["log_loss"] * 1.01}

    monkeypatch.setattr(probability_metrics, "proper_scores", broken)
    answer = harness("reproduce", "constant", "--quick")
    assert answer.code == 1 and "constant/entropy" in answer.err


def test_a_broken_loss_fails_the_command(harness, tmp_path, monkeypatch):
    """The first two anchors of experiments/loss-shapes, at three logits."""
    shapes = yaml.safe_load((ROOT / "loss-shapes" / "claims.yaml").read_text())
    points = {"derive": "loss_curves", "losses": [{"name": "bce"}], "logits": [-2.0, 0.0, 2.5]}
    few = {
        "tables": {"curves": points},
        "measures": {"minus_log_p_true": shapes["measures"]["minus_log_p_true"]},
        "claims": shapes["claims"][:1],
    }
    write(tmp_path / "experiments" / "shapes", {"question": "?", "source": "formulas", **few})
    assert harness("reproduce", "shapes").code == 0
    whole = BCE.__call__
    monkeypatch.setattr(BCE, "__call__", lambda self, **given: 1.001 * whole(self, **given))
    answer = harness("reproduce", "shapes")
    assert answer.code == 1 and "shapes/bce-is-minus-log-p" in answer.err


def test_the_index_lists_every_claim(harness, tmp_path):
    harness("reproduce", "framework-parity", "--experiments", str(ROOT))
    index = (tmp_path / "results" / "README.md").read_text()
    for name in experiments(ROOT):
        for one in read(ROOT / name).claims:
            assert f"- {one.says} **" in index, one.name
    assert "not run yet" in index and "framework-parity/clipped.svg" in index


@pytest.mark.parametrize(
    ("made_of", "row"),
    [
        ({"dataset.kind": "table"}, "real"),
        ({"dataset.kind": "two_gaussians"}, "generated"),
        ({"dataset.kind": "clinic", "dataset.generated": True}, "generated"),
        ({"dataset.kind": "clinic", "dataset.generated": None}, "real"),
    ],
)
def test_the_index_counts_claims_by_what_they_rest_on(made_of, row, tmp_path, monkeypatch):
    claims = of_losses()
    exact = claims["claims"][0] | {"name": "same", "test": "exact", "expect": "equal"}
    claims["claims"].append(exact | {"than": {"where": "loss = focal"}})
    made = {"columns": made_of}
    fabricated(tmp_path, claims, {"bce": 0.0, "focal": 2.0}, monkeypatch, **made)
    index = results.write_index(
        tmp_path / "results", [tmp_path / "experiments" / "made"]
    ).read_text()
    assert f"| {row} data | 1 | 0 | 0 | 0 | 1 |" in index
    assert "| identities (exact) | 1 | 0 | 0 | 0 | 1 |" in index


@pytest.mark.parametrize(
    ("measure", "tune", "said"),
    [
        ("test/auroq", {}, "claims.focal-ranks-better.of.measure: no metric is called 'auroq'"),
        ("test/f1", {}, "f1 needs a threshold"),
        ("test/auroc", {"by": "validation/nonsense"}, "tune.by: no metric is called 'nonsense'"),
        ("test/auroc", {"by": "validation/flagged@0.5"}, "neither high nor low"),
        ("test/auroc", {"by": "validation/auroc", "better": "lower"}, "has its own direction"),
        ("test/auroc", {"by": "validation/speed"}, "tune.better: higher or lower"),
    ],
)
def test_a_metric_nobody_knows_is_refused_before_anything_is_trained(tmp_path, measure, tune, said):
    claims = of_losses(of={"where": "loss = focal", "measure": measure})
    claims["measures"] = {"validation/speed": {"derive": "formula", "sql": "1.0"}}
    claims |= {"tune": {"keys": ["optimizer.learning_rate"], **tune}} if tune else {}
    with pytest.raises(UserError, match=re.escape(said)) as error:
        read(write(tmp_path / "made", claims))
    assert len(str(error.value).replace(str(tmp_path), "")) <= 400


@pytest.mark.slow
@pytest.mark.parametrize(("better", "rate"), [("higher", 1e-3), ("lower", 1e-1)])
def test_an_own_measure_picks_as_it_says(tmp_path, monkeypatch, better, rate):
    slowness = {"derive": "formula", "sql": '-ln("optimizer.learning_rate")'}
    tune = {"keys": ["optimizer.learning_rate"], "by": "validation/slowness", "better": better}
    chosen = {"of": {"measure": "optimizer.learning_rate"}, "than": {"value": rate}}
    claims = of_losses(**chosen, expect="equal", by=1e-9, test="exact", unit=["run_id"])
    claims |= {"measures": {"validation/slowness": slowness}, "tune": tune}
    effects = {"bce": 0.0, "focal": 0.0}
    done = fabricated(tmp_path, claims, effects, monkeypatch, seeds=3, learning_rates=(1e-3, 1e-1))
    assert done.verdicts[0].word == "supported" and done.verdicts[0].num_units == 6


def test_a_folder_without_expectations_is_refused(tmp_path):
    folder = write(tmp_path / "hasty")
    (folder / "README.md").unlink()
    with pytest.raises(UserError, match="say there what is expected"):
        read(folder)


@pytest.fixture(scope="module")
def composer(hydra_sweep):
    """What Hydra composes (tests/test_compose.py), assembled: most sweeps make the same choices."""
    return Composer(hydra_sweep.loader, hydra_sweep.config)


@pytest.mark.parametrize("name", experiments(ROOT))
def test_every_experiment_is_sound(name, composer):
    """Its files are read, and the first job of each of its sweeps composes and parses."""
    experiment = read(ROOT / name)
    for sweep_name, sweep in experiment.sweeps.items():
        for quick in (False, True):
            sized = sweep.sized(quick=quick)
            starts = ["runs/some/run"] if sized.start_from else []
            folder = Path("runs") / sweep_name
            texts = running.overrides(sized, folder, num_seeds=1, starts=starts)
            first = [_first(text) for text in texts]
            parse(composer.job(first))


def _first(override):
    """An override with one value of those it sweeps over."""
    key, _, value = override.partition("=")
    if value.startswith("range("):
        return f"{key}=0"
    return override if value.startswith("[") else f"{key}={value.split(',')[0]}"


@pytest.mark.slow
@pytest.mark.parametrize("name", experiments(ROOT))
def test_every_experiment_runs_quickly(harness, name):
    answer = harness("reproduce", name, "--quick", "--experiments", str(ROOT))
    assert answer.code == 0, answer.err
