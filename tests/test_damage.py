"""Damage to a store is seen before anything in it is believed, and costs its own shard alone."""

import io
import random
import shutil
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
import yaml
from rich.console import Console

from harness.analyze import Question, analyze, answer, load
from harness.analyze.checked import BESIDE_SCORES, OWN
from harness.analyze.report import rerun_command
from harness.errors import UserError
from harness.record import store
from harness.record.schema import Record
from harness.record.shard import SUMS, TABLES, fault, sums, table_path
from harness.sweep import recorder
from tests.altered import alter, changes
from tests.fabricated import Sweep, fabricate
from tests.logged import records, write_store
from tests.runs import config
from tests.stored import assert_same_runs, stored_tables
from tests.test_resume import train, trained
from tests.test_stored_form import FIRST_FORM


@pytest.mark.parametrize("number", [300, pytest.param(10_000, marks=pytest.mark.slow)])
def test_no_flipped_bit_goes_unnoticed(number: int, tmp_path: Path) -> None:
    write_store(tmp_path, records())
    (shard,) = store.shards(tmp_path).whole
    draw = random.Random(number)
    files = sorted(shard.iterdir())
    assert [path.name for path in files] == sorted([*(f"{name}.parquet" for name in TABLES), SUMS])
    for path in draw.choices(files, [path.stat().st_size for path in files], k=number):
        content = path.read_bytes()
        at, bit = draw.randrange(len(content)), 1 << draw.randrange(8)
        path.write_bytes(content[:at] + bytes([content[at] ^ bit]) + content[at + 1 :])
        assert fault(shard), (path.name, at, bit)
        path.write_bytes(content)
    assert not fault(shard)


def test_every_bit_of_the_sums_counts(tmp_path: Path) -> None:
    write_store(tmp_path, records(1))
    (shard,) = store.shards(tmp_path).whole
    content = (shard / SUMS).read_bytes()
    for at in range(len(content)):
        (shard / SUMS).write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        assert fault(shard)


def test_a_damaged_shard_is_set_aside_and_its_runs_trained_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(recorder, "RUNS_PER_SHARD", 1)
    configs = [config(seed=seed, model={"name": "logistic"}) for seed in range(3)]
    whole = trained(configs, tmp_path)
    folder = tmp_path / "default"
    for harm in ("cut", "flipped", "lost"):
        shard = store.shards(folder).whole[1]
        if harm == "cut":
            (shard / "runs.parquet").write_bytes((shard / "runs.parquet").read_bytes()[:1000])
        elif harm == "flipped":
            content = bytearray((shard / "predictions.parquet").read_bytes())
            content[len(content) // 3] ^= 1
            (shard / "predictions.parquet").write_bytes(content)
        else:
            (shard / "history.parquet").unlink()
        runs = load(folder)
        assert runs.runs.height == 2 and str(shard) in "".join(runs.notes)
        assert len(store.stored(folder)) == 2
        capsys.readouterr()
        assert sorted(one.was_stored for one in train(configs, tmp_path)) == [False, True, True]
        assert f"{shard} is damaged" in capsys.readouterr().err
        assert (folder / store.DAMAGED / shard.name).is_dir() and not shard.exists()
        assert_same_runs(stored_tables(folder), whole)
        assert load(folder).notes == ()


def test_a_shard_that_was_set_aside_before_is_set_aside_again(tmp_path: Path) -> None:
    """A backup put it back: both are kept."""
    for _ in range(3):
        shard = tmp_path / "shards" / "a"
        shard.mkdir(parents=True)
        (shard / SUMS).write_text("nothing")
        store.set_aside(tmp_path)
        assert not shard.exists()
    assert {path.name for path in (tmp_path / store.DAMAGED).iterdir()} == {"a", "a-2", "a-3"}


@pytest.mark.slow
def test_a_launch_reads_what_is_stored_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configs = [config(seed=seed, model={"name": "logistic"}) for seed in range(3)]
    for one in configs[:2]:
        train([one], tmp_path)
    (tmp_path / "default").rename(tmp_path / "moved")  # as another process finds it
    hashed: list[Path] = []

    def seen(shard: Path) -> str:
        hashed.append(shard)
        return sums(shard)

    monkeypatch.setattr("harness.record.shard.sums", seen)
    configs = [replace(one, name="moved") for one in configs]
    assert [one.was_stored for one in train(configs, tmp_path)] == [True, True, False]
    assert len(hashed) == len(set(hashed)) == 2
    assert fault(hashed[0]) == "" and len(hashed) == 3
    path = table_path(hashed[0], "history")
    path.write_bytes(path.read_bytes()[:-1])  # what changes is read again
    assert hashed[0] in store.shards(tmp_path / "moved").damaged


def test_a_shard_has_what_its_form_has(tmp_path: Path) -> None:
    for group in ("metrics", "chosen"):
        write_store(tmp_path / group, records(1))
        (shard,) = store.shards(tmp_path / group).whole
        alter(shard, "runs", lambda runs, group=group: runs.drop(group))  # type: ignore[misc]
        assert fault(shard) == f"runs.parquet has nothing for {group}"
        with pytest.raises(UserError, match="holds no runs"):
            load(tmp_path / group)


def test_what_is_wrong_is_said_in_a_line(tmp_path: Path) -> None:
    write_store(tmp_path, records(1))
    (shard,) = store.shards(tmp_path).whole
    wide = pl.struct(pl.lit(1).alias(f"field {i}") for i in range(300))
    alter(shard, "runs", lambda runs: runs.with_columns(wide.alias("status")))
    assert "runs.parquet has Struct" in fault(shard) and len(fault(shard)) < 200


def test_shards_without_sums_are_read_as_far_as_they_can_be(tmp_path: Path) -> None:
    shutil.copytree(FIRST_FORM, tmp_path / "old")
    one, other = store.shards(tmp_path / "old").whole
    for name in TABLES:
        path = table_path(one, name)
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])
        assert store.shards(tmp_path / "old").whole == (other,)
        path.unlink()
        assert store.shards(tmp_path / "old").whole == (other,)
        path.write_bytes(content)
    assert store.shards(tmp_path / "old").whole == (one, other)


def test_what_may_not_be_read_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be set aside and trained again for a mistake in its permissions."""
    write_store(tmp_path, records(1))

    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path / SUMS))

    monkeypatch.setattr("harness.record.shard.sums", refuse)
    with pytest.raises(UserError, match=r"cannot read .*SHA256SUMS: Permission denied"):
        store.shards(tmp_path)


def altered_stores(place: Path) -> list[tuple[str, str]]:
    """Each change of each table of the store in ``place``, by name."""
    (shard,) = (place / "shards").iterdir()
    frames = {name: pl.read_parquet(table_path(shard, name)) for name in TABLES}
    return [(name, what) for name, frame in frames.items() for what, _ in changes(frame)]


@pytest.mark.parametrize("step", [89, pytest.param(3, marks=pytest.mark.slow)])
def test_an_altered_store_is_analyzed_or_refused_in_one_line(step: int, tmp_path: Path) -> None:
    sweep = Sweep(seeds=(0, 1), num_rows=60, num_epochs=2)
    base = fabricate(tmp_path / "base", sweep, num_shards=1)
    for table, what in altered_stores(base)[::step]:
        place = tmp_path / "altered"
        shutil.copytree(base, place)
        (shard,) = (place / "shards").iterdir()
        change = dict(changes(pl.read_parquet(table_path(shard, table))))[what]
        alter(shard, table, change)
        try:
            analyze(place, output=tmp_path / "out", console=Console(file=io.StringIO()))
        except UserError as error:
            assert "\n" not in str(error)
        except BaseException as error:
            raise AssertionError(f"{table}: {what}") from error
        shutil.rmtree(place)


HOSTILE = "a\x1b]0;owned\x07\x00\x9b2J\u202egnol"


@pytest.mark.slow
def test_names_with_hidden_characters_are_shown_as_they_are(tmp_path: Path) -> None:
    """They would move the cursor of a terminal, and end the process that draws the charts."""
    sweep = Sweep({"bce": 0, HOSTILE: 0}, datasets=(HOSTILE,), seeds=(0, 1), num_rows=60)
    folder = fabricate(tmp_path / "sweep", sweep)
    store.write_findings(folder, load(folder).runs["data_fingerprint"][0], [f"found {HOSTILE}"])
    recorded = {"hydra": {"overrides": {"task": [f"loss={HOSTILE}"]}}}
    (folder / "multirun.yaml").write_text(yaml.safe_dump(recorded))
    console = Console(file=io.StringIO(), width=200)
    report = analyze(tmp_path / "sweep", output=tmp_path / "out", console=console, images="svg")
    texts = [path.read_text() for path in (tmp_path / "out").rglob("*") if path.is_file()]
    texts.append(console.file.getvalue())  # type: ignore[attr-defined]
    page = report.read_text()
    assert "found a\\x1b]0;owned" in page and "loss=a\\x1b]0;owned" in page and len(texts) > 5
    for text in texts:
        assert not set("\x1b\x07\x00\x9b\u202e") & set(text)


def test_columns_that_an_analysis_adds_are_not_taken_from_a_log(tmp_path: Path) -> None:
    sweep = Sweep(seeds=(0, 1), num_rows=60, num_epochs=2)
    folder = fabricate(tmp_path / "s", sweep, num_shards=1)
    analysis = answer(load(folder), Question())
    added = {*analysis.chosen.columns, *analysis.labelled.columns} - {*load(folder).runs.columns}
    assert added <= OWN
    (shard,) = (folder / "shards").iterdir()
    names = [pl.lit(1).alias(name) for name in sorted(OWN - {"dataset", "shard"})]
    theirs = pl.col("config").struct.with_fields(*names)
    alter(shard, "runs", lambda table: table.with_columns(theirs))
    assert "cannot be used" in " ".join(load(folder).notes)
    assert answer(load(folder), Question()).board.equals(analysis.board)


@pytest.mark.slow
def test_scores_are_not_called_as_the_columns_of_a_leaderboard(tmp_path: Path) -> None:
    def named(record: Record) -> Record:
        theirs = {f"test/{name}": 0.5 for name in (*OWN, *BESIDE_SCORES, "num")}
        return replace(record, metrics={**record.metrics, **theirs})

    sweep = Sweep(seeds=(0, 1), num_rows=60, num_epochs=2)
    analysis = answer(load(fabricate(tmp_path / "s", sweep)), Question())
    scores = {f"{m}{end}" for m in analysis.compared for end in ("", "_low", "_high", "_seeds")}
    assert {*analysis.board.columns} - scores <= OWN | BESIDE_SCORES
    theirs = fabricate(tmp_path / "theirs", sweep, changed=named)
    analyze(theirs, console=Console(file=io.StringIO()))
    assert answer(load(theirs), Question()).board.equals(analysis.board)


def test_aliases_in_the_record_of_a_sweep_are_not_followed(tmp_path: Path) -> None:
    """A few lines of them are more text than fits a memory."""
    nested = "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 40))
    for task in ("*a39", "[*a39]", "[" * 5_000):
        text = f"a0: &a0 [x]\n{nested}hydra:\n  overrides:\n    task: {task}\n"
        (tmp_path / "multirun.yaml").write_text(text)
        assert rerun_command(tmp_path) == ""
    (tmp_path / "multirun.yaml").write_text("hydra: {overrides: {task: [loss=bce]}}")
    assert rerun_command(tmp_path) == "harness train -m loss=bce"


def test_what_is_no_table_is_damage_whatever_its_sums_say(tmp_path: Path) -> None:
    write_store(tmp_path, records(1))
    write_store(tmp_path, records(2)[1:2])
    one, other = store.shards(tmp_path).whole
    table_path(one, "history").write_bytes(b"PAR1\x1b[2J")
    (one / SUMS).write_text(sums(one))
    assert store.shards(tmp_path).whole == (other,)
    assert "\x1b" not in store.shards(tmp_path).damaged[one]
