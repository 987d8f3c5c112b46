"""`harness predict`."""

from dataclasses import replace
from pathlib import Path

from harness import devices
from harness.cli.terminal import Parser


def predict(arguments: list[str]) -> None:
    """`harness predict MODEL FILE [key=value ...]`: scores the rows of a table.

    Each gets a probability, a decision, and where it has none the reason. Columns are found by
    name, in any order. FILE is read as the model's own table was; `header`, `delimiter`, `decimal`,
    `encoding`, `missing` and `date_format` say where it is written in another way. A model of a
    plug-in's loss or network takes that too: plugins=[my_losses.py], or as it was trained,
    model=my_nets.py:Net; what the model itself names loads nothing.
    """
    parser = Parser(prog="harness predict", description=predict.__doc__)
    where = "a model's folder, that of `harness choose`, or a sweep's that kept its models"
    parser.add_argument("model", metavar="MODEL", help=where)
    parser.add_argument(
        "file", metavar="FILE", help="a table: .csv, .tsv, .parquet, .arrow or .npz"
    )
    otherwise = "how FILE is written, such as encoding=latin-1; plugins=[...], model=FILE:NAME"
    parser.add_argument("overrides", nargs="*", default=[], metavar="key=value", help=otherwise)
    place = "a .csv or .parquet file; by default FILE's name with .scores.csv, beside it"
    parser.add_argument("-o", "--output", type=Path, help=place)
    parser.add_argument(
        "--id", metavar="COLUMN", help="a column of FILE to stand beside the scores"
    )
    shift = "the share of positives among these rows, where it is known to be another"
    parser.add_argument("--positive-rate", type=float, metavar="RATE", help=shift)
    given = parser.parse_intermixed_args(arguments)

    devices.configure()  # before anything imports jax
    from harness.overrides.checking import read_value
    from harness.overrides.plugging import without_plugins
    from harness.predict.finding import model_at
    from harness.predict.scoring import score_file

    written = without_plugins(given.overrides)
    model, chosen = model_at(given.model)
    print(chosen)
    if written:
        changes = dict(read_value(text) for text in written)
        reading = model.description.reading.but(changes)
        model = replace(model, description=replace(model.description, reading=reading))
    table = Path(given.file).expanduser()
    output = given.output or table.parent / f"{table.stem}.scores.csv"
    summary, columns = score_file(
        model, given.file, output=output, id_column=given.id, positive_rate=given.positive_rate
    )
    for line in (*columns, *summary.lines(), f"{summary.rows:,} rows: {output}"):
        print(line)
