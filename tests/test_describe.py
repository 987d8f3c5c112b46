"""The description: repeats and leaks that were put there, and nothing where there are none."""

from io import StringIO
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from rich.console import Console
from sklearn.metrics import roc_auc_score

from harness.cli.data_command import data
from harness.data.describe import (
    describe,
    findings,
    level_auroc,
    number_auroc,
    page,
    render,
    repeats,
    row_ids,
)
from harness.data.splits import stratified_split
from harness.data.table import Table
from harness.errors import UserError


@pytest.fixture
def loans(tmp_path) -> Path:
    """3,000 rows of several types, 120 of them once more; `leak` tells the target."""
    rng = np.random.default_rng(1)
    size = 3000
    labels = rng.random(size) < 0.08
    frame = pl.DataFrame(
        {
            "id": [f"c{row:05}" for row in range(size)],
            "<script>alert(1)</script>": rng.normal(40, 12, size),
            "income": pl.Series(rng.normal(10, 1, size)).set(
                pl.Series(rng.random(size) < 0.15), None
            ),
            "[red]colour": rng.choice(["red", "</pre><b>"], size, p=[0.75, 0.25]),
            "since": pl.Series(rng.integers(10_000, 17_000, size).astype(np.int32)).cast(pl.Date),
            "leak": labels + rng.normal(0, 0.1, size),
            "default": np.where(labels, "yes", "no"),
        }
    )
    path = tmp_path / "loans.csv"
    pl.concat([frame, frame.head(120)]).write_csv(path)
    return path


def test_rows_have_the_ids_numpy_gives_them():
    rng = np.random.default_rng(0)
    features = rng.integers(0, 3, (500, 4)).astype(np.float32)
    features[rng.random(features.shape) < 0.2] = np.nan
    features[rng.random(features.shape) < 0.2] *= -1  # -0 is 0
    ids = row_ids(features)
    plain = np.where(np.isnan(features), 99, features + np.float32(0))
    _, expected = np.unique(plain, axis=0, return_inverse=True)
    np.testing.assert_array_equal(ids[:, None] == ids, expected[:, None] == expected)


def test_rows_of_equal_hash_are_still_compared(monkeypatch):
    monkeypatch.setattr(
        "harness.data.describe._hashes", lambda block: np.zeros(len(block), np.uint64)
    )
    features = np.array([[1, 2], [1, 2], [3, 4]], np.float32)
    first, second, third = row_ids(features)
    assert first == second != third


def test_repeats_are_counted():
    rng = np.random.default_rng(0)
    features = rng.standard_normal((200, 3)).astype(np.float32)
    labels = (np.arange(200) % 4 == 0).astype(np.int8)
    assert repeats(features, labels) == repeats(features.copy(), labels)
    assert (repeats(features, labels).duplicates, repeats(features, labels).leaked) == (0, 0)
    split = stratified_split(labels=labels, validation=0.2, test=0.2, seed=0)
    negatives = [rows[labels[rows] == 0] for rows in (split.train, split.test)]
    positive = split.train[labels[split.train] == 1][0]
    features[negatives[1][:5]] = features[negatives[0][:5]]
    features[positive] = features[negatives[0][10]]
    found = repeats(features, labels)
    assert (found.duplicates, found.contradictory, found.leaked) == (6, 2, 5)
    assert found.num_test == 40


def test_a_set_too_small_to_split_says_nothing_of_it():
    features = np.array([[0, 1], [0, 1], [2, 2]], np.float32)
    found = repeats(features, np.array([0, 1, 0], np.int8))
    assert (found.duplicates, found.contradictory, found.leaked) == (1, 2, None)


def test_auroc_of_a_column_is_scikit_learns():
    rng = np.random.default_rng(0)
    labels = (rng.random(400) < 0.3).astype(np.int8)
    values = (rng.integers(0, 9, 400) - 2 * labels).astype(np.float32)
    expected = roc_auc_score(labels, -values)
    assert number_auroc(values, labels) == pytest.approx(expected, abs=1e-12)
    codes = rng.integers(0, 5, 400)
    shares = np.array([labels[codes == code].mean() for code in range(5)])
    assert level_auroc(codes, labels) == pytest.approx(roc_auc_score(labels, shares[codes]))


def test_missing_values_that_tell_the_label_are_a_leak():
    labels = np.array([0, 1] * 20, np.int8)
    values = np.where(labels == 1, np.nan, np.arange(40)).astype(np.float32)
    assert number_auroc(values, labels) == 1
    assert number_auroc(np.full(40, np.nan, np.float32), labels) == 0.5


def test_description_of_a_table(loans):
    description = describe(Table(path=str(loans), target="default").load())
    assert [column.name for column in description.suspects] == ["leak"]
    assert description.duplicate_rows == 120 and description.repeats.contradictory == 0
    assert [column.name for column in description.left_out] == ["id"]
    columns = {column.name: column for column in description.columns}
    frame = pl.read_csv(loans, try_parse_dates=True)
    income = frame["income"]
    assert columns["income"].missing == income.null_count() == description.missing
    assert columns["income"].mean == pytest.approx(income.mean())
    colours = dict(columns["[red]colour"].levels)
    assert colours["red"] == pytest.approx((frame["[red]colour"] == "red").mean())
    assert sum(colours.values()) == pytest.approx(1)
    since = columns["since"]
    assert since.kind == "date"
    assert since.min == (frame["since"].min() - frame["since"].min().replace(1970, 1, 1)).days
    lines = findings(description)
    assert len(lines) == 3 and "'leak'" in lines[0] and "test rows" in lines[1]


def test_clean_data_has_no_findings():
    from harness.data.synthetic import TwoGaussians

    config = TwoGaussians(rows=500, num_features=2, distance=1.0, positive_rate=0.3, seed=0)
    assert findings(describe(config.load())) == []


def test_codes_are_described_as_levels(loans):
    config = Table(path=str(loans), target="default", encode="embed", drop=("leak",))
    description = describe(config.load())
    assert description.columns[-1].kind == "code" and description.columns[-1].max == 2
    one_hot = describe(Table(path=str(loans), target="default").load())
    colour = next(c for c in one_hot.columns if c.name == "[red]colour")
    assert description.columns[-1].auroc == pytest.approx(colour.auroc)


@pytest.mark.parametrize(("extension", "start"), [
    (".svg", b"<svg"), (".png", b"\x89PNG"), (".html", b"<!doctype html>"),
])  # fmt: skip
def test_pictures_are_written_and_run_nothing(loans, tmp_path, extension, start, capsys):
    output = tmp_path / "new" / f"picture{extension}"
    data(["describe", "table", f"path={loans}", "target=default", "--output", str(output)])
    content = output.read_bytes()
    assert content.startswith(start) and len(content) > 5000
    assert b"<script" not in content and b"</pre><b>" not in content
    shown = capsys.readouterr().out.replace("\n", " ")
    assert "[red]colour" in shown and "'leak' alone tells the classes" in shown


def test_a_picture_of_no_such_kind_is_refused(loans, tmp_path):
    from harness.data.picture import write_picture

    dataset = Table(path=str(loans), target="default").load()
    with pytest.raises(UserError, match=r"\.gif: the extension must be one of \.svg"):
        write_picture(tmp_path / "a.gif", dataset, describe(dataset))
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        write_picture(tmp_path / "file" / "a.svg", dataset, describe(dataset))


def test_names_are_text_wherever_they_are_shown(loans):
    description = describe(Table(path=str(loans), target="default").load())
    console = Console(width=160, record=True, file=StringIO())
    console.print(render(description))
    assert "<script>alert(1)</script>" in console.export_text()
    html = page(description, b"<svg/>")
    assert "&lt;script&gt;" in html and "<script" not in html
