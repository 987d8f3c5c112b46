"""The pages of the reference that follow from the code: written at each build, never kept.

Commands come from their own `--help`, config groups from `conf/` and the dataclasses that check
them, losses from their docstrings and, as pictures, from the functions that are trained.
"""

import inspect
import io
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any
from unittest.mock import patch

import altair as alt
import jax
import numpy as np
import polars as pl

from harness import cli
from harness.config.schema import Config, Init, Training, Wandb
from harness.data import sources
from harness.data.named import Catalogue
from harness.files import conf_dir
from harness.identity.families import CHOICES
from harness.losses import LOSSES, POINTWISE, LossFn, StatefulLoss
from harness.record import schema

NEGATIVES, POSITIVES = 900, 100  # the class counts that losses are drawn for
GREY = "#808080"  # is read on light and on dark
INK = {"y = 1": "#2a78d6", "y = 0": "#d1495b"}
_HYDRA = ("train", "plan", "verify")
_PARTS = {"runs": ("list", "show", "diff", "export", "rm"), "data": ("list", "fetch", "describe")}


def write_all(folder: Path) -> None:
    """Writes every page into ``folder``; files that are the same stay as they are."""
    pages = {
        "commands.md": commands(),
        "losses.md": losses(),
        "facts.txt": facts(),
        **{f"conf-{name}.md": page for name, page in configuration().items()},
        **{f"loss-{cls.name}.svg": picture(cls()) for cls in LOSSES},
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages.items():
        path = folder / name
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def fenced(text: str, language: str) -> str:
    return f"```{language}\n{text.rstrip()}\n```\n"


# --- commands ------------------------------------------------------------------------------------


def commands() -> str:
    """Every command's own help."""
    parts = ["# Commands\n", fenced(cli.USAGE, "text")]
    for name in cli._COMMANDS:
        parts += [f"## harness {name}\n", fenced(said([name, "--help"]), "text")]
        for part in _PARTS.get(name, ()):
            parts += [f"### harness {name} {part}\n", fenced(said([name, part, "--help"]), "text")]
    return "\n".join(parts)


def said(arguments: Sequence[str]) -> str:
    """What a command line prints."""
    printed = io.StringIO()
    with (
        redirect_stdout(printed),
        patch.object(sys, "argv", ["harness", *arguments]),
        patch.dict("os.environ", {"COLUMNS": "88"}),
    ):
        try:
            cli.main()
        except SystemExit as done:
            assert not done.code, (arguments, printed.getvalue())
    return printed.getvalue()


# --- configuration -------------------------------------------------------------------------------


def configuration() -> dict[str, str]:
    """A page a group: each choice's file, and what the dataclass that checks it says."""
    root = Path(str(conf_dir()))
    pages = {one.name: _group(one) for one in sorted(root.iterdir()) if one.is_dir()}
    parts = ["# The whole configuration\n", fenced((root / "config.yaml").read_text(), "yaml")]
    for kind in (Config, Training, Init, Wandb):
        parts += [f"## {kind.__name__}\n", documented(kind)]
    return {"config": "\n".join(parts), **pages}


def _group(folder: Path) -> str:
    group = folder.name
    parts = [f"# {group}\n", f"`{group}=NAME` takes one of these files of `conf/{group}/`.\n"]
    parts += [documented(kind) for kind in CHOICES.get(group, ()) if len(CHOICES[group]) == 1]
    for path in sorted(folder.glob("*.yaml")):
        parts += [f"## {group}={path.stem}\n", fenced(path.read_text(), "yaml")]
        kinds = [kind for kind in CHOICES.get(group, ()) if _name(kind) == path.stem]
        if group == "dataset":
            kinds = [kind for kind in sources.DATASETS if _kind(kind) == path.stem]
        parts += map(documented, kinds if len(CHOICES.get(group, "..")) > 1 else ())
    if group == "dataset":
        parts += ["## Named data sets\n", _named_data_sets()]
    return "\n".join(parts)


def _name(kind: Any) -> str:
    return str(_default(kind, "name"))


def _kind(kind: Any) -> str:
    """What a data source is chosen by: the one value that its field `kind` may have."""
    return str(_default(kind, "kind"))


def _default(kind: Any, name: str) -> Any:
    (found,) = [one for one in fields(kind) if one.name == name] or [None]
    if found is None or found.default is MISSING:
        return getattr(kind, name, "")
    return found.default


def _named_data_sets() -> str:
    rows = [
        "| `dataset=` | rows | features | positives | application | licence |",
        "|---" * 6 + "|",
    ]
    for name, one in Catalogue(conf_dir()).overviews():
        cells = (f"`{name}`", one.rows, one.features, one.positives, one.application, one.licence)
        rows.append("| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows) + "\n"


def documented(kind: Any) -> str:
    """A docstring of ours, which is plain text with marks of code; ``such`` or `such`."""
    text = inspect.getdoc(kind) or ""
    return text.replace("``", "`").replace("<", "&lt;") + "\n"


# --- losses --------------------------------------------------------------------------------------


def losses() -> str:
    """Each loss: formula, hyperparameters, picture, and how its posterior is recovered."""
    parts = [
        "# Losses\n",
        "z is the logit, p = sigmoid(z), y the label in {0, 1}, s = 2y - 1, p_t = sigmoid(s z), "
        "eta the true probability of a positive and pi the training prior.\n",
        f"Pictures are drawn from the functions that are trained, at their defaults and for "
        f"{NEGATIVES} negatives and {POSITIVES} positives, against the logit of one row: the loss, "
        "its slope, and which probability a score stands for (grey: sigmoid(z), as of BCE). A loss "
        "of a batch is drawn as that row's logit moves in a batch of sixteen fixed ones.\n",
    ]
    for cls in LOSSES:
        parts += _loss(cls)
    return "\n".join(parts)


def _loss(cls: type[LossFn]) -> Iterator[str]:
    kind = "an example" if cls in POINTWISE else "a whole batch"
    yield f"## {cls.name}\n"
    yield documented(cls)
    if issubclass(cls, StatefulLoss):
        kind += (
            f" that remembers numbers from step to step, {cls.per_row} of each training row and "
            f"{cls.per_run} of the run (the picture is of `mean`, which remembers nothing)"
        )
    yield f"`loss={cls.name}`, a loss of {kind}; [its file](conf-loss.md#loss{cls.name}).\n"
    yield f"![Loss, slope and probability of {cls.name} against the logit](loss-{cls.name}.svg)\n"
    recovered = cls.posterior_logits
    if recovered is LossFn.posterior_logits:
        yield "Its minimiser does not tell eta: its scores rank, and a calibrator makes the rest.\n"
    else:
        yield "logit(eta) from the logit z of a fitted loss:\n"
        yield fenced(inspect.cleandoc("\n" + inspect.getsource(recovered)), "python")


def picture(loss: LossFn) -> str:
    """The SVG of a loss at its defaults."""
    fitted = loss.fitted(num_negatives=NEGATIVES, num_positives=POSITIVES).at(1.0)
    logits = np.linspace(-6, 6, 121, dtype=np.float32)
    rows = [
        pl.DataFrame({"z": logits, "label": f"y = {label}", "loss": value, "slope": slope})
        for label in (1, 0)
        for value, slope in [_value_and_slope(fitted, logits, label)]
    ]
    frame = pl.concat(rows)
    panels = [_lines(frame, "loss"), _lines(frame, "slope")]
    if (hidden := fitted.posterior_logits(logits)) is not None:
        panels.append(_probability(logits, hidden))
    chart = alt.hconcat(*panels).configure(background="transparent")
    chart = chart.configure_view(stroke=None).configure_axis(
        labelColor=GREY, titleColor=GREY, gridColor=GREY, gridOpacity=0.25, domainColor=GREY,
        tickColor=GREY, labelFontSize=11, titleFontSize=12,
    ).configure_legend(labelColor=GREY, title=None, orient="top", labelFontSize=12)  # fmt: skip
    drawn = io.StringIO()
    chart.save(drawn, format="svg")
    return drawn.getvalue()


def _value_and_slope(loss: Any, logits: np.ndarray, label: int) -> tuple[np.ndarray, np.ndarray]:
    """The loss as one row's logit moves, and its derivative there."""
    others = np.linspace(-2, 2, 16, dtype=np.float32) if loss.of_a_batch else logits[:0]
    labels = np.append((np.arange(len(others)) % 3 == 0), label).astype(np.float32)

    def value(logit: jax.Array) -> jax.Array:
        batch = jax.numpy.append(others, logit)
        return loss.mean(logits=batch, labels=labels, weights=np.ones_like(labels))

    both: Callable[[Any], Any] = jax.vmap(jax.value_and_grad(value))
    values, slopes = both(logits)
    return np.asarray(values), np.asarray(slopes)


def _lines(frame: pl.DataFrame, of: str) -> alt.Chart:
    colour = alt.Color("label:N", scale=alt.Scale(domain=list(INK), range=list(INK.values())))
    marks = alt.Chart(frame).mark_line(clip=True).encode(
        x=alt.X("z:Q", title="logit z"),
        y=alt.Y(f"{of}:Q", title={"loss": "loss", "slope": "d loss / dz"}[of]),
        color=colour,
        strokeDash=alt.StrokeDash("label:N", scale=alt.Scale(domain=list(INK))),
    )  # fmt: skip
    return marks.properties(width=210, height=180)


def _probability(logits: np.ndarray, hidden: np.ndarray) -> alt.LayerChart:
    wide = logits.astype(np.float64)
    table = pl.DataFrame(
        {"z": wide, "own": 1 / (1 + np.exp(-hidden)), "bce": 1 / (1 + np.exp(-wide))}
    )
    base = alt.Chart(table).encode(x=alt.X("z:Q", title="logit z"))
    y = alt.Y("own:Q", title="probability it stands for", scale=alt.Scale(domain=[0, 1]))
    plain = base.mark_line(color=GREY, strokeDash=[2, 3]).encode(y=alt.Y("bce:Q"))
    return (plain + base.mark_line(color="#2e8b57").encode(y=y)).properties(width=210, height=180)


# --- what is stored ------------------------------------------------------------------------------


def facts() -> str:
    """The facts of every run: columns and types, with the comments they are declared with."""
    source = inspect.getsource(schema)
    start = source.index("FACTS:")
    return fenced(source[start : source.index("\n}", start) + 2], "python")
