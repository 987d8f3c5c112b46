"""Which model is meant: a folder of one, or the best of those that a sweep kept."""

from collections.abc import Sequence
from pathlib import Path

from harness import checkpoints
from harness.errors import UserError, listed
from harness.metrics.names import parse
from harness.predict.description import Description, read
from harness.predict.model import Model


def model_at(place: str | Path) -> tuple[Model, str]:
    """The model that ``place`` names, and a line on why it is that one.

    Of a sweep folder that is the model whose validation part says best by the sweep's objective; of
    the folder of `harness choose` it is the one that was chosen.

    Raises:
      UserError: there is no model, or those of a sweep have no one measure.
    """
    path = Path(place).expanduser()
    inside = _kept(path / checkpoints.OF_A_CHOICE) or _kept(path)
    if (path / checkpoints.DOCUMENT).is_file():
        chosen, why = path, ""
    elif inside:
        chosen, why = _best(path, inside)
    else:
        chosen, why = path.parent / checkpoints.FOLDER / path.name, ""
        if not (chosen / checkpoints.DOCUMENT).is_file():
            raise UserError(
                f"{path}: no model there, nor a sweep that kept one: train it with "
                "training.save_model=true"
            )
    model = Model.load(chosen)
    return model, f"{chosen}: {_named(model.description)}{why}"


def _kept(sweep: Path) -> list[Path]:
    """The models that a sweep kept."""
    found = sweep.glob(f"{checkpoints.FOLDER}/*/{checkpoints.DOCUMENT}")
    return sorted(one.parent for one in found)


def _best(sweep: Path, found: Sequence[Path]) -> tuple[Path, str]:
    if len(found) == 1:
        return found[0], ""
    described = {
        path: read(checkpoints.document(path), place=str(path / checkpoints.DOCUMENT))
        for path in found
    }
    objectives = {str(one.about.get("objective")) for one in described.values()}
    data = {str(_within(one, "dataset", "fingerprint")) for one in described.values()}
    if len(objectives) > 1 or len(data) > 1:
        what = "objectives" if len(objectives) > 1 else "data sets"
        raise UserError(
            f"{sweep}: {len(found)} models of several {what}: give the folder of one, such as "
            f"{listed([f'{path} ({_named(one)})' for path, one in described.items()], 2)}"
        )
    (objective,) = objectives
    try:
        sign = parse(objective).definition.sign
    except ValueError:
        raise UserError(f"{sweep}: no metric {objective!r}: give the folder of one model") from None
    values = {
        path: value
        for path, one in described.items()
        if isinstance(value := _within(one, "metrics", f"validation/{objective}"), float)
    }
    if not values or not sign:
        raise UserError(
            f"{sweep}: no model has {objective}: give the folder of one, such as {found[0]}"
        )
    best = max(values, key=lambda path: sign * values[path])
    return best, f", the best of {len(found)} by {objective} on validation ({values[best]:.4g})"


def _within(one: Description, group: str, name: str) -> object:
    inner = one.about.get(group)
    return inner.get(name) if isinstance(inner, dict) else None


def _named(one: Description) -> str:
    return f"{one.network.get('name')} trained with {one.recipe.loss.get('name')}"
