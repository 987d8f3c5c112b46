"""A saved model: its scores are the run's, its folder is data, new rows are read as old ones."""

import json
import os
import shutil
import sys
from collections import defaultdict
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from safetensors.numpy import load_file, save_file
from scipy.special import expit

from harness import models, plugins
from harness.data.columns import columns_of, features_of
from harness.data.standardise import Affine, standardised_column
from harness.data.table import Table
from harness.data.table_file import TableFile
from harness.errors import UserError
from harness.predict import Model, model_of
from harness.predict.drift import chance_index, stability_index
from harness.record import store
from harness.record.schema import Predictions
from harness.sweep.engine import run_sweep
from harness.sweep.progress import Progress
from tests.runs import config, prepared

# A loss, and what makes its logits probabilities; all are lanes of one program.
RUNS = [
    ("bce", None, "corrected"),
    ("weighted_bce", None, "corrected"),
    ("ldam", None, "corrected"),
    ("hinge", None, "raw"),
    ("focal", "isotonic", "calibrated"),
    ("squared_error", "beta", "calibrated"),
    ("brier", "temperature", "calibrated"),
    ("logit_adjustment", "platt", "calibrated"),
]
# Whose weights come late: the posterior follows from when the epoch was that is kept.
LOSSES = {"ldam": {"name": "ldam", "deferral": 0.2, "scale": 2.0}}
NAMES = [name for name, _, _ in RUNS]


def table(rows: int, seed: int) -> pl.DataFrame:
    """Everything that a column may be, with what is missing written in two ways."""
    rng = np.random.default_rng(seed)
    amount = np.round(rng.lognormal(3, 1, rows), 2).astype(str)
    amount[rng.random(rows) < 0.1] = "?"
    plan = rng.choice(["basic", "plus", "pro", ""], rows)
    age = rng.integers(18, 80, rows)
    since = np.datetime64("2023-01-01") + rng.integers(0, 700, rows)
    likes = 0.08 * (age - 50) + (plan == "pro") * 2.0
    label = np.where(rng.random(rows) < expit(likes - 1.5), "Y", "N")
    return pl.DataFrame({
        "customer": [f"C{i:05d}" for i in range(rows)], "age": age, "amount": amount, "plan": plan,
        "zip": rng.choice([f"05{i:02d}" for i in range(1, 14)], rows), "since": since.astype(str),
        "is_new": rng.random(rows) < 0.3, "y": label,
    })  # fmt: skip


def train(*configs):
    with open(os.devnull, "w") as nowhere:
        return run_sweep(configs, progress=Progress(Console(file=nowhere)))


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """The folder of a sweep on a table, its ids by loss, and the table's file."""
    root = tmp_path_factory.mktemp("predict")
    file = root / "old.csv"
    table(600, 0).write_csv(file)
    source = {"kind": "table", "path": str(file), "target": "y", "indicator": True}

    def one(name, calibrator, **changes):
        evaluation = {"calibrator": calibrator, "threshold": "mcc"}
        keys = {
            "dataset": source,
            "loss": LOSSES.get(name, {"name": name}),
            "evaluation": evaluation,
        }
        made = config(
            **{**keys, "training__save_model": True, "training__num_epochs": 3, **changes}
        )
        return replace(made, root=str(root), name="sweep")

    configs = [one(name, calibrator) for name, calibrator, _ in RUNS]
    others = {"resampled": one("bce", None, sampler={"name": "random_over"})}
    results = train(*configs, *others.values())
    assert all(result.error is None for result in results)
    ids = dict(zip([*NAMES, *others], [result.run_id for result in results], strict=True))
    return root / "sweep", ids, file


@pytest.fixture
def model(sweep):
    folder, ids, _ = sweep
    return Model.load(folder / "models" / ids["focal"])


def stored(folder: Path, run_id: str, part: str = "test") -> dict[str, np.ndarray]:
    scans = [store.scan(path) for path in store.shards(folder).paths("predictions")]
    row = pl.concat(scans).filter(run_id=run_id, split=part).collect().row(0, named=True)
    return {name: np.array(values) for name, values in row.items() if isinstance(values, list)}


@pytest.mark.parametrize("name", [*NAMES, "resampled"])
def test_scores_are_those_that_the_run_stored(sweep, name):
    folder, ids, file = sweep
    one = Model.load(folder / "models" / ids[name])
    version = dict((n, v) for n, _, v in RUNS).get(name, one.version)
    assert one.version == version
    frame = pl.read_csv(file, infer_schema=False)
    run = store.runs(folder)[0].filter(run_id=ids[name]).row(0, named=True)
    for part in ("validation", "test"):
        there = stored(folder, ids[name], part)
        rows = frame[there["rows"].tolist()].select(reversed(frame.columns))
        scores = one.score(rows)
        # To the bit: the same features, in a program of the same sizes.
        assert scores.logits.tobytes() == there["logits"].astype(np.float32).tobytes()
        column = {"raw": "logits"}.get(version, f"{version}_logits")
        np.testing.assert_allclose(scores.probabilities, expit(there[column]), rtol=0, atol=1e-7)
        decided = there["logits"].astype(np.float64) >= run["threshold_logit"]
        np.testing.assert_array_equal(scores.is_positive, decided)


def test_a_row_is_scored_alike_in_any_company(sweep, model):
    frame = pl.read_csv(sweep[2], infer_schema=False)
    whole = model.predict_proba(frame)
    assert whole.shape == (600, 2) and whole.sum(axis=1) == pytest.approx(1)
    for rows in ([17], [5, 17, 500]):
        assert model.predict_proba(frame[rows]).tobytes() == whole[rows].tobytes()
    assert set(model.predict(frame)) == {"N", "Y"} and model.labels == ("N", "Y")
    sure = np.abs(whole[:, 1] - model.threshold) > 1e-9
    called = model.predict(frame) == "Y"
    assert (called == (whole[:, 1] >= model.threshold))[sure].all()


def test_a_model_says_where_it_comes_from(sweep, model):
    folder, ids, _ = sweep
    about = model.metadata
    assert about["run_id"] == ids["focal"] and about["config"]["loss"]["name"] == "focal"
    assert "wandb" not in about["config"] and about["metrics"]["test/auroc"] > 0.5
    assert about["dataset"]["fingerprint"] == store.runs(folder)[0]["data_fingerprint"][0]
    assert model.columns == ("age", "amount", "plan", "zip", "since", "is_new")
    assert {path.suffix for path in (folder / "models").rglob("*.*")} == {".json", ".safetensors"}


def test_a_folder_is_read_back_and_never_written_over(model, tmp_path):
    model.save(tmp_path / "one")
    again = Model.load(tmp_path / "one")
    assert again.description == model.description
    with pytest.raises(UserError, match="give a new folder"):
        model.save(tmp_path / "one")


# New rows.

ROW = {"age": "40", "amount": "12.5", "plan": "pro", "zip": "0501", "since": "2024-01-31",
       "is_new": "true"}  # fmt: skip


def features(model, **cells):
    """Of one row, with some cells of `ROW` changed; and why it cannot be scored."""
    frame = pl.DataFrame({**{name: [cell] for name, cell in ROW.items()}, **cells})
    rows = model.score(frame).rows
    return rows.features[0].tolist(), rows


@pytest.mark.parametrize("cells", [
    {"age": [40]}, {"age": [40.0]}, {"age": [" 40 "]}, {"is_new": [True]}, {"is_new": ["True"]},
    {"is_new": [1]}, {"since": pl.Series(["2024-01-31"]).str.to_date()}, {"plan": [" pro"]},
    {"since": pl.Series(["2024-01-31"]).str.to_datetime()}, {"since": ["2024-01-31 00:00:00"]},
    {"plan": pl.Series(["pro"], dtype=pl.Categorical)}, {"zip": pl.Series(["0501"])},
])  # fmt: skip
def test_a_value_is_the_same_however_a_file_holds_it(model, cells):
    assert features(model, **cells)[0] == features(model)[0]


@pytest.mark.parametrize("mark", ["", "?", "NA", None])
def test_what_is_missing_is_missing_as_it_was_in_training(model, mark):
    values, rows = features(model, amount=[mark], plan=[mark])
    assert np.isnan(values[1]) and values[2] > 0  # the indicator says so
    assert rows.missing["amount"] == rows.missing["plan"] == 1 and not rows.reasons
    # As a level that training had, and one that it had not.
    assert values == pytest.approx(features(model, amount=[mark], plan=["gold"])[0], nan_ok=True)


def test_levels_that_training_had_not_are_counted(model):
    _, rows = features(model, plan=["gold"], zip=["501"])
    assert rows.unknown == {"plan": (1, ("gold",)), "zip": (1, ("501",))}


@pytest.mark.parametrize(("cells", "said"), [
    ({"age": ["x"]}, "column 'age': 'x' is no number"),
    ({"since": ["31.12."]}, "column 'since': '31.12.' is no date"),
    ({"is_new": ["perhaps"]}, "column 'is_new': 'perhaps' is no boolean"),
    ({"age": ["inf"]}, "column 'age': 'inf' is no number"),
    ({"age": [1e300]}, "column 'age': 1e+300 is no number"),
])  # fmt: skip
def test_a_row_that_cannot_be_scored_has_a_reason(model, cells, said):
    _, rows = features(model, **cells)
    assert rows.reasons == {0: said}
    frame = pl.DataFrame({name: [cell, cell] for name, cell in ROW.items()})
    bad = frame.with_columns(
        *(pl.Series(name, [ROW[name], str(cell[0])]) for name, cell in cells.items())
    )
    probabilities = model.score(bad).probabilities
    assert np.isfinite(probabilities[0]) and np.isnan(probabilities[1])
    with pytest.raises(UserError, match="row 1: column"):
        model.predict(bad)


def test_values_that_no_network_can_hold_have_no_score(model):
    head = "params.head.kernel"
    steep = replace(model, arrays={**model.arrays, head: model.arrays[head] * 1e37})
    scores = steep.score(pl.DataFrame({**ROW, "age": [1e20, -1e20, 40.0]}))
    # A hidden unit that one of the two leaves at 0 is beyond all bounds under the other.
    assert set(scores.rows.reasons.values()) == {"its values are too large for a score"}
    assert np.isnan(scores.probabilities[[*scores.rows.reasons]]).all()
    assert np.isfinite(scores.probabilities[2])


def test_whatever_has_columns_is_a_frame(model):
    cells = {**ROW, "plan": None, "amount": np.nan, "age": 40}
    values = {name: np.array([cell, ROW[name]], dtype=object) for name, cell in cells.items()}
    here = pl.DataFrame({**{name: [cell] * 2 for name, cell in ROW.items()},
                         "plan": [None, "pro"], "amount": [None, "12.5"]})  # fmt: skip
    assert model.logits(values).tobytes() == model.logits(here).tobytes()
    # A column of objects is of the same type here as in a frame that was trained on.
    mixed = {**values, "amount": np.array([12, "12.5"], object)}
    assert model.logits(mixed)[1] == model.logits(here)[1]
    with pytest.raises(UserError, match="rows: a int: give a data frame"):
        model.logits(5)


def test_a_column_of_another_type_is_refused(model):
    with pytest.raises(UserError, match="column 'since' is Int64, where training had a date"):
        features(model, since=[5])
    with pytest.raises(UserError, match="no columns 'age', 'amount'"):
        model.predict_proba(pl.DataFrame({"plan": ["pro"]}))


@pytest.mark.parametrize("described", [
    {}, {"indicator": True}, {"encode": "embed"}, {"encode": "embed", "max_levels": 2},
    {"max_levels": 2}, {"categorical": ("age",)}, {"missing": ("?", "40")}, {"missing": ()},
])  # fmt: skip
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_features_of_the_table_are_those_of_training(tmp_path, kind, described):
    frame = table(300, 5)
    if described.get("missing") == ():  # `?` is then no number
        frame = frame.with_columns(amount=pl.lit("1.5"))
    path = tmp_path / f"t.{kind}"
    (frame.write_csv if kind == "csv" else frame.write_parquet)(path)
    source = Table(path=str(path), target="y", **described)
    dataset = source.load()
    written = pl.read_csv(path, infer_schema=False) if kind == "csv" else frame
    rows = features_of(
        written, columns_of(dataset), encoding=source.cells, table=TableFile("here", written)
    )
    assert not rows.reasons and not rows.unknown
    assert rows.features.tobytes() == dataset.features.tobytes()


@given(st.lists(st.floats(width=64, allow_infinity=False, allow_nan=False), min_size=1))
def test_a_map_is_that_of_the_whole_column(values):
    raw = np.array(values)
    whole, (_, _, low, high, mean, std) = standardised_column(raw)
    assert Affine(low, high, mean, std)(raw).tobytes() == whole.tobytes()


def test_a_matrix_will_do_where_columns_have_no_names(tmp_path):
    source = {"kind": "two_gaussians", "rows": 300, "num_features": 3, "distance": 2.0,
              "positive_rate": 0.3, "seed": 0}  # fmt: skip
    one = prepared(config(dataset=source))
    record = SimpleNamespace(
        facts=defaultdict(int, threshold_logit=np.inf, prior_shift=0.0, best_epoch=1),
        predictions={
            "validation": Predictions(rows=np.r_[0, 1], labels=np.r_[0, 1], logits=np.r_[-1.0, 1.0])
        },
        metrics={"test/auroc": np.nan},
        created=datetime.now(UTC),
    )
    network = models.network(one.run.config.model, models.Inputs(3), jax.random.key(0))
    model_of(one.run, one.dataset, models.named_params(network), record).save(tmp_path / "m")
    model = Model.load(tmp_path / "m")
    assert model.columns == ("x0", "x1", "x2") and model.labels == ("0", "1")
    matrix = np.random.default_rng(0).standard_normal((4, 3))
    by_name = {f"x{i}": matrix[:, i] for i in (2, 0, 1)}
    assert model.logits(matrix).tobytes() == model.logits(by_name).tobytes()
    with pytest.raises(UserError, match=r"rows have shape \(4, 2\): give \(rows, 3\)"):
        model.logits(matrix[:, :2])


# Another positive rate.


@pytest.mark.parametrize("name", ["bce", "focal"])
def test_a_known_positive_rate_moves_the_odds(sweep, name):
    folder, ids, file = sweep
    one = Model.load(folder / "models" / ids[name])
    frame, prior = pl.read_csv(file, infer_schema=False), one.description.prior
    before, after = (one.score(frame, positive_rate=rate) for rate in (None, 0.02))
    odds = before.probabilities / (1 - before.probabilities) * (0.02 / 0.98) / (prior / (1 - prior))
    np.testing.assert_allclose(after.probabilities, odds / (1 + odds), rtol=1e-9)
    np.testing.assert_array_equal(after.is_positive, after.probabilities >= one.threshold)
    kept = replace(one.description.threshold, rule="youden")
    same = replace(one, description=replace(one.description, threshold=kept))
    np.testing.assert_array_equal(
        same.score(frame, positive_rate=0.02).is_positive, before.is_positive
    )


# Drift.


def test_the_stability_index_is_that_of_the_books():
    # Shares .5 and .5 against .25 and .75, but for half a row in each bin.
    assert stability_index([10**6] * 2, np.array([5, 15]) * 10**5) == pytest.approx(
        0.25 * np.log(2) + 0.25 * np.log(1.5), abs=1e-5
    )
    rng = np.random.default_rng(0)
    before = rng.multinomial(2000, [0.1] * 10)
    after = rng.multinomial(100, [0.1] * 10, size=400)
    above = [stability_index(before, one) > chance_index(before, one) for one in after]
    assert np.mean(above) < 0.02


# A folder of somebody else's.


def altered(model, folder, change):
    model.save(folder)
    place = folder / "model.json"
    document = json.loads(place.read_text())
    change(document)
    place.write_text(json.dumps(document))
    return folder


def put(value, *keys):
    def change(document):
        for key in keys[:-1]:
            document = document[key]
        document[keys[-1]] = value

    return change


@pytest.mark.parametrize(("change", "said"), [
    (put(2, "format"), "its format is not 1; a newer harness may have"),
    (put("os.system", "recipe", "loss", "name"), "loss: 'os.system' is none of bce"),
    (put("builtins.eval", "network", "name"), "network: 'builtins.eval' is none of"),
    (put(60_000, "network", "width"), "array 'params.body"),
    (put(10**30, "network", "width"), "network.mlp.width: "),
    (put(10**9, "room"), "it has room for 1000000000 features"),
    (put(None, "columns"), "columns: Input should be"),
    (put([], "columns"), "columns: "),
    (put("number", "columns", 2, "kind"), "'plan' is described in parts that do not fit"),
    (put([], "columns", 2, "levels"), "'plan' is described in parts that do not fit"),
    (put(0.0, "columns", 0, "scale", "std"), "'age' is described in parts that do not fit"),
    (put("age", "columns", 1, "name"), "two columns have one name"),
    (put([], "training", 0, "counts"), "does not fit its columns"),
    (put("sorcery", "calibrator"), "calibrator 'sorcery' is plugged in nowhere"),
    (put("platt", "calibrator"), "array 'calibrator."),
    (put(1.5, "prior"), "prior: "),
    (put("x", "surprise"), "surprise: "),
])  # fmt: skip
def test_a_description_that_makes_no_sense_is_one_line(model, tmp_path, change, said):
    with pytest.raises(UserError) as error:
        Model.load(altered(model, tmp_path / "m", change))
    assert said in str(error.value) and "\n" not in str(error.value)
    assert str(tmp_path / "m") in str(error.value)


@pytest.mark.parametrize("text", ["", "{", "[" * 200_000, "[]", '{"format": 1}', "\0", '"' * 99])
def test_a_description_that_is_none_is_one_line(model, tmp_path, text):
    model.save(tmp_path / "m")
    (tmp_path / "m" / "model.json").write_text(text)
    with pytest.raises(UserError, match=r"model\.json: no model") as error:
        Model.load(tmp_path / "m")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("change", "said"), [
    (lambda a: a.pop("scale"), "array 'scale' is missing"),
    (lambda a: a.update(more=np.zeros(1, np.float32)), "'more' is none of its arrays"),
    (lambda a: a.update(scale=np.zeros(1, np.float32)), "array 'scale' is float32 (1,)"),
    (lambda a: a.update(scale=a["scale"].astype(np.float64)), "array 'scale' is float64"),
    (lambda a: a.update(scale=a["scale"] * np.nan), "array 'scale' is not finite"),
    (lambda a: a.update(scale=a["scale"].astype(np.int32)), "'scale' is neither F32 nor F64"),
    (lambda a: a.update({"calibrator.knots": -a["calibrator.knots"]}), "no increasing map"),
    (lambda a: a.update({"calibrator.knots": np.zeros(0)}), "array 'calibrator.knots'"),
])  # fmt: skip
def test_arrays_that_are_not_the_models_are_one_line(model, tmp_path, change, said):
    model.save(tmp_path / "m")
    place = tmp_path / "m" / "model.safetensors"
    arrays = load_file(place)
    change(arrays)
    save_file(arrays, place)
    with pytest.raises(UserError) as error:
        Model.load(tmp_path / "m")
    assert said in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"", b"torn", b"\xff" * 64, b"\x10" + b"\0" * 7 + b"{" * 16])
def test_a_damaged_file_of_arrays_is_one_line(model, tmp_path, content):
    model.save(tmp_path / "m")
    (tmp_path / "m" / "model.safetensors").write_bytes(content)
    with pytest.raises(UserError, match="cannot read"):
        Model.load(tmp_path / "m")


# The command.


def test_a_file_is_scored_in_any_form_and_order(sweep, model, harness, tmp_path):
    frame = table(200, 1).drop("y").with_columns(note=pl.lit("a"))
    turned = frame.select(reversed(frame.columns))
    turned.write_csv("new.csv")
    turned.with_columns(pl.col("age").cast(pl.Int16), pl.col("since").str.to_date()).write_parquet(
        "new.parquet"
    )
    folder = str(sweep[0] / "models" / sweep[1]["focal"])
    one = harness("predict", folder, "new.csv", "--id", "customer")
    assert one.code == 0 and "200 rows: new.scores.csv" in one.out and "'note'" in one.out
    scores = pl.read_csv("new.scores.csv")
    assert scores.columns == ["customer", "probability", "decision", "reason"]
    assert scores["customer"].to_list() == frame["customer"].to_list()
    want = model.predict_proba(frame)[:, 1]
    np.testing.assert_allclose(scores["probability"], want, rtol=1e-12)
    assert scores["decision"].to_list() == model.predict(frame).tolist()
    assert scores["reason"].null_count() == 200
    other = harness("predict", folder, "new.parquet", "-o", "out/new.parquet")
    assert other.code == 0
    np.testing.assert_array_equal(pl.read_parquet("out/new.parquet")["probability"], want)


def test_a_plugins_loss_is_loaded_where_the_user_names_it_and_nowhere_else(
    model, harness, tmp_path, monkeypatch
):
    monkeypatch.setattr(plugins, "_PLUGGED", {group: {} for group in plugins.GROUPS})
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "kept_losses.py").write_text(
        "from harness.plugins import loss\n\n\n@loss\ndef kept(logits, labels, scale=1.0):\n"
        "    return scale * (logits - labels) ** 2\n"
    )
    table(20, 1).write_csv("new.csv")
    altered(model, tmp_path / "m", put({"name": "kept", "scale": 2.0}, "recipe", "loss"))
    said = harness("predict", "m", "new.csv")
    assert said.code == 2 and said.err.endswith("a decorator, loss=my_module.py:NAME\n")
    assert "kept_losses" not in sys.modules
    for named in ("plugins=[kept_losses.py]", "loss=kept_losses.py:kept"):
        said = harness("predict", "m", "new.csv", named, "missing=?")
        assert (said.code, said.err) == (0, "") and "trained with kept" in said.out
        assert "loss: none of" in harness("predict", "m", "new.csv", named, "loss=bce").err
        del sys.modules["kept_losses"]
        plugins.forget("loss", "kept")


def test_what_is_odd_in_a_file_is_said(sweep, harness):
    frame = table(400, 2).with_columns(age=pl.col("age").cast(pl.Int64) + 40)
    frame = frame.with_columns(pl.col("age").cast(pl.String), pl.lit("gold").alias("plan"))
    frame[3, "age"] = "old"
    frame[4, "age"] = ""
    frame[3, "amount"] = frame[4, "amount"] = "1"
    marked = int((frame["amount"] == "?").sum())
    frame.write_csv("new.csv", separator=";")
    folder = str(sweep[0] / "models" / sweep[1]["bce"])
    said = harness("predict", folder, "new.csv", "--positive-rate", "0.1", "missing=[none]")
    assert said.code == 0, said.err
    for part in (
        "column 'y' is the label: not looked at", f"{marked + 1} of 400 rows could",
        "column 'age': 'old' is no number", "'gold'", "400 rows of levels",
        "column 'age': 1 row without it", "'age'", "(large)", "to 0.1; decisions are cut at",
    ):  # fmt: skip
        assert part in said.out, part
    reasons = pl.read_csv("new.scores.csv")["reason"].drop_nulls()
    # A mark that is none any more is no number either.
    assert len(reasons) == 1 + marked
    assert set(reasons) == {
        f"column {cell} is no number" for cell in ("'age': 'old'", "'amount': '?'")
    }


def test_how_a_file_is_written_is_asked_about(sweep, harness, tmp_path):
    folder = str(sweep[0] / "models" / sweep[1]["bce"])
    frame = table(20, 2)
    cells = frame.with_columns(pl.col("age").cast(pl.String).str.replace(r"^\d+(\.\d+)?$", "83,3"))
    cells.write_csv("new.csv", separator=";")
    assert "a decimal comma, say so: 'decimal=\",\"'" in harness("predict", folder, "new.csv").out
    said = harness("predict", folder, "new.csv", 'delimiter="|"')
    assert said.code == 2 and "say what parts it: 'delimiter=\";\"'" in said.err


def test_the_best_of_a_sweep_is_taken_and_said(sweep, harness, tmp_path):
    folder, ids, _ = sweep
    table(50, 3).write_csv("new.csv")
    said = harness("predict", str(folder), "new.csv")
    runs = store.runs(folder)[0].sort("validation/average_precision", descending=True)
    best = runs["run_id"][0]
    assert said.code == 0, said.err
    assert f"models/{best}" in said.out and "the best of 9 by average_precision" in said.out
    assert f"models/{ids['bce']}" in harness("predict", f"{folder}/{ids['bce']}", "new.csv").out
    shutil.copytree(folder / "models", "mixed/models")
    place = Path("mixed/models", best, "model.json")
    document = json.loads(place.read_text())
    document["about"]["dataset"]["fingerprint"] = "another"
    place.write_text(json.dumps(document))
    said = harness("predict", "mixed", "new.csv")
    assert said.code == 2 and "models of several data sets: give the folder of one" in said.err


@pytest.mark.parametrize(("arguments", "said"), [
    ((), "arguments are required: MODEL, FILE;"),
    (("nowhere", "new.csv"), "nowhere: no model there"),
    (("MODEL", "none.csv"), "none.csv: no such file"),
    (("MODEL", "empty.csv"), "no rows"),
    (("MODEL", "short.csv"), "short.csv: no column 'zip'"),
    (("MODEL", "new.csv", "-o", "new.csv"), "is the table itself"),
    (("MODEL", "new.csv", "-o", "scores.xlsx"), "written as .csv or .parquet"),
    (("MODEL", "new.csv", "--id", "nobody"), "--id nobody: new.csv has"),
    (("MODEL", "new.csv", "--positive-rate", "1.5"), "must be a share in (0, 1)"),
    (("MODEL", "new.csv", "--positive-rate", "few"), "invalid float value: 'few'"),
    (("MODEL", "new.csv", "target=y"), "target: none of header, delimiter"),
    (("MODEL", "new.csv", "header=perhaps"), "dataset.header: Input should be a valid boolean"),
    (("MODEL", "new.csv", "encoding=utf-16"), "new.csv"),
])  # fmt: skip
def test_mistakes_are_one_line_and_leave_nothing(sweep, harness, arguments, said):
    frame = table(20, 4)
    frame.write_csv("new.csv")
    frame.head(0).write_csv("empty.csv")
    frame.drop("zip").write_csv("short.csv")
    before = sorted(path.name for path in Path(".").iterdir())
    folder = str(sweep[0] / "models" / sweep[1]["bce"])
    answer = harness("predict", *(folder if one == "MODEL" else one for one in arguments))
    assert answer.code == 2 and said in answer.err and answer.err.count("\n") == 1
    assert sorted(path.name for path in Path(".").iterdir()) == before
