"""Sweeps whose keys vary together: `zip(...)` and the rows of a table of overrides."""

import shlex

import pytest

from harness.analyze.report import rerun_command
from harness.errors import UserError
from harness.overrides.checking import check_overrides
from harness.overrides.expanding import UNSET
from harness.overrides.jobs import jobs_of
from harness.overrides.zipping import unzipped
from tests.conftest import TINY


def settings(overrides, *keys):
    """Of each job, what ``keys`` are set to."""
    return [
        tuple(
            next((o.partition("=")[2] for o in job if o.startswith(f"{key}=")), None)
            for key in keys
        )
        for job in jobs_of(overrides).overrides
    ]


def test_keys_of_a_zip_vary_together_and_multiply_with_others():
    given = ["zip(loss=bce,focal; optimizer.learning_rate=.01,.03)", "seed=range(2)"]
    found = settings(given, "loss", "optimizer.learning_rate", "seed")
    assert found == [
        ("bce", "0.01", "0"), ("bce", "0.01", "1"), ("focal", "0.03", "0"), ("focal", "0.03", "1"),
    ]  # fmt: skip
    # What varies fastest is last, as of keys that are swept by themselves.
    assert settings(["seed=0,1", *given[:1]], "seed", "loss") == [
        ("0", "bce"), ("0", "focal"), ("1", "bce"), ("1", "focal"),
    ]  # fmt: skip


def test_two_zips_are_two_axes_and_values_of_all_kinds_are_zipped():
    found = settings(
        ["zip(seed=range(2); split.seed=7,8)", "zip(wandb.tags=[a],[b,c]; name='a;b',c)"],
        "seed", "split.seed", "wandb.tags", "name",
    )  # fmt: skip
    assert len(found) == 4 and found[1] == ("0", "7", "[b,c]", "c") and found[2][2] == "[a]"
    assert found[2][3].strip('"') == "a;b"


def test_null_is_a_value_and_a_quoted_one_is_a_text(tmp_path):
    found = settings(["zip(split.seed=null,7; name='null',b; seed=1,2)"], "split.seed", "name")
    assert [seed for seed, _ in found] == ["null", "7"] and found[0][1] in ("'null'", '"null"')
    table = tmp_path / "jobs.csv"
    table.write_text("split.seed,seed\nnull,1\n7,2\n")
    rows = jobs_of([f"overrides_from={table}"]).configs
    assert [job["split"]["seed"] for job in rows] == [None, 7]


def test_each_row_of_a_table_is_a_job_and_an_empty_cell_leaves_its_key(tmp_path):
    table = tmp_path / "jobs.csv"
    table.write_text('loss,loss.gamma,wandb.tags,name\nfocal,3,"[b,c]",a b\nbce,,,\n\n')
    jobs = jobs_of([f"overrides_from={table}", "seed=0,1"])
    assert [job["seed"] for job in jobs.configs] == [0, 1, 0, 1]
    first, last = jobs.configs[0], jobs.configs[3]
    assert (first["loss"]["gamma"], first["wandb"]["tags"], first["name"]) == (3, ["b", "c"], "a b")
    assert last["loss"] == {"name": "bce"} and last["name"] == "default"
    assert not any(UNSET in text for job in jobs.overrides for text in job)


WRONG = {
    "lengths": ("zip(loss=bce,focal; seed=1,2,3)", "2 values of loss and 3 values of seed"),
    "no bracket": ("zip(loss=bce,focal", "no closing bracket"),
    "no key": ("zip(loss=bce,focal; seed)", "seed is no key=values"),
    "twice": ("zip(seed=1,2; seed=3,4)", "names seed twice"),
    "an interval": ("zip(seed=interval(0,1); split.seed=1,2)", "a zip takes lists and ranges"),
    "a glob": ("zip(loss=glob(*); seed=1,2)", "a zip takes lists and ranges"),
    "no values": ("zip(loss=; seed=1)", "loss has no values"),
    "an open quote": ("zip(seed='1,2)", "is no key=values"),
    "a zip": ("zip(zip(seed=1,2); split.seed=1,2)", "is no key=values"),
    "a typo": ("zip(loss=bce,focal; lr=.1,.2)", "did you mean optimizer.learning_rate?"),
    "a typo of a choice": ("zip(loss=bce,fokal; seed=1,2)", "did you mean focal"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_a_slip_in_a_zip_is_one_line(case):
    text, said = WRONG[case]
    with pytest.raises(UserError) as error:
        jobs_of([text])
    assert said in str(error.value) and "\n" not in str(error.value)


TABLES = {
    "no file": (None, "cannot be read as CSV"),
    "no row": ("seed\n", "has no row below a header"),
    "a short row": ("seed,loss\n1,bce\n2\n", "line 3 has 1 cells, the header 2"),
    "no name": ("seed,\n1,2\n", "column 2 has no key"),
    "a name twice": ("seed,seed\n1,2\n", "column 2 has seed a second time"),
    "no key": ("zip(seed=1)\n3\n", "'zip(seed=1)' in line 1 is no key"),
    "an open quote": ('seed\n"1\n', "cannot be read as CSV (unexpected end of data)"),
    "several values": ('seed\n1\n"1,2"\n', "line 3: seed=1,2 names several values"),
    "a typo": ("optimiser.lr\n1\n2\n", "did you mean optimizer.learning_rate?"),
}


@pytest.mark.parametrize("case", TABLES)
def test_a_slip_in_a_table_names_its_place(case, tmp_path):
    content, said = TABLES[case]
    path = tmp_path / "jobs.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError) as error:
        jobs_of([f"overrides_from={path}"])
    assert said in str(error.value) and "\n" not in str(error.value)


def test_what_varies_together_is_given_once_and_counted_once():
    with pytest.raises(UserError, match="seed is given beside a zip"):
        jobs_of(["zip(loss=bce,focal; seed=1,2)", "seed=3"])
    zipped = unzipped(["zip(loss=bce,focal; seed=1,2)", "split.seed=range(5)"])
    assert check_overrides("train", zipped, multirun=True) == 10
    # A million of each: multiplied, they would be too many.
    many = unzipped(["zip(seed=range(900000); split.seed=range(900000))"])
    assert check_overrides("train", many, multirun=True) == 900_000
    with pytest.raises(UserError, match=r"hydra/sweeper=optuna.*leave one of them out"):
        check_overrides("train", [*zipped, "hydra/sweeper=optuna"], multirun=True)
    with pytest.raises(UserError, match="add -m"):
        check_overrides("train", zipped, multirun=False)


def test_the_command_line_takes_them_and_goes_on_from_its_own_record(harness, tmp_path):
    (tmp_path / "jobs.csv").write_text("loss,loss.gamma\nfocal,3\nbce,\n")
    given = ("overrides_from=jobs.csv", "zip(seed=0,1; split.seed=5,6)")
    said = harness("train", "-m", *TINY, *given)
    assert said.code == 0 and said.out.startswith("4 trained"), said.err
    # What it is recorded by needs the table no more.
    (tmp_path / "jobs.csv").unlink()
    _, _, _, *again = shlex.split(rerun_command(tmp_path / "runs" / "default"))
    said = harness("plan", "-m", *again)
    assert said.code == 0 and "4 already stored, 0 to train" in said.out, said.out + said.err
