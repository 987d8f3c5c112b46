"""Writes `results/NAME/` (verdicts, tables, figures and provenance; it says what moved) and
`results/README.md`, which lists every claim.
"""

import hashlib
import json
import math
import platform
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_args

import altair as alt
import polars as pl

import harness
from harness import devices
from harness.analyze import comparisons
from harness.analyze.charts import PALETTE, definitions
from harness.analyze.drawing import draw, with_data
from harness.analyze.headings import heading
from harness.analyze.keys import resolve, varying
from harness.analyze.report import rank_rows
from harness.files import write_whole
from harness.identity import environment
from harness.reproduce.claims import Experiment, Figure, plain_values, read
from harness.reproduce.judging import Verdict, Word, compared, finding, region
from harness.reproduce.observed import RUNS, Observed, select

WORDS = get_args(Word)
RESTS_ON = {
    "real": "real data",
    "generated": "generated data",
    "identity": "identities (exact)",
    None: "not said (older results)",
}
VERDICTS, PROVENANCE = "verdicts.json", "provenance.json"
DIGITS = 6  # of figures in files: further ones differ between machines
MOST_RUNS, MOST_FINGERPRINTS = 5000, 100  # listed one by one; results are kept in the repository


@dataclass(frozen=True)
class Made:
    """How a reproduction came about."""

    command: str
    size: str  # "quick" or "full"
    seconds: float
    finished: str  # date, in UTC


def write(folder: Path, observed: Observed, verdicts: Sequence[Verdict], made: Made) -> list[str]:
    """Writes all files of one experiment; returns what differs from what lay there before.

    Figures and tables that ``verdicts.json`` lists from before and that it does not have are taken
    away: they are of other runs than its verdicts. Whatever else lies there is somebody's own.
    """
    experiment = observed.experiment
    folder.mkdir(parents=True, exist_ok=True)
    listed = {n: f for n, f in observed.tables.items() if n != RUNS or f.height <= MOST_RUNS}
    pictures = {f"{figure.name}.svg": svg(observed, figure) for figure in experiment.figures}
    tables = {f"{name}.csv": _csv(observed, name, frame) for name, frame in listed.items()}
    table = _as_data(observed, verdicts, made.size, tables)
    before, source = read_json(folder / VERDICTS), read_json(folder / PROVENANCE)
    same_question = all(before.get(key) == table[key] for key in ("size", "definition"))
    moved = _moved(before, table) if same_question else []
    provenance = _provenance(observed, made)
    if moved:
        provenance["moved"] = moved
        provenance["moved_from"] = {k: source.get(k) for k in ("versions", "numerics", "finished")}
    for name, content in (pictures | tables).items():
        write_whole(folder / name, content)
    earlier = {*before.get("figures", []), *before.get("tables", [])} - {*pictures, *tables}
    for path in list(folder.iterdir()):  # names of the folder's own: a list may hold any
        if path.name in earlier:
            path.unlink()
    write_whole(folder / VERDICTS, _json(table))
    write_whole(folder / "README.md", _page(observed, verdicts, provenance).encode())
    write_whole(folder / PROVENANCE, _json(provenance))
    return moved


def _as_data(
    observed: Observed, verdicts: Sequence[Verdict], size: str, tables: Iterable[str]
) -> dict[str, Any]:
    experiment = observed.experiment
    return {
        "experiment": experiment.name,
        "question": experiment.question,
        "size": size,
        "definition": _definition(experiment),
        "alpha": experiment.alpha,
        "claims": [
            {
                "name": verdict.claim.name,
                "says": verdict.claim.says,
                "source": verdict.claim.source or experiment.source,
                "compared": compared(verdict.claim),
                "claimed": region(verdict.claim),
                "test": verdict.claim.test,
                "rests_on": observed.rests_on(verdict.claim),
                "verdict": verdict.word,
                "effect": _rounded(verdict.effect),
                "low": _rounded(verdict.low),
                "high": _rounded(verdict.high),
                "units": verdict.num_units,
                "p_adjusted": _rounded(verdict.p),
                "more_units": verdict.more,
                "more_splits": verdict.more_splits,
                "exploratory": verdict.claim.exploratory,
                "look": verdict.look,
                "finding": finding(verdict),
            }
            for verdict in verdicts
        ],
        "trained": [finding.sentence for finding in observed.trained],
        "figures": [f"{figure.name}.svg" for figure in experiment.figures],
        "tables": sorted(tables),
    }


def _definition(experiment: Experiment) -> str:
    """A hash of all that the experiment asks, to tell moved numbers from another question.

    What is left at its default counts for nothing, so that the schema may grow.
    """
    asked = plain_values(replace(experiment, folder=Path()))
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:12]


def _rounded(value: float | None) -> float | None:
    """Six digits, none of them beyond the twelfth decimal; JSON has no NaN."""
    if value is None or not math.isfinite(value):
        return None
    return float(f"{round(value, 12):.{DIGITS}g}") + 0.0


def _json(values: Mapping[str, Any]) -> bytes:
    return (json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def _moved(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Claims whose verdict or effect is another than before, a sentence each."""
    old = {claim["name"]: claim for claim in before.get("claims", [])}
    sentences = []
    for claim in after["claims"]:
        then = old.get(claim["name"])
        if then is None or then["claimed"] != claim["claimed"]:
            continue
        if then["verdict"] != claim["verdict"]:
            sentences.append(f"{claim['name']}: was {then['verdict']}, is {claim['verdict']}")
        elif then["effect"] != claim["effect"]:
            sentences.append(f"{claim['name']}: effect was {then['effect']}, is {claim['effect']}")
    return sentences


def _provenance(observed: Observed, made: Made) -> dict[str, Any]:
    runs = observed.tables.get(RUNS, pl.DataFrame())
    prints: dict[str, str] = {}
    if "data_fingerprint" in runs.columns:
        pairs = runs.select("dataset.name", "data_fingerprint").unique().sort(pl.all())
        for name, fingerprint in pairs.iter_rows():
            prints[f"{name} {fingerprint[:12]}"] = fingerprint
        if len(prints) > MOST_FINGERPRINTS:
            together = hashlib.sha256("".join(sorted(prints.values())).encode()).hexdigest()
            prints = {f"all {len(prints)} together": together}
    packages = ("jax", "flax", "optax", "numpy", "scipy", "scikit-learn", "polars")
    return {
        "command": made.command,
        "size": made.size,
        "finished": made.finished,
        "seconds": round(made.seconds, 1),
        "runs": runs.height,
        "claims_registered": observed.registered,
        "numerics": environment(),
        "code": _codes(runs),
        "versions": {"harness": harness.__version__, "python": platform.python_version()}
        | {name: version(name) for name in packages},
        "machine": f"{platform.machine()}, {devices.describe()}",
        "data_fingerprints": prints,
    }


def _codes(runs: pl.DataFrame) -> list[str]:
    """The hashes of the code that ``runs`` were computed by, one a family."""
    if "numerics" not in runs.columns:
        return []
    every = runs["numerics"].unique()
    return sorted({numerics.partition(";")[0].removeprefix("code=") for numerics in every})


def _csv(observed: Observed, name: str, frame: pl.DataFrame) -> bytes:
    """All of a computed table; of the runs, what varies and what claims or figures use.

    What follows from a data set's name (source, licence, counts) is left out.
    """
    experiment = observed.experiment
    if name == RUNS:
        used = {side.measure for claim in experiment.claims for side in (claim.of, claim.than)}
        used |= {key for f in experiment.figures for key in (f.x, f.y, f.color, f.facet)}
        used |= set(experiment.measures)
        used |= {k for k in varying(frame, observed.keys) if not _follows_from_name(frame, k)}
        used |= {"sweep", "num_train", "num_test"}
        first = ["run_id", "status"]
        wanted = [c for c in frame.columns if c in used and c not in first]
        # Shards come in any order, with columns of their own: settings, then metrics, by name.
        frame = frame.select(*first, *sorted(wanted, key=lambda c: ("/" in c, c)))
    rounded = pl.col(pl.Float64, pl.Float32).cast(pl.Float64).round_sig_figs(DIGITS)
    lists = pl.col(pl.List(pl.String)).list.join(",")
    frame = frame.with_columns(rounded, lists).select(pl.exclude(pl.List, pl.Struct))
    return frame.write_csv().encode()


def _follows_from_name(frame: pl.DataFrame, column: str) -> bool:
    name = "dataset.name"
    if column == name or not column.startswith("dataset."):
        return False
    return frame.select(name, column).n_unique() == frame[name].n_unique()


def _page(observed: Observed, verdicts: Sequence[Verdict], provenance: Mapping[str, Any]) -> str:
    """The experiment's verdicts for a reader."""
    experiment = observed.experiment
    lines = [f"# {experiment.name}", "", experiment.question, ""]
    lines += ["| claim | verdict | found |", "|---|---|---|"]
    lines += [f"| {v.claim.says} | **{v.word}** | {finding(v)} |" for v in verdicts]
    for said in observed.trained:
        word = "**Not trained:**" if said.is_beyond else "Trained:"
        lines += ["", f"{word} {said.sentence}."]
    for figure in experiment.figures:
        lines += ["", f"![{figure.title}]({figure.name}.svg)"]
    lines += ["", f"Claims registered: {observed.registered}.", ""]
    lines += [f"    {provenance['command']}", ""]
    lines += [
        f"Size {provenance['size']}, {provenance['runs']} runs; the difference claimed is given "
        "with its 95% interval (its range, for exact claims; over data sets the Hodges-Lehmann "
        "estimate). p values are one-sided and Holm's over the tested claims of a family, those of "
        f"exploratory claims Benjamini and Hochberg's; both are decided at {experiment.alpha:g}. "
        f"[What was asked and expected](../../experiments/"
        f"{experiment.name}/README.md), [versions and data]({PROVENANCE}).",
    ]
    return "\n".join(lines) + "\n"


WIDTH, HEIGHT = 420, 260


def svg(observed: Observed, figure: Figure) -> bytes:
    """The picture; the rows of one x and group are averaged, what is not finite left out."""
    at = f"{observed.experiment.name}/{figure.name}"
    table = select(observed.tables, figure.table, figure.where, at=at)
    spec = _ranks(table, figure) if figure.mark == "ranks" else _spec(_rows(table, figure), figure)
    return draw(spec, "svg")


def _rows(table: pl.DataFrame, figure: Figure) -> pl.DataFrame:
    names = {"x": figure.x, "color": figure.color, "facet": figure.facet}
    keys = [pl.col(resolve(c, table.columns)).alias(key) for key, c in names.items() if c]
    rows = table.select(*keys, pl.col(figure.y).cast(pl.Float64).alias("y"))
    if figure.log_y:
        rows = rows.filter(pl.col("y") > 0)
    groups = [key for key, column in names.items() if column]
    finite = rows.filter(pl.col("y").is_finite())
    # Sums are of any order: without their last digits the same runs give the same picture.
    return finite.group_by(groups).agg(pl.col("y").mean().round_sig_figs(12)).sort(groups)


def _ranks(table: pl.DataFrame, figure: Figure) -> dict[str, Any]:
    metric = figure.y.removeprefix("test/")
    scores = pl.col(figure.y).alias(metric)
    board = table.select(
        pl.col("dataset.name").alias("dataset"), pl.col(figure.x).alias("method"), scores
    )
    rows = rank_rows(*comparisons.ranks(board, metric))
    spec = with_data(definitions(figure.x)["ranks"], rows.to_dicts(), {}, compared=figure.x)
    return {**spec, "title": figure.title}


def _named(column: str) -> str:
    """A metric in prose, any other column as it is."""
    return heading(column) if column.startswith(("test/", "validation/")) else column


def _spec(rows: pl.DataFrame, figure: Figure) -> dict[str, Any]:
    is_number = rows["x"].dtype.is_numeric()
    scale = {"type": "log"} if figure.log_x else {"zero": False}
    x: dict[str, Any] = {"field": "x", "title": _named(figure.x), "type": "nominal"}
    if is_number and figure.mark != "bar":
        x |= {"type": "quantitative", "scale": scale}
    y_scale = {"type": "log"} if figure.log_y else {"zero": figure.mark == "bar"}
    encoding: dict[str, Any] = {
        "x": x,
        "y": {"field": "y", "type": "quantitative", "title": _named(figure.y), "scale": y_scale},
    }
    if figure.color:
        palette = {"range": [*PALETTE, "#7a7a7a", "#000000"]}
        encoding["color"] = {
            "field": "color", "type": "nominal", "title": figure.color, "scale": palette
        }  # fmt: skip
    if figure.mark == "bar" and figure.color:
        encoding["xOffset"] = {"field": "color", "type": "nominal"}
    if figure.facet:
        encoding["column"] = {"field": "facet", "type": "nominal", "title": figure.facet}
    return {
        "$schema": alt.SCHEMA_URL,
        "title": figure.title,
        "width": WIDTH // 2 if figure.facet else WIDTH,
        "height": HEIGHT,
        "background": "white",
        "data": {"values": rows.to_dicts()},
        "mark": {"type": figure.mark, "point": figure.mark == "line" and rows.height < 80},
        "encoding": encoding,
    }


def write_index(results: Path, folders: Iterable[Path]) -> Path:
    """Lists the claims of the experiments in ``folders``, with what ``results`` say of them."""
    lines = [
        "# Every claim, and what became of it",
        "",
        "Written by `harness reproduce`; each section is an experiment, and its title leads to its",
        "tables and figures.",
    ]
    asked = [read(folder) for folder in folders]
    known = {one.name: read_json(results / one.name / VERDICTS).get("claims", []) for one in asked}
    lines += ["", *_counts([claim for claims in known.values() for claim in claims])]
    for experiment in asked:
        name = experiment.name
        found = {claim["name"]: claim for claim in known[name]}
        lines += ["", f"## [{name}]({name}/README.md)" if found else f"## {name}", ""]
        lines += [experiment.question, ""]
        for claim in experiment.claims:
            seen = found.get(claim.name)
            says = f"**{seen['verdict']}**: {seen['finding']}" if seen else "**not run yet**"
            lines.append(f"- {claim.says} {says}.")
        if found and experiment.figures:
            figure = experiment.figures[0]
            lines += ["", f"![{figure.title}]({name}/{figure.name}.svg)"]
    results.mkdir(parents=True, exist_ok=True)
    path = results / "README.md"
    write_whole(path, ("\n".join(lines) + "\n").encode())
    return path


def _counts(claims: Sequence[Mapping[str, Any]]) -> list[str]:
    """A table: of how many claims what became, by what they rest on."""
    counted = Counter((claim.get("rests_on"), claim["verdict"]) for claim in claims)
    lines = ["| claims about | " + " | ".join(WORDS) + " | all |", "|---|" + "---|" * 5]
    for kind, title in RESTS_ON.items():
        row = [counted[kind, word] for word in WORDS]
        if kind or any(row):
            lines.append(f"| {title} | " + " | ".join(map(str, [*row, sum(row)])) + " |")
    return lines
