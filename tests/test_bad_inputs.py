"""Whatever is typed wrongly: one short line, exit code 2, at once, and nothing left behind.

Generated from the schema, each key with what it cannot be; beside it flags, and paths to what is no
table, no sweep and no log.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

import pytest
import yaml

from harness import plugins
from harness.cli import LONGEST
from harness.config import config_keys
from harness.files import conf_dir
from tests.conftest import TINY

OF_TABLES = ("good.csv: ", "weights.csv: ", "good: ")
SECONDS = 10  # of the processor: others may be at work beside a test
ESCAPE = "\x1b[31mred\x07"
HUGE = "9" * 5000
GOOD = "a,b,y\n" + "".join(f"{i},{i * i % 7},{i % 2}\n" for i in range(40))
TABLE = ("dataset=table", "dataset.path=good.csv", "dataset.target=y")
# What is no value of a type, as it is written on the command line.
NO_NUMBER = ("many", "true", "[1,2]", "{a:1}", "nan", "-1e999", f"'{ESCAPE}'", "'1'")
WRONG: Mapping[Any, tuple[str, ...]] = {
    int: (*NO_NUMBER, "1.5", "-7777777", HUGE, "1e300"),
    float: (*NO_NUMBER, HUGE),
    bool: ("7", "maybe", "[true]", "1.5", f"'{ESCAPE}'"),
    str: ("[a]", "{a:1}", f"'{ESCAPE}'"),
    tuple: ("{a:1}", "[[a]]", f"['{ESCAPE}']"),
    Literal: ("nonsense", "7.5", "[a]", "{a:1}", f"'{ESCAPE}'", HUGE),
}
# Keys that no command line sets: they follow from others, or say which choice a group is.
LEFT_OUT = {"dataset.kind", "dataset.name"}


def choice_with(key: str) -> tuple[str, ...] | None:
    """The overrides that choose a part which has ``key``; None where conf/ names none."""
    group, _, rest = key.partition(".")
    if not rest or group in {"training", "init"}:
        return ()
    if group == "dataset" and rest in _keys_of(conf_dir() / "dataset" / "table.yaml"):
        return TABLE
    for file in sorted((conf_dir() / group).glob("*.yaml")):
        if rest.partition(".")[0] in _keys_of(file):
            return (f"{group}={file.stem}",)
    synthetic = sorted((conf_dir() / "dataset" / "synthetic").glob("*.yaml"))
    found = [file for file in synthetic if group == "dataset" and rest in _keys_of(file)]
    return (f"dataset=synthetic/{found[0].stem}",) if found else None


@cache
def _keys_of(file: Path) -> frozenset[str]:
    return frozenset(yaml.safe_load(file.read_text(encoding="utf-8")) or {})


def members(annotation: Any) -> Iterator[Any]:
    """The plain types of a key: of a union each."""
    if get_origin(annotation) in (Union, UnionType):
        for one in get_args(annotation):
            yield from members(one)
    else:
        yield get_origin(annotation) or annotation


def wrong_values(annotation: Any) -> list[str]:
    """What is no value of any type that a key may have."""
    kinds = set(members(annotation)) - {type(None)}
    if not kinds <= WRONG.keys():
        return []
    lists = [WRONG[kind] for kind in kinds]
    return [value for value in lists[0] if all(value in one for one in lists)]


def generated() -> dict[str, tuple[str, ...]]:
    """The arguments of `harness`, by what they are called."""
    cases: dict[str, tuple[str, ...]] = {}
    for number, (key, annotation) in enumerate(sorted(config_keys().items())):
        choice = choice_with(key)
        if choice is None or key in LEFT_OUT:
            continue
        values = wrong_values(annotation)
        # Two of each key, others of the next: all of them over the keys of a type.
        for place in range(min(2, len(values))):
            value = values[(2 * number + place) % len(values)]
            command = ("train", "plan", "verify")[(number + place) % 3]
            given = (command, *TINY, *choice, f"{key}={value}")
            cases[f"{command} {key}={value[:12]!r}"] = given
    return cases


def paths() -> dict[str, str]:
    """What a path may wrongly lead to, by its name in `folder_of_mistakes`."""
    return {
        "missing": "nowhere.csv", "folder": "folder", "folder of that name": "folder.csv",
        "empty": "empty.csv", "bytes": "bytes.csv", "bytes of Parquet": "bytes.parquet",
        "bytes of a log": "bytes.wandb", "unknown kind": "table.xlsx", "NUL": "a\0b.csv",
        "escape": f"{ESCAPE}.csv", "long": "x" * 5000 + ".csv", "nothing": "",
    }  # fmt: skip


def folder_of_mistakes(place: Path) -> None:
    """Writes them, and a good table."""
    (place / "good.csv").write_text(GOOD)
    for name in ("folder", "folder.csv"):
        (place / name).mkdir()
    (place / "empty.csv").touch()
    junk = bytes(range(256)) * 9
    (place / "other.csv").write_text("c,y\n1,0\n2,1\n")
    (place / "good.py").write_text("answer = 42\n")
    (place / "bad.py").write_text("answer =\n")
    for name in ("bytes.csv", "bytes.parquet", "bytes.wandb", "table.xlsx"):
        (place / name).write_bytes(junk)
    shards = place / "damaged" / "shards" / "1"
    shards.mkdir(parents=True)
    for table in ("runs", "history", "predictions"):
        (shards / f"{table}.parquet").write_bytes(junk)


def by_hand() -> dict[str, tuple[str, ...]]:
    """What no schema tells: flags, paths, sizes, words."""
    tiny, of_table = ("train", *TINY), ("data", "describe", "table")
    cases = {
        "no command": ("frob",),
        "a command of control characters": (ESCAPE,),
        "data alone": ("data",),
        "data of no such kind": ("data", "frob"),
        "describe nothing": ("data", "describe"),
        "describe what is not there": ("data", "describe", "irsi"),
        "describe without a target": (*of_table, "path=good.csv"),
        "describe of two values": (*of_table, "path=good.csv", "target=a,y"),
        "describe with no such key": (*of_table, "path=good.csv", "target=y", "foo=1"),
        "describe into no picture": (*of_table, "path=good.csv", "target=y", "--output", "x.gif"),
        "describe without a value": (*of_table, "path"),
        "describe huge": (*of_table, "path=good.csv", "target=y", f"max_levels={HUGE}"),
        "describe more than memory": ("data", "describe", "two_gaussians", "rows=2000000000"),
        "fetch what is not there": ("data", "fetch", "nothing"),
        "analyze nothing": ("analyze",),
        "analyze into a file": ("analyze", "damaged", "--output", "good.csv"),
        "analyze with no number": ("analyze", "damaged", "--rope", "wide"),
        "analyze for no project": ("analyze", "damaged", "--log-wandb", "a/b/c"),
        "analyze as no format": ("analyze", "damaged", "--format", "docx"),
        "sync nothing": ("sync",),
        "reproduce nothing": ("reproduce",),
        "reproduce what is not there": ("reproduce", ESCAPE),
        "reproduce from nowhere": ("reproduce", "all", "--experiments", "folder"),
        "reproduce without a budget": ("reproduce", "all", "--until-decided"),
        "reproduce with no budget": ("reproduce", "all", "--until-decided", "--budget", "9x"),
        "completion of no shell": ("-sc", "install=tcsh"),
        "completion of nothing": ("-sc",),
        "no loss": (*tiny, "loss=null"),
        "no steps": (*tiny, "-m", "seed=range(0,10,0)"),
        "no end": (*tiny, "-m", "seed=range(nan)"),
        "no value": (*tiny, "-m", "seed=range(0)"),
        "no number": (*tiny, "optimizer.learning_rate=true"),
        "NUL in a name": (*tiny, "name=a\0b"),
        "a slash in a name": (*tiny, "name=a/b"),
        "a root that is a file": (*tiny, "root=good.csv"),
        "a name that is too long": (*tiny, f"name={'x' * 5000}"),
        "more than memory": (*tiny, "dataset=two_gaussians", "dataset.rows=2000000000"),
        "more rows than have numbers": (*tiny, "dataset=two_gaussians", "dataset.rows=3000000000"),
        "wider than memory": (
            *tiny, "dataset=two_gaussians", "dataset.rows=200000", "dataset.num_features=1000000",
        ),
        "a model beyond memory": (
            "train", "model=mlp", "model.width=65536", "model.depth=64", "wandb=disabled",
        ),
        "a batch order beyond memory": (
            *tiny, "training.num_epochs=100000", "training.steps_per_epoch=1000000",
        ),
        "batches beyond memory": (
            *tiny, "training.num_epochs=100000", "training.batch_size=1048576",
        ),
        "cells beyond memory": (
            *tiny, "dataset=synthetic/cells", "dataset.rows=2000000", "dataset.num_cells=1000000",
        ),
        "too many jobs": (*tiny, "-m", "seed=range(100000000)"),
        "parameters of nobody": (*tiny, "init.params=runs/no/run"),
        "a split of no rows": (*tiny, "split=kfold", "split.folds=1000000000"),
        "held out too much": (*tiny, "split.test=1e300"),
        "too few neighbours": (*tiny, *TABLE, "sampler=smote", "sampler.k_neighbors=1000"),
    }  # fmt: skip
    for key in ("curve_points", "curve_rows"):
        for number in ("0", "-1", "1.5", "true", "1e300"):
            cases[f"{key} {number}"] = (*tiny, f"evaluation.{key}={number}")
    for number in ("3", "1e9"):  # two epochs
        cases[f"curve_points {number}"] = (*tiny, f"evaluation.curve_points={number}")
    for metrics in ("[x]", "[auroc]", "[null]", "[[a]]", "[good.py:answer]", f"['{ESCAPE}']"):
        cases[f"extra_metrics={metrics!r}"] = (*tiny, f"extra_metrics={metrics}")
    for group in ("model", "sampler", "split", "optimizer"):
        for place in ("good.py:Missing", "good.py:answer", "nowhere.py:X", "bad.py:X", "good.py"):
            cases[f"{group}={place}"] = (*tiny, f"{group}={place}")
    for named in ("[metric=good.py:answer]", "[model=good.py:Missing]", "[nowhere.py]", "[1]"):
        cases[f"plugins={named}"] = (*tiny, f"plugins={named}")
    for given in ("engine=frob", "engine=null", "engine.workers=2"):
        cases[given] = (*tiny, given)
    for command in ("train", "plan", "verify", "analyze", "sync", "reproduce", "data"):
        for flag in ("--frob", "-q", "--frob=1", f"--{ESCAPE}"):
            cases[f"{command} {flag!r}"] = (command, "x", flag)
    for what, path in paths().items():
        quoted = '"' + path.replace('"', '\\"') + '"'
        cases[f"train on a path: {what}"] = (*tiny, *TABLE, f"dataset.path={quoted}")
        cases[f"describe a path: {what}"] = (*of_table, f"path={quoted}", "target=y")
        if path:
            cases[f"analyze a path: {what}"] = ("analyze", path)
            cases[f"sync a path: {what}"] = ("sync", path)
            cases[f"start from a path: {what}"] = (*tiny, f"init.params={quoted}")
            cases[f"experiments at a path: {what}"] = ("reproduce", "all", "--experiments", path)
    for command in ("analyze", "sync"):
        cases[f"{command} a damaged store"] = (command, "damaged")
    for name in ("no", "blue", ESCAPE, HUGE):
        for key in ("target", "group", "time", "positive"):
            cases[f"{key} {name[:9]!r}"] = (*tiny, *TABLE, f'dataset.{key}="{name}"')
        for key in ("drop", "categorical"):
            cases[f"{key} {name[:9]!r}"] = (*tiny, *TABLE, f'dataset.{key}=["{name}"]')
    return cases


def of_a_sweep() -> dict[str, tuple[str, ...]]:
    """What is asked wrongly of a table, or of the runs and the model in `runs/good`."""
    choose, predict = ("choose", "good.csv", "--target", "y"), ("predict", "runs/good")
    cases: dict[str, tuple[str, ...]] = {
        "choose nothing": ("choose",),
        "choose for no target": ("choose", "good.csv"),
        "choose for no such loss": (*choose, "--losses", "bce,bcee"),
        "choose among no losses": (*choose, "--losses", ","),
        "choose an override of no key": (*choose, "optimizer.lr=1"),
        "choose what is no override": (*choose, "blue"),
        "choose into a file": (*choose, "--output", "good.csv"),
        "predict nothing": ("predict",),
        "predict with no table": predict,
        "predict into no table": (*predict, "good.csv", "-o", "scores.docx"),
        "predict into a folder": (*predict, "good.csv", "-o", "folder.csv"),
        "predict by no such column": (*predict, "good.csv", "--id", "customer"),
        "predict with an override of no key": (*predict, "good.csv", "frob=1"),
        "predict in no encoding": (*predict, "good.csv", "encoding=klingon"),
        "predict without its columns": (*predict, "other.csv"),
        "predict by no model": ("predict", "runs/good/shards", "good.csv"),
        "predict by a program": (*predict, "good.csv", "plugins=[nowhere.py]"),
        "runs alone": ("runs",),
        "runs frob": ("runs", "frob", "runs/good"),
        "list by no such key": ("runs", "list", "runs/good", "--where", "frob = 1"),
        "list by no condition": ("runs", "list", "runs/good", "--where", "loss in ("),
        "list since no date": ("runs", "list", "runs/good", "--since", "tomorrowish"),
        "show no such run": ("runs", "show", "runs/good", "zzzz"),
        "show all": ("runs", "show", "runs/good"),
        "diff of one": ("runs", "diff", "runs/good", "zzzz"),
        "export into no table": ("runs", "export", "runs/good", "-o", "x.docx"),
        "export into a folder": ("runs", "export", "runs/good", "-o", "folder.csv"),
        "remove nothing": ("runs", "rm", "runs/good"),
        "remove no such run": ("runs", "rm", "runs/good", "zzzz", "--yes"),
        "check nothing": ("check",),
        "check a frob": ("check", "frob", "bce"),
        "check no loss": ("check", "loss"),
        "check with no such hyperparameter": ("check", "loss", "focal", "frob=1"),
        "check with no number": ("check", "loss", "focal", "gamma=many"),
        "check what the file lacks": ("check", "loss", "good.py:frob"),
        "check no file of Python": ("check", "loss", "bad.py:frob"),
        "check no package": ("check", "loss", "nowhere.losses:frob"),
        "new alone": ("new",),
        "new frob": ("new", "frob", "mine"),
        "new loss of no name": ("new", "loss"),
        "new loss over a file": ("new", "loss", "good"),
    }
    for name in ("bcee", "a b", "1a", "class", ESCAPE, "x" * 5000, "a/b", "", "a\0b"):
        cases[f"check {name[:9]!r}"] = ("check", "loss", name)
        cases[f"new {name[:9]!r}"] = ("new", "loss", name)
    del cases["new 'bcee'"]  # a name like any other
    for group in ("metric", "model", "optimizer", "sampler", "split"):
        for name in ("", "frob", "good.py:Missing", "good.py:answer", "nowhere.py:X", "bad.py:X"):
            cases[f"check {group} {name!r}"] = ("check", group, name)
    for group in ("metric", "model", "project"):
        for name in ("../x", "class", "json", "harness"):
            cases[f"new {group} {name!r}"] = ("new", group, name)
    for group, name in {
        "loss": "focal",
        "project": "bce",
        "model": "mlp",
        "metric": "auroc",
    }.items():
        cases[f"new {group} of ours"] = ("new", group, name)
    for number in ("many", "nan", "inf", "-1", "true", "", ESCAPE, HUGE):
        for option in ("--cost-fp", "--cost-fn", "--budget"):
            cases[f"choose {option} {number[:9]!r}"] = (*choose, f"{option}={number}")
        cases[f"predict at {number[:9]!r}"] = (*predict, "good.csv", f"--positive-rate={number}")
    for name in ("blue", ESCAPE, HUGE):
        for option in ("--target", "--positive", "--time", "--group", "--drop"):
            cases[f"choose {option} {name[:9]!r}"] = (*choose, option, name)
    for command, given in (
        ("choose", choose), ("predict", (*predict, "good.csv")), ("new", ("new", "loss", "mine")),
        ("runs", ("runs", "list", "runs/good")), ("check", ("check", "loss", "bce")),
    ):  # fmt: skip
        for flag in ("--frob", "-q", "--frob=1", f"--{ESCAPE}"):
            cases[f"{command} {flag!r}"] = (*given, flag)
    for what, path in paths().items():
        cases[f"choose on a path: {what}"] = ("choose", path, "--target", "y")
        cases[f"predict a path: {what}"] = (*predict, path)
        cases[f"a model at a path: {what}"] = ("predict", path, "good.csv")
        for command in ("list", "show", "export"):
            cases[f"{command} a path: {what}"] = ("runs", command, path)
        cases[f"check a path: {what}"] = ("check", "loss", f"{path}:frob")
    files = {
        "predict": ((*predict, "good.csv"), "csv"),
        "export": (("runs", "export", "runs/good"), "parquet"),
        "describe": (("data", "describe", "table", "path=good.csv", "target=y"), "svg"),
    }
    folders = {
        "analyze": ("analyze", "runs/good"), "reproduce": ("reproduce", "numerics"),
        "choose": choose,
    }  # fmt: skip
    for name in ("a\0b", "x" * 5000, "", "good.csv/x"):
        for command, (given, suffix) in files.items():
            cases[f"{command} into {name[:9]!r}"] = (
                *given, "--output", f"{name}.{suffix}" if name else name
            )  # fmt: skip
        for command, given in folders.items():
            if name:
                cases[f"{command} into {name[:9]!r}"] = (*given, "--output", name)
    for command in ("list", "show", "export"):
        cases[f"{command} a damaged store"] = ("runs", command, "damaged")
    cases["a model in a damaged store"] = ("predict", "damaged", "good.csv")
    return cases


PARTS = """
import numpy as np
from flax import nnx
from harness.plugins import model, source

X = np.random.default_rng(0).normal(size=(60, 2))
Y = (X[:, 0] > 0).astype(int)

def made(name, table):
    def function(rows=60):
        if isinstance(table, Exception):
            raise table
        return table
    function.__name__ = function.__qualname__ = name
    globals()[name] = source(function, target="y")

GIVES = {
    "none": None, "number": 3, "text": "a,b", "nothing": {}, "no_rows": {"a": [], "y": []},
    "no_target": {"a": X[:, 0]}, "one_class": {"a": X[:, 0], "y": 0 * Y},
    "ragged": {"a": X[:5, 0], "y": Y}, "three": (X, Y, Y), "triple": X[:, 0],
    "nan_labels": {"a": X[:, 0], "y": np.where(Y, 1.0, np.nan)},
    "objects": {"a": [object()] * 60, "y": Y},
    "endless": (x for x in iter(int, 1)), "raises": ValueError("red\\x1b[31m\\nline"),
    "no_message": KeyError(), "no_memory": MemoryError(),
    "infinite": {"a": np.full(60, np.inf), "y": Y},
    "coded": {"image": np.full((60, 2, 2), np.nan), "y": Y},
    "ids": {"text": np.full((60, 3), -1), "y": Y},
    "large_ids": {"text": np.full((60, 3), 2**24), "y": Y},
    "lists": {"image": [[1.0] * (1 + i % 2) for i in range(60)], "y": Y},
}
for name, table in GIVES.items():
    made(name, table)
made("good", {"a": X[:, 0], "y": Y})

@source
def stops(rows=60):
    raise SystemExit(3)

class Vision(nnx.Module):
    def __init__(self, inputs, *, rngs):
        self.dense = nnx.Linear(inputs.shapes["image"][-1], 2, rngs=rngs)
    def __call__(self, image):
        return self.dense(image).mean((1, 2))
model(Vision)
"""
# Each in a file of its own: one that is plugged in is checked, whatever a run names.
CALIBRATOR = """
import numpy as np
from harness.plugins import calibrator

@calibrator
class {name}:
    def fit(self, logits, labels):
        self.a_ = {fitted}
    def predict(self, logits):
        return {given}
"""
CALIBRATORS = {
    "no_numbers": ("1", "np.full(len(logits), np.nan)"), "beyond": ("1", "2 + logits"),
    "fewer": ("1", "np.linspace(0, 1, len(logits) - 1)"), "nothing": ("1", "None"),
    "texts": ("1", "['a'] * len(logits)"), "falling": ("1", "1 / (1 + np.exp(logits))"),
    "failing": ("1 / 0", "0 * logits"), "not_kept": ("'text'", "0 * logits"),
}  # fmt: skip
SCHEDULE = """
import numpy as np
from harness.plugins import schedule

@schedule
def {name}(peak, num_steps):
    return {given}
"""
SCHEDULES = {
    "of_steps": "lambda step: np.ones(3)", "of_text": "'fast'", "of_nan": "lambda step: np.nan",
    "dividing": "lambda step: 1 / 0", "negative": "lambda step: -peak",
}  # fmt: skip
GIVEN = (
    "none", "number", "text", "nothing", "no_rows", "no_target", "one_class", "ragged", "three",
    "triple", "nan_labels", "objects", "endless", "raises", "no_message", "no_memory", "infinite",
    "coded", "ids", "large_ids", "lists", "stops",
)  # fmt: skip


def folder_of_parts(place: Path) -> None:
    """Writes parts that fail in each way, tables of weights, and tables of overrides."""
    (place / "mistaken_parts.py").write_text(PARTS)
    for name, (fitted, given) in CALIBRATORS.items():
        text = CALIBRATOR.format(name=name, fitted=fitted, given=given)
        (place / f"calibrating_{name}.py").write_text(text)
    for name, given in SCHEDULES.items():
        (place / f"schedule_{name}.py").write_text(SCHEDULE.format(name=name, given=given))
    rows = "".join(f"{i},{i % 2},{-i},{1 if i else 'x'},,nan,inf,0\n" for i in range(40))
    (place / "weights.csv").write_text(f"a,y,falling,word,none,nan,infinite,zero\n{rows}")
    for name, text in {
        "header": "loss\n", "blank": "\n\n", "twice": "loss,loss\nbce,focal\n",
        "unnamed": "loss,\nbce,1\n",
        "short": "loss,seed\nbce\n", "key": "los\nbce\n", "value": "loss\nbcee\n",
        "several": 'loss\n"bce,focal"\n', "type": "seed\nmany\n", "quotes": 'loss\n"bce\n',
        "zip": "zip(seed=1)\n3\n", "escape": f"loss\n{ESCAPE}\n",
        "own": "overrides_from\nkey.csv\n",
        "plain": "loss\nbce\n",
    }.items():  # fmt: skip
        (place / f"jobs-{name}.csv").write_text(text)


def of_parts() -> dict[str, tuple[str, ...]]:
    """Sources, calibrators, schedules and networks of one's own that are none."""
    own = "plugins=[mistaken_parts.py]"
    cases: dict[str, tuple[str, ...]] = {}
    for name in GIVEN:
        cases[f"source {name}"] = ("train", *TINY, own, f"dataset={name}")
        cases[f"describe {name}"] = ("data", "describe", f"mistaken_parts.py:{name}", own)
    train = ("train", *TINY, own, "dataset=good")
    for name in CALIBRATORS:
        given = (f"plugins=[mistaken_parts.py,calibrating_{name}.py]", "dataset=good")
        given += (f"evaluation.calibrators=[{name}]", "training.save_model=true")
        cases[f"calibrator {name}"] = ("train", *TINY, *given)
    for name in SCHEDULES:
        cases[f"schedule {name}"] = ("train", *TINY, f"schedule=schedule_{name}.py:{name}")
    cases |= {
        "an image where there is none": ("train", *TINY[1:], own, "dataset=good", "model=Vision"),
        "images of a table file": ("train", *TINY[1:], own, *TABLE, "model=Vision"),
        "a key of no source": (*train, "dataset.rowz=1"),
        "a setting of no type": (*train, "dataset.rows=many"),
        "generated of no type": (*train, "dataset.generated=maybe"),
        "no calibrator": ("train", *TINY, "evaluation.calibrators=[Frob]"),
        "a calibrator that is not fitted": (
            "train", *TINY, own, "evaluation.calibrators=[platt]", "evaluation.calibrator=beta"
        ),
        "list of no module": ("data", "list", "plugins=[nowhere.py]"),
        "new experiment of no name": ("new", "experiment", "../x"),
    }  # fmt: skip
    for group in ("source", "schedule", "calibrator", "measure", "experiment"):
        for name in ("", "class", "1a", "a/b", ESCAPE, "x" * 5000):
            cases[f"new {group} {name[:9]!r}"] = ("new", group, name)
        if group not in ("measure", "experiment"):
            for name in (
                "",
                "frob",
                "good.py:Missing",
                "good.py:answer",
                "nowhere.py:X",
                "bad.py:X",
            ):
                cases[f"check {group} {name!r}"] = ("check", group, name)
    for group, name in {
        "source": "pima", "schedule": "constant", "calibrator": "platt", "measure": "formula",
    }.items():  # fmt: skip
        cases[f"new {group} of ours"] = ("new", group, name)
    return cases


def of_weights() -> dict[str, tuple[str, ...]]:
    """Columns that are no weights, and what counts rows."""
    table = (
        "dataset=table",
        "dataset.path=weights.csv",
        "dataset.target=y",
        'dataset.drop=["word","infinite"]',
    )
    cases = {
        f"weight {name}": ("train", *TINY, *table, f'dataset.weight="{name}"')
        for name in ("y", "falling", "word", "none", "nan", "infinite", "zero", "blue", ESCAPE)
    }
    good = ("train", *TINY, *table, "dataset.weight=a")
    cases |= {
        "weight and group": (*good, "dataset.group=a"),
        "weight and time": (*good, "dataset.time=a"),
        "weights and a sampler": (*good, "sampler=smote"),
        "weights and a positive rate": (*good, "imbalance.positive_rate=0.1"),
        "weights and smooth AP": (*good, "loss=smooth_ap"),
        "weights of a named data set": ("train", *TINY, "dataset.weight=a"),
        "weights of two columns": (*good[:-1], "dataset.weight=[a,y]"),
        "describe by no weight": (
            "data", "describe", "table", "path=weights.csv", "target=y", "weight=falling"
        ),
    }  # fmt: skip
    return cases


def of_zips() -> dict[str, tuple[str, ...]]:
    """Keys that cannot vary together, and tables of overrides that are none."""
    zips = (
        "zip(loss=bce,focal; seed=1,2,3)", "zip(loss=bce,focal", "zip()", "zip(loss)", "zip(loss=)",
        "zip(;)", "zip(loss=bce,focal; loss=bce,focal)", "zip(los=bce,focal; seed=1,2)",
        "zip(loss=bce,bcee; seed=1,2)", "zip(seed=range(2); split.seed=range(1,0))",
        "zip(seed=interval(0,1); split.seed=1,2)", "zip(loss=glob(*); seed=1,2)",
        "zip(seed=range(0,1,0); split.seed=1)", "zip=1", f"zip({ESCAPE}=1,2; seed=1,2)",
        "zip(zip(seed=1,2); split.seed=1,2)", "zip(seed=range(100000000))", "zip(seed=1,2;)",
        "zip(seed=many,1; split.seed=1,2)", "zip(loss=bce,focal) seed=1", "zip(seed='1,2)",
        "zip(seed=1,2; split.seed=)",
        "seed=tag(zip1,1,2)", "seed=tag(zip1,choice(1,2)) split.seed=tag(zip1,choice(1,2,3))",
    )  # fmt: skip
    cases = {
        f"{command} {text}": (command, "-m", *TINY, *([text] if "zip(" in text else text.split()))
        for text in zips
        for command in ("train", "plan", "verify")
    }
    tables = (
        "header", "blank", "twice", "unnamed", "short", "key", "value", "several", "type", "quotes",
        "zip", "escape", "own",
    )  # fmt: skip
    for name in tables:
        cases[f"overrides from {name}"] = ("train", "-m", *TINY, f"overrides_from=jobs-{name}.csv")
    for what, path in paths().items():
        cases[f"overrides from a path: {what}"] = ("plan", "-m", *TINY, f"overrides_from={path}")
    plain = "overrides_from=jobs-plain.csv"
    cases |= {
        "a zip of one run": ("train", *TINY, "zip(seed=1,2; split.seed=1,2)"),
        "a table of one run": ("train", *TINY, plain),
        "a key beside its table": ("train", "-m", *TINY, plain, "loss=focal"),
        "one table twice": ("train", "-m", *TINY, plain, plain),
        "a search of a table": ("train", "-m", *TINY, "hydra/sweeper=optuna", plain),
        "tables as a list": ("train", "-m", *TINY, "overrides_from=[a.csv,b.csv]"),
        "a table as a key of a file": ("train", *TINY, "+overrides_from=jobs-plain.csv"),
    }
    return cases


def complaint(code: int, out: str, err: str, seconds: float) -> str:
    """What is wrong with an answer to a wrong input; empty where nothing is."""
    # What is said of a table that could be read is no error.
    lines = [line for line in err.splitlines() if not line.startswith(OF_TABLES)]
    if code != 2:
        return f"ends with {code}, says {(out + err)[-200:]!r}"
    if len(lines) != 1 or not lines[0].startswith("error: "):
        return f"says {len(lines)} lines: {err[:300]!r}"
    if len(lines[0]) > LONGEST + len("error: ") or not lines[0].isprintable():
        return f"is no short line: {lines[0][:500]!r}"
    return f"takes {seconds:.0f} s" if seconds > SECONDS else ""


@pytest.mark.slow
def test_bad_inputs_are_one_line_each(harness, tmp_path, monkeypatch):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    folder_of_mistakes(tmp_path)
    good = ("name=good", "training.save_model=true")
    assert harness("train", *TINY, *TABLE, *good).code == 0
    cases = generated() | by_hand() | of_a_sweep()
    assert len(cases) > 600
    check_each(cases, harness, tmp_path)


@pytest.mark.slow
@pytest.mark.usefixtures("nothing_stays")
def test_bad_parts_weights_and_zips_are_one_line_each(harness, tmp_path, monkeypatch):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    folder_of_mistakes(tmp_path)
    folder_of_parts(tmp_path)
    check_each(of_parts() | of_weights() | of_zips(), harness, tmp_path)


def check_each(cases, harness, tmp_path):
    """Runs them all, then fails where one is answered otherwise than by one line."""
    there = set(tmp_path.rglob("*"))
    complaints = {}
    for name, arguments in cases.items():
        for kind in ("schedule", "calibrator"):
            plugins._PLUGGED[kind].clear()
        begun = time.process_time()
        try:
            said = harness(*arguments)
        except Exception as error:
            complaints[name] = f"raises {error!r}"
            continue
        found = complaint(said.code, said.out, said.err, time.process_time() - begun)
        left = sorted(str(path.relative_to(tmp_path)) for path in {*tmp_path.rglob("*")} - there)
        there |= {*tmp_path.rglob("*")}
        left = [path for path in left if "__pycache__" not in path]
        if found or left:
            complaints[name] = f"{found} leaves {left}" if left else found
    assert not complaints, "\n".join(f"{name}: {text}" for name, text in complaints.items())


SLOW = ("a model beyond memory", "a batch order beyond memory", "a name that is too long")


@pytest.mark.parametrize("case", [
    "more than memory", "analyze a damaged store",
    *(pytest.param(case, marks=pytest.mark.slow) for case in SLOW),
])  # fmt: skip
def test_some_as_a_process(case, tmp_path):
    folder_of_mistakes(tmp_path)
    there = set(tmp_path.rglob("*"))
    begun = _children_time()
    process = subprocess.run(
        [sys.executable, "-c", "from harness.cli import main; main()", *by_hand()[case]],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
    )
    seconds = _children_time() - begun
    assert not complaint(process.returncode, process.stdout, process.stderr, seconds)
    assert {*tmp_path.rglob("*")} == there


def _children_time() -> float:
    times = os.times()
    return times.children_user + times.children_system
