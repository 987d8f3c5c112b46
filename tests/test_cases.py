"""Kinds of faults that other tools had reported: what is right here, one section a kind."""

import json
import shlex
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from harness.data.imbalance import induce_positive_rate
from harness.data.packages import Wheel
from harness.data.reading import open_reader
from harness.data.run_data import Draw, run_data
from harness.data.sampler import SMOTE, RandomOversampler, RandomUndersampler, TrainingPart
from harness.data.sources import Table
from harness.data.splits import Split, part_size
from harness.data.streams import Purpose, legacy_seed
from harness.data.table_file import CsvFormat, table_in
from harness.data.target import labels_of
from harness.errors import UserError
from harness.record import store
from harness.record.replay import StoredLogs
from harness.record.wandb_read import read_log
from tests.conftest import TINY
from tests.runs import config


def rows_of(labels, header="a,b,y"):
    """A table of two columns of numbers beside ``labels``."""
    lines = [f"{i * 37 % 41},{i * i % 17},{label}" for i, label in enumerate(labels)]
    return "\n".join([header, *lines]) + "\n"


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write the content to a file of a fresh working folder; its name."""
    monkeypatch.chdir(tmp_path)

    def written(content, name="t.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return name

    return written


def train(harness, *arguments, code=0):
    """One call of `harness train` on t.csv, and what it answered."""
    given = ("dataset=table", "dataset.path=t.csv", "dataset.target=y", *arguments)
    answer = harness("train", *TINY, *given)
    assert answer.code == code, answer
    return answer


# A. What the user calls positive is never guessed in silence.


@pytest.mark.parametrize(("negative", "positive"), [
    ("0", "1"), ("0.0", "1.0"), ("-1", "1"), ("false", "true"), ("FALSE", "TRUE"), ("f", "t"),
    ("No", "Yes"), ("n", "Y"), ("nein", "ja"), ("Negative", "positive"), ("neg", "pos"),
    ("absent", "present"), ("off", "on"), ("not fraud", "fraud"), ("no_default", "default"),
])  # fmt: skip
def test_labels_with_a_usual_meaning_have_it_however_frequent(write, negative, positive):
    path = write(rows_of([negative] * 2 + [positive] * 4))
    dataset = Table(path=path, target="y").load()
    assert dataset.labels.tolist() == [0, 0, 1, 1, 1, 1]
    assert dataset.positive_reason.startswith("by convention")


@pytest.mark.parametrize(("labels", "positive", "reason"), [
    (["b", "a", "b"], "a", "the rarer"),
    (["1", "2", "2"], "1", "the rarer"),
    (["b", "a"], "b", "of two as frequent the last in order"),
])  # fmt: skip
def test_other_labels_are_told_by_their_number(write, labels, positive, reason):
    dataset = Table(path=write(rows_of(labels)), target="y").load()
    assert (dataset.positive_label, dataset.positive_reason) == (positive, reason)


def test_a_parquet_table_and_one_in_csv_agree_on_the_positive_label(write):
    values = pl.DataFrame({"a": [1.0, 2, 3], "b": [2.0, 1, 3], "y": ["1.0", "0.0", "1.0"]})
    values.write_parquet("t.parquet")
    assert Table(path="t.parquet", target="y").load().labels.tolist() == [1, 0, 1]


def test_published_data_sets_keep_the_rarer_label():
    content = rows_of(["positive"] * 3 + ["negative"]).encode()
    table = table_in(content, "t.csv", place="t", format=CsvFormat())
    target = open_reader(table, marks=()).column("y")
    asked = {"positive": None, "table": table, "by_convention": Wheel.by_convention}
    assert labels_of(target, **asked).positive == "negative"


def test_the_positive_label_is_said_and_stored(harness, write):
    write(rows_of(["yes", "yes", "no"] * 20))
    said = train(harness).err
    assert "positive: 'yes' of 'y' (by convention, against 'no'), 40 rows (0.667)" in said
    planned = harness("plan", *TINY, "dataset=table", "dataset.path=t.csv", "dataset.target=y")
    assert "positive: 'yes'" in planned.err
    described = harness("data", "describe", "table", "path=t.csv", "target=y").out
    assert "yes (by convention, against 'no')" in described
    (shard,) = Path("runs").glob("*/shards/*")
    row = store.runs(shard.parents[1])[0].to_dicts()[0]
    assert row["positive_label"] == "yes" and "convention" in row["positive_reason"]
    assert row["data_positive_rate"] == pytest.approx(2 / 3)


# K. What `data describe` would warn of, a run says too.


@pytest.mark.parametrize(("header", "values", "said"), [
    ("id,y", lambda i: (i, int(i % 3 == 0)), "'id': numbers the rows"),
    ("id,y", lambda i: (i * 7919 % 100_003, int(i % 3 == 0)), "different whole numbers"),
    ("answer,y", lambda i: (i % 3 == 0, int(i % 3 == 0)), "'answer' alone tells the classes"),
    ("a,y", lambda i: (i % 9, int(i % 3 == 0)), "test rows also stand in training"),
])  # fmt: skip
def test_a_run_says_what_describe_would_warn_of(harness, write, header, values, said):
    lines = [",".join(map(str, values(i))) for i in range(1200)]
    write("\n".join([header, *lines]) + "\n")
    assert said in train(harness).err
    described = harness("data", "describe", "table", "path=t.csv", "target=y").out
    assert said in " ".join(described.split())


def test_ids_that_stand_in_several_rows_are_called_so(write):
    rows = "".join(f"{7_000_000 + i * 7919 % 6007},{i % 2}\n" for i in range(20_000))
    (column,) = Table(path=write(f"customer,y\n{rows}"), target="y").load().columns
    assert column.note == "6,007 different whole numbers in 20,000 rows: ids?"


def test_a_run_on_a_large_table_says_what_leaks(harness, write, monkeypatch):
    write("a,answer,z,y\n" + "".join(f"{i % 7},{'no' if i % 3 else 'yes'},{i % 5},{i % 3}\n"
                                    for i in range(1200)).replace(",2\n", ",1\n"))  # fmt: skip
    monkeypatch.setattr("harness.data.describe.MOST_ANNOUNCED", 1200)
    said = train(harness).err
    assert "column 'answer' alone tells the classes" in said and "column 'a'" not in said
    (found,) = Path("runs").glob("*/data/*.json")  # what the report says
    assert "'answer' alone tells the classes" in " ".join(json.loads(found.read_text())["found"])


def test_numbers_that_are_no_ids_are_not_called_so(write):
    rows = "".join(f"{i / 7},{i % 100},{i % 2}\n" for i in range(3000))
    dataset = Table(path=write(f"a,b,y\n{rows}"), target="y").load()
    assert [column.note for column in dataset.columns] == ["", ""]


# H. What a library refuses fails its job alone, in one line.


def sweep(harness, *arguments, code=0):
    return train(harness, "-m", *arguments, code=code)


def test_several_reasons_are_each_said_with_their_number_and_a_job(harness, write):
    write(rows_of(["0"] * 72 + ["1"] * 8))
    swept = ("sampler=smote", "sampler.k_neighbors=2,7,8", "seed=0,1")
    answer = sweep(harness, *swept, code=2)
    assert "2 trained, 0 already stored, 4 failed" in answer.out
    for neighbors in (7, 8):
        line = f"2 jobs failed, such as sampler.k_neighbors={neighbors} seed=0: sampler smote"
        assert line in answer.err
    assert answer.err.splitlines()[-1] == "error: 4 of 6 jobs failed, for the reasons above"


@pytest.mark.slow
@pytest.mark.parametrize("schedule", ["warmup_cosine", "linear", "exponential"])
def test_a_warm_up_as_long_as_the_run_fails_its_job_alone(harness, write, schedule):
    write(rows_of([0, 1] * 30))
    swept = (f"schedule={schedule}", "schedule.warmup=0.9,0.1", "training.num_epochs=4")
    answer = sweep(harness, *swept, code=2)
    assert "1 trained, 0 already stored, 1 failed" in answer.out
    last = answer.err.splitlines()[-1]
    assert last.startswith("error: 1 job failed, schedule.warmup=0.9: schedule.warmup=0.9 takes")


def test_rows_that_are_all_alike_are_called_so(harness, write):
    write("a,b,y\n" + "1,2,1\n" * 20 + "".join(f"{i % 5},{i % 7},0\n" for i in range(100)))
    said = train(harness, "sampler=kmeans_smote", code=2).err.splitlines()[-1]
    assert "all alike" in said and "sampler=random_over" in said


@pytest.mark.parametrize(("error", "said"), [
    (MemoryError(), "takes more memory than there is"),
    (ZeroDivisionError("division\nby zero"), "ZeroDivisionError: division; HARNESS_DEBUG=1"),
])  # fmt: skip
@pytest.mark.parametrize("place", ["harness.sweep.plan.resolve", "harness.run.Run.lane"])
def test_any_exception_of_a_job_is_its_own(harness, write, monkeypatch, place, error, said):
    write(rows_of([0, 1] * 30))
    package, name = place.rsplit(".", 1)
    owner = __import__("pydoc").locate(package)
    real = getattr(owner, name)

    def failing(first, *rest):
        if getattr(first, "config", first).seed == 1:
            raise error
        return real(first, *rest)

    monkeypatch.setattr(owner, name, failing)
    answer = sweep(harness, "seed=0,1", code=2)
    last = answer.err.splitlines()[-1]
    assert last.startswith("error: ") and said in last
    if name == "resolve":  # known before anything trains
        assert answer.out == ""
    else:
        assert "1 trained" in answer.out and "seed=1" in last


@pytest.mark.parametrize(("place", "error", "told"), [
    ("_compile", "RESOURCE_EXHAUSTED: out of memory", "more memory than there is"),
    ("_train", "INTERNAL: no luck", "RuntimeError: INTERNAL: no luck"),
], ids=["compiled", "trained"])  # fmt: skip
def test_a_program_that_fails_takes_no_other_with_it(
    harness, write, monkeypatch, place, error, told
):
    from harness.sweep import engine

    write(rows_of([0, 1] * 30))
    real = getattr(engine, place)

    def failing(first, *rest):
        if getattr(first, "program", first).num_epochs == 3:
            raise RuntimeError(error)
        return real(first, *rest)

    monkeypatch.setattr(engine, place, failing)
    answer = sweep(harness, "training.num_epochs=3,2", code=2)
    assert "1 trained" in answer.out and told in answer.err


# G. One reading of a value in all commands; D. a code is no number; E. a mark may be a value.


def describe(harness, *overrides, code=0):
    answer = harness("data", "describe", "table", "path=t.csv", *overrides)
    assert answer.code == code, answer
    return " ".join((answer.out + answer.err).split())


@pytest.mark.parametrize(("labels", "positive"), [
    (["no", "yes"], "yes"), (["on", "off"], "off"), (["08:15", "12:30"], "12:30"),
    (["1e3", "x"], '"1e3"'), (["<=50K", ">50K"], '">50K"'), (["a,b", "c"], '"a,b"'),
])  # fmt: skip
def test_describe_and_train_read_a_label_alike(harness, write, labels, positive):
    write(rows_of([f'"{label}"' for label in labels] * 30))
    train(harness, f"dataset.positive={positive}")
    label = positive.strip('"')
    assert f"positive label {label} (by dataset.positive)" in describe(
        harness, "target=y", f"positive={positive}"
    )


@pytest.mark.parametrize(("column", "label"), [
    ("überlebt", ">50K"), ("Outcome (1=died)", "1"), ("Died#", "a;b"), ("it's", 'say "so"'),
])  # fmt: skip
def test_a_value_with_signs_is_shown_in_the_quotes_that_work(harness, write, column, label):
    quoted = label.replace('"', '""')
    write(rows_of([f'"{quoted}"', "no"] * 30, header=f"a,b,{column}"))
    given = [f"dataset.target={column}", f"dataset.positive={label}"]
    for _ in given:
        answer = harness("train", *TINY, "dataset=table", "dataset.path=t.csv", *given)
        if answer.code == 0:
            break
        remedy = shlex.split(answer.err.strip().rpartition(": write ")[2])
        given = [
            remedy[0] if one.split("=")[0] == remedy[0].split("=")[0] else one for one in given
        ]
    else:
        answer = harness("train", *TINY, "dataset=table", "dataset.path=t.csv", *given)
    assert answer.code == 0, answer


def test_the_remedy_for_a_wrong_label_can_be_pasted(harness, write):
    write(rows_of(["<=50K", ">50K"] * 30))
    said = train(harness, "dataset.positive=yes", code=2).err
    (pasted,) = shlex.split(said.strip().rpartition("such as ")[2])
    train(harness, pasted)


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
@pytest.mark.parametrize("first", ["", "sep={}\n"])
def test_a_delimiter_is_found_and_said_in_every_command(harness, write, delimiter, first):
    write(first.format(delimiter) + rows_of([0, 1] * 30).replace(",", delimiter))
    said = f"its delimiter is {delimiter!r}"
    with_logs = describe(harness, "target=y")
    assert "rows 60" in with_logs and said in " ".join(Table(path="t.csv", target="y").load().notes)
    train(harness)


def test_sep_of_excel_is_no_row_and_lines_keep_their_numbers(write):
    content = rows_of([0, 1] * 30)
    plain = Table(path=write(content, "plain.csv"), target="y").load()
    path = write("sep=,\r\n" + content.replace("\n", "\r\n"))
    assert Table(path=path, target="y").load().fingerprint == plain.fingerprint
    write("sep=,\n" + content + "many,2,1\n")
    with pytest.raises(UserError, match="line 63"):
        Table(path=path, target="y").load()


def test_a_delimiter_may_be_called_by_its_name(harness, write):
    write(rows_of([0, 1] * 30).replace(",", "\t"))
    for given in ("tab", '"\\t"'):
        assert "rows 60" in describe(harness, "target=y", f"delimiter={given}")
        train(harness, f"dataset.delimiter={given}")
    said = train(harness, "dataset.delimiter=;;", code=2).err
    assert "'dataset.delimiter=\";;\"'" in said


@pytest.mark.parametrize(("header", "target"), [("2.5,0.1,1", "1"), ("1,2,3", "y"), ("1,1,0", "0")])
def test_a_header_of_numbers_is_asked_about(harness, write, header, target):
    write(rows_of([0, 1] * 30, header=header))
    if header == "1,2,3":  # which counts the columns, as pandas does
        assert Table(path="t.csv", target="3").load().feature_names == ("1", "2")
        return
    said = harness(
        "train", *TINY, "dataset=table", "dataset.path=t.csv", f"dataset.target={target}"
    )
    assert said.code == 2 and "dataset.header=false" in said.err
    train(harness, "dataset.header=false", "dataset.target=class")


@pytest.mark.parametrize("asked", ["Label", " Label ", '" Label"'])
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_blanks_around_names_are_of_no_account(harness, write, asked, suffix):
    write(rows_of([0, 1] * 30, header=" a,b , Label"))
    path = "t.csv"
    if suffix == "parquet":
        pl.read_csv("t.csv").write_parquet("t.parquet")
        path = "t.parquet"
    said = harness("data", "describe", "table", f"path={path}", f"target={asked}", "drop=[a]")
    assert said.code == 0 and "features 1 " in " ".join(said.out.split()), said


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_codes_that_begin_with_0_stay_apart_from_numbers(write, suffix):
    codes = ["0501", "501", "0702", "702"] * 15
    table = pl.DataFrame({"branch": codes, "b": range(60), "y": [0, 1, 1] * 20})
    table.write_csv("t.csv")
    table.write_parquet("t.parquet")
    asked = {"path": f"t.{suffix}", "target": "y"}
    for more in ({}, {"categorical": ("branch",)}):
        column = Table(**asked, **more).load().columns[0]
        assert column.levels == ("0501", "0702", "501", "702")
    assert "begin with 0" in Table(**asked).load().columns[0].note
    groups = Table(**asked, group="branch").load().groups
    assert len(set(groups.tolist())) == 4


def test_a_named_category_keeps_its_texts(write):
    versions = ["1.1", "1.10", "1e1", "10"] * 15
    write("v,b,y\n" + "".join(f"{v},{i},{i % 2}\n" for i, v in enumerate(versions)))
    dataset = Table(path="t.csv", target="y", categorical=("v",)).load()
    assert dataset.columns[0].levels == ("1.1", "1.10", "10", "1e1")


def test_zeros_before_a_point_and_times_are_numbers_still(write):
    rows = "".join(f"0.{i},{i},0{i % 9}30,{i % 2}\n" for i in range(60))
    dataset = Table(path=write("a,b,t,y\n" + rows), target="y", time="t").load()
    assert [column.kind for column in dataset.columns] == ["number", "number"]
    assert dataset.times[1] == 130


def test_a_mark_beside_empty_cells_is_said(harness, write):
    regions = ["NA", "EU", "", "ASIA"] * 15
    write("region,b,y\n" + "".join(f"{r},{i * 7 % 31},{i % 2}\n" for i, r in enumerate(regions)))
    said = train(harness).err
    assert "15 cells of 'NA' and 15 empty ones are all missing: dataset.missing=[]" in said
    column = Table(path="t.csv", target="y", missing=()).load().columns[0]
    assert column.levels == ("ASIA", "EU", "NA", "(missing)") and not column.note


# I. Fractions of the configuration are the decimal numbers that they are written as.


@pytest.mark.parametrize("rarer", range(1, 101))
def test_a_ratio_that_is_met_exactly_is_met(rarer):
    labels = np.repeat([0, 1], [100, rarer]).astype(np.int8)
    part = training_part(labels, np.arange(100.0 + rarer)[:, None])
    ratio = rarer / 100
    over = RandomOversampler(ratio=ratio).resample(part, seed=0)
    under = RandomUndersampler(ratio=ratio).resample(part, seed=0)
    assert len(over.rows) == len(labels)
    assert len(under.rows) in (len(labels), rarer + rarer * 100 // rarer)


@pytest.mark.parametrize("percent", range(1, 101))
def test_oversampling_adds_the_rows_that_a_share_asks_for(percent):
    part = training_part(np.repeat([0, 1], [100, 1]).astype(np.int8), np.arange(101.0)[:, None])
    found = RandomOversampler(ratio=percent / 100).resample(part, seed=0)
    assert int(found.labels.sum()) == percent


@pytest.mark.parametrize("percent", range(1, 100))
def test_parts_and_rates_are_exact(percent):
    assert part_size("test", percent / 100, 100) == percent
    labels = np.repeat([0, 1], [100 - percent, percent]).astype(np.int8)
    rows = np.arange(100, dtype=np.int32)
    kept = induce_positive_rate(
        split=Split(rows, rows, rows), labels=labels, positive_rate=percent / 100, where="train",
        seed=0,
    )  # fmt: skip
    assert len(kept.train) == 100


def training_part(labels, features, **kwargs):
    width = features.shape[1]
    return TrainingPart(
        rows=np.arange(len(labels), dtype=np.int32),
        labels=labels,
        features=features.astype(np.float32),
        center=np.zeros(width, np.float32),
        scale=np.ones(width, np.float32),
        **kwargs,
    )


# J. SMOTE is SMOTE-NC wherever columns came from categories.


@pytest.mark.parametrize("sampler", ["smote", "smote_tomek", "smote_enn"])
@pytest.mark.parametrize("numbers", [True, False])
def test_made_rows_have_one_level_of_each_category(write, sampler, numbers):
    rng = np.random.default_rng(0)
    labels = np.repeat([1, 0], [30, 120])
    table = pl.DataFrame(
        {
            "colour": rng.choice(["red", "green", "blue"], 150),
            "size": rng.normal(size=150) + labels,
            "paid": rng.choice([True, False], 150),
            "sex": rng.choice(["f", "m"], 150),
            "y": labels,
        }
    )
    table.drop([] if numbers else ["size"]).write_csv("t.csv")
    dataset = Table(path="t.csv", target="y").load()
    asked = config(sampler={"name": sampler})
    part = training_part_of(dataset, asked)
    made = part.synthetic
    assert len(made) > 10
    for first, end in dataset.categories:
        real = {row.tobytes() for row in dataset.features[:, first:end]}
        assert {row.tobytes() for row in np.ascontiguousarray(made[:, first:end])} <= real
    if numbers:
        column = dataset.feature_names.index("size")
        assert not np.isin(made[:, column], dataset.features[:, column]).all()


def training_part_of(dataset, asked):
    return run_data(
        dataset,
        Draw(
            split=asked.split, split_seed=0, imbalance=asked.imbalance, sampler=asked.sampler,
            batching=asked.batching, seed=0, impute="median", num_steps=4, batch_size=16,
        ),
    )  # fmt: skip


def test_codes_and_one_hot_columns_make_the_same_choice_of_levels(write):
    """SMOTE-NC of imbalanced-learn, given the codes, is the reference."""
    from imblearn.over_sampling import SMOTENC

    rng = np.random.default_rng(1)
    labels = np.repeat([1, 0], [20, 80]).astype(np.int8)
    codes, numbers = rng.integers(0, 3, 100), rng.normal(size=(100, 2))
    one_hot = np.eye(3)[codes]
    features = np.hstack([numbers[:, :1], one_hot, numbers[:, 1:]]).astype(np.float32)
    part = training_part(labels, features, categories=((1, 4),))
    found = SMOTE().resample(part, seed=0)
    state = legacy_seed(0, Purpose.SAMPLER)
    numbers = features[:, [0, 4]].astype(float)
    levels, own = np.unique(features[:, 1:4], axis=0, return_inverse=True)
    given = np.column_stack([numbers, own.ravel()])
    wanted, _ = SMOTENC([2], random_state=state).fit_resample(given, labels)
    np.testing.assert_array_equal(found.synthetic[:, 1:4], levels[wanted[100:, 2].astype(int)])
    np.testing.assert_allclose(found.synthetic[:, [0, 4]], wanted[100:, :2], rtol=1e-6)


def test_a_sampler_that_knows_no_categories_says_so(harness, write):
    rows = "".join(f"{'abc'[i % 3]},{i * 7 % 31},{int(i % 4 == 0)}\n" for i in range(200))
    write("c,b,y\n" + rows)
    said = train(harness, "sampler=borderline_smote").err
    assert "borderline_smote makes rows between the levels of 1 columns of categories" in said


# F. A path is a path.


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ablation[2]", "what?*", "{a,b}", "[!x]"])
def test_a_folder_with_signs_of_patterns_works_everywhere(harness, write, name):
    write(rows_of([0, 1] * 30))
    given = (f'name="{name}"', "wandb=offline", "training.save_model=true")
    train(harness, *given)
    assert "1 already stored" in train(harness, *given).out
    (params,) = Path("runs", name, "models").iterdir()
    started = (f'init.params="runs/{name}/{params.name}"', "seed=1")
    assert "1 trained" in train(harness, *given, *started).out
    folder = f"runs/{name}"
    assert harness("analyze", folder, "--output", f"{folder}/report").code == 0
    assert Path(folder, "report", "report.html").exists()
    assert harness("analyze", f"{folder}/wandb", "--output", "other").code == 0


@pytest.mark.parametrize("name", ["t[1].csv", "t[1].parquet", "t[1].arrow", "t*.arrow", "?.tsv"])
def test_a_table_with_signs_of_patterns_is_read(write, name):
    table = pl.DataFrame({"a": [1.5, 2, 3, 4], "y": [0, 1, 1, 0]})
    kinds = {"csv": table.write_csv, "parquet": table.write_parquet, "arrow": table.write_ipc}
    kinds["tsv"] = lambda path: table.write_csv(path, separator="\t")
    write("")
    Path("sub[1]").mkdir()
    kinds[name.rsplit(".", 1)[1]](Path("sub[1]", name))
    assert Table(path=f"sub[1]/{name}", target="y").load().num_rows == 4


# C. Names of columns are kept with the parameters.


@pytest.mark.parametrize(("header", "said"), [
    ("b,a,y", "feature 1 is 'a' there and 'b' here: put the table's columns in that order"),
    ("a,c,y", "feature 2 is 'b' there and 'c' here: give that run's columns"),
    ("a,b,y", None),
])  # fmt: skip
def test_parameters_start_no_run_of_other_columns(harness, write, header, said):
    write(rows_of([0, 1] * 30))
    train(harness, "training.save_model=true", "name=first")
    (params,) = Path("runs/first/models").iterdir()
    write(rows_of([0, 1] * 30, header=header))
    given = (f"init.params=runs/first/{params.name}", "name=second", "seed=1")
    answer = train(harness, *given, code=2 if said else 0)
    assert said is None or said in answer.err


# What is the user's is called by its file, and lies where they say.


def test_a_sweep_on_a_table_and_its_data_set_are_called_by_the_file(harness, write):
    write(rows_of([0, 1] * 30))
    write(rows_of([1, 0] * 30), "my loans (1).csv")
    assert train(harness).out.endswith("runs/t\n")
    assert train(harness, "name=mine").out.endswith("runs/mine\n")
    paths = 'dataset.path=t.csv,"my loans (1).csv"'
    answer = harness("train", "-m", *TINY, "dataset=table", paths, "dataset.target=y")
    assert answer.out.endswith("2 trained, 0 already stored, 0 failed: runs/t-my loans (1)\n")
    table = store.runs(Path("runs", "t-my loans (1)"))[0]
    assert sorted(table["dataset.name"]) == ["my loans (1)", "t"]
    one, other = store.runs(Path("runs/t"))[0], store.runs(Path("runs/mine"))[0]
    assert one["run_id"].to_list() == other["run_id"].to_list()


def test_a_tilde_is_the_home_folder(harness, write, monkeypatch, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    write(rows_of([0, 1] * 30))
    for given in ("root=~/runs", 'root="~/more"'):
        train(harness, given)
    assert sorted(path.name for path in home.iterdir()) == ["more", "runs"]
    Path("t.csv").rename(home / "t.csv")
    assert train(harness, "dataset.path=~/t.csv").code == 0
    assert harness("data", "describe", "table", "path=~/t.csv", "target=y").code == 0
    assert not Path("~").exists()


# H, of another's service: W&B's rules hold before training, and its settings are honoured or said.


@pytest.mark.parametrize(("given", "said"), [
    (f"wandb.tags=[{'t' * 65}]", "has 65 characters: W&B takes 1 to 64"),
    ('wandb.tags=[""]', "wandb.tags '' has 0 characters"),
    ("wandb.project=a/b", "wandb.project 'a/b' holds /"),
    (f"wandb.project={'p' * 129}", "129 characters"),
    (f"wandb.group={'g' * 129}", "129 characters"),
    ("wandb.entity=me/project", "wandb.entity 'me/project' is no user or team"),
])  # fmt: skip
def test_what_the_service_would_refuse_is_refused_before_training(harness, write, given, said):
    write(rows_of([0, 1] * 30))
    answer = train(harness, "wandb=offline", given, code=2)
    assert said in answer.err.splitlines()[-1] and not Path("runs").exists()
    train(harness, "wandb=disabled", given)


def test_the_environment_of_wandb_is_followed_where_nothing_is_said(harness, write, monkeypatch):
    write(rows_of([0, 1] * 30))
    for name, value in {
        "PROJECT": "theirs", "RUN_GROUP": "grouped", "TAGS": "one, two", "ENTITY": "team",
        "JOB_TYPE": "night", "NOTES": "why", "NAME": "called",
    }.items():  # fmt: skip
        monkeypatch.setenv(f"WANDB_{name}", value)
    monkeypatch.setenv("WANDB_DIR", "elsewhere")
    assert "WANDB_DIR is not used" in train(harness, "wandb=offline").err
    assert logged("t") == ("theirs", "team", "grouped", ("one", "two"), "night", "why", "called")
    said = ("wandb.project=p", "wandb.group=g", 'wandb.tags=["a,b"]', "wandb.entity=e", "name=n")
    said += ("wandb.job_type=j", "wandb.notes=n", "wandb.run_name=${loss.name}-s${seed}")
    train(harness, "wandb=offline", *said)
    assert logged("n") == ("p", "e", "g", ("a,b",), "j", "n", "bce-s0")


def logged(name):
    """What the mirror and a later `sync` say, which must be the same."""
    (folder,) = Path("runs", name, "wandb").glob("offline-run-*")
    (stored,) = StoredLogs(Path("runs", name))(store.stored(Path("runs", name)))
    read = read_log(folder)
    fields = ("project", "entity", "group", "tags", "job_type", "notes", "name")
    found = tuple(getattr(read, field) for field in fields)
    assert found == tuple(getattr(stored, field) for field in fields)
    return found
