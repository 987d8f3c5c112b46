"""Config keys by their short names, and the filters that name them.

A key is `loss` for `loss.name`, `learning_rate` for `optimizer.learning_rate`. A filter, such as
`--where 'loss in (bce, focal) and positive_rate < .1'`, becomes one of Polars: the words before a
comparison are keys, those after it are values, quoted or not. What is left is handed to Polars' SQL
parser with every name quoted, so that nothing in it can be a function.
"""

import difflib
import re
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import pairwise

import polars as pl

from harness.analyze.runs import Runs
from harness.errors import UserError, cut, first_line, listed, shown
from harness.keys import is_beside

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<string>'(?:[^']|'')*'|"[^"]*")
    | (?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?(?![\w.]))
    | (?P<sign><=|>=|!=|<>|==|=|<|>|\(|\)|,)
    | (?P<word>[^\W\d][\w./@+-]*)
    )""",
    re.VERBOSE,
)
_KEYWORDS = frozenset({"and", "or", "not", "in", "is", "like", "null", "true", "false"})
_BEFORE_A_VALUE = frozenset({"=", "==", "!=", "<>", "<", "<=", ">", ">=", "like", "(", ","})


def keys_of(runs: Runs) -> list[str]:
    """The config keys of these runs that are part of a run: see `harness.keys`."""
    return [key for key in runs.columns.config if not is_beside(key)]


def varying(runs: pl.DataFrame, keys: Sequence[str]) -> list[str]:
    """Those of ``keys`` that have at least two values (null counts as one), sorted."""
    return sorted(key for key in keys if runs[key].n_unique() > 1)


def replicates(keys: Sequence[str]) -> list[str]:
    """The keys that repeat a run without asking another question.

    Splits and data sets declare theirs (`harness.data.streams.Replicate`). Runs may have been
    logged by other versions, with parts that are unknown here: any seed is one.

    >>> replicates(["seed", "split.fold", "dataset.flip_seed", "model.width", "model.seed"])
    ['seed', 'split.fold', 'dataset.flip_seed', 'model.seed']
    """
    return [key for key in keys if key in _declared() or key.endswith("seed")]


@cache
def _declared() -> frozenset[str]:
    # These load scikit-learn, which not every question needs.
    from harness.data import sources, splitters
    from harness.data.streams import replicate_fields

    groups = {"dataset": sources.DATASETS, "split": splitters.SPLITTERS}
    return frozenset(
        f"{group}.{name}"
        for group, choices in groups.items()
        for choice in choices
        for name in replicate_fields(choice)
    )


def as_labels(runs: pl.DataFrame, keys: Sequence[str]) -> pl.DataFrame:
    """Lists and structs among ``keys`` as text, which can be compared, grouped by and shown.

    >>> as_labels(pl.DataFrame({"model.widths": [[64, 32]]}), ["model.widths"]).item()
    '64,32'
    """
    text = []
    for key in keys:
        if isinstance(runs.schema[key], pl.List):
            text.append(pl.col(key).cast(pl.List(pl.String)).list.join(","))
        elif isinstance(runs.schema[key], pl.Struct):
            text.append(pl.col(key).struct.json_encode())
    return runs.with_columns(text)


def resolve(key: str, columns: Sequence[str]) -> str:
    """The column that `key` names: itself, its group's choice, or the only key that ends so.

    Raises:
        UserError: no column or more than one fits.

    >>> resolve("loss", ["loss.name", "loss.gamma"]), resolve("gamma", ["loss.name", "loss.gamma"])
    ('loss.name', 'loss.gamma')
    """
    for exact in (key, f"{key}.name", "imbalance.positive_rate" if key == "positive_rate" else key):
        if exact in columns:
            return exact
    ending = [c for c in columns if c.endswith(f".{key}")]
    if len(ending) == 1:
        return ending[0]
    if ending:
        some = listed(sorted(cut(c) for c in ending), most=4).replace(", ", " or ")
        raise UserError(f"{shown(key)} may mean {some}: give the whole key")
    raise UserError(f"no run has the key {shown(key)}{suggestion(key, columns)}")


def suggestion(key: str, columns: Sequence[str]) -> str:
    """`; did you mean ...?`, or nothing where no name is near.

    >>> suggestion("los", ["loss.name", "seed"])
    '; did you mean loss?'
    """
    short = {c.removesuffix(".name") for c in columns} | {c.rpartition(".")[2] for c in columns}
    near = difflib.get_close_matches(key, sorted(short), n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(map(cut, near))}?" if near else ""


def short_names(columns: Sequence[str]) -> list[str]:
    """Last parts of the names, or all of a name where last parts collide.

    >>> short_names(["sampler.name", "model.width", "loss.width"])
    ['sampler', 'model.width', 'loss.width']
    """
    last = [c.removesuffix(".name").rpartition(".")[2] for c in columns]
    return [s if last.count(s) == 1 else c for s, c in zip(last, columns, strict=True)]


def dataset_name(runs: pl.DataFrame) -> pl.Expr:
    """What a run's data set is called."""
    columns = [c for c in ("dataset.name", "dataset.kind") if c in runs.columns]
    return pl.coalesce(*(pl.col(c).cast(pl.String) for c in columns), pl.lit("data"))


def filtered(runs: pl.DataFrame, where: str) -> pl.DataFrame:
    """The runs for which `where` holds; all of them where it is empty.

    `positive_rate` is the induced one or, where none was induced, that of the training part.

    Raises:
        UserError: an unknown key, a test score, a mistake in the expression, or no run left.
    """
    if not where.strip():
        return runs
    known = runs.with_columns(_positive_rate(runs), dataset_name(runs).alias("dataset"))
    try:
        kept = rows_where(known, where)
    except pl.exceptions.PolarsError as error:
        raise _mistake(where, first_line(error)) from error
    if not kept.height:
        raise UserError(f"--where {shown(where)} leaves none of {runs.height} runs")
    return kept.select(runs.columns)


def rows_where(table: pl.DataFrame, where: str) -> pl.DataFrame:
    """The rows of any table for which `where` holds; all of them where it is empty.

    Raises:
        UserError: an unknown key, a test score or a mistake in the expression.
        polars.exceptions.PolarsError: what the parser found, or values of the wrong type.
    """
    return table.filter(pl.sql_expr(to_sql(where, table.columns))) if where else table


def to_sql(where: str, columns: Sequence[str]) -> str:
    """The expression with keys as quoted columns and values as literals.

    >>> to_sql("loss in (bce, focal) and seed < 3", ["loss.name", "seed"])
    '"loss.name" in ( \\'bce\\' , \\'focal\\' ) and "seed" < 3'
    """
    parts: list[str] = []
    is_key, before = True, ""
    tokens = [*_tokens(where), ("end", "")]
    for (kind, text), (_, after) in pairwise(tokens):
        lower = text.lower()
        if after == "(" and kind != "sign" and lower not in {"in", "and", "or", "not"}:
            raise _mistake(where, f"{text}(...) is not understood; there are no functions")
        if kind == "word" and lower in _KEYWORDS:
            parts.append(lower)
            is_key = is_key if lower == "not" else lower in {"and", "or"}
        elif kind == "sign":
            parts.append("=" if text == "==" else text)
        elif is_key:
            parts.append(_column(text, kind, columns, where))
            is_key = False
        elif before in _BEFORE_A_VALUE:
            parts.append(_literal(text, kind))
        else:
            raise _mistake(where, f"{text} stands where a comparison should")
        before = lower
    if is_key:
        raise _mistake(where, "it ends where a comparison should stand")
    return " ".join(parts)


def _tokens(where: str) -> Iterator[tuple[str, str]]:
    at = 0
    where = where.rstrip()
    while at < len(where):
        match = _TOKEN.match(where, at)
        if match is None:
            raise _mistake(where, f"cannot read {where[at:].strip()[:20]!r}")
        yield match.lastgroup or "", match[match.lastgroup or 0]
        at = match.end()


def _column(key: str, kind: str, columns: Sequence[str], where: str) -> str:
    if kind != "word":
        raise _mistake(where, f"{key} stands where a key should")
    if key.startswith("test/"):
        raise _mistake(where, f"{key} is a test score, by which nothing may be chosen")
    return '"' + resolve(key, columns).replace('"', '""') + '"'


def _literal(text: str, kind: str) -> str:
    """A value as SQL writes it: numbers bare, text in single quotes."""
    if kind == "number" or text[0] == "'":
        return text
    value = text[1:-1] if kind == "string" else text
    return "'" + value.replace("'", "''") + "'"


def _positive_rate(runs: pl.DataFrame) -> pl.Expr:
    own = [pl.col("num_train_positives") / pl.col("num_train")]
    induced = [pl.col("imbalance.positive_rate").cast(pl.Float64)]
    given = induced if "imbalance.positive_rate" in runs.columns else []
    counted = own if {"num_train", "num_train_positives"} <= set(runs.columns) else []
    return pl.coalesce(*given, *counted, pl.lit(None, pl.Float64)).alias("positive_rate")


def _mistake(where: str, reason: str) -> UserError:
    example = "'loss in (bce, focal) and positive_rate < .1'"
    return UserError(f"--where {shown(where)}: {cut(reason, 160)}; write such as {example}")
