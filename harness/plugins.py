"""What users bring: losses, models, data sources and so on, listed beside ours by the name they are
chosen by.

    from harness.plugins import loss

    @loss
    def soft_hinge(logits, labels, temperature=1.0):
        ...

A module that defines some is named by ``plugins=[my_package.losses]`` or
``plugins=[my_losses.py]``, or is installed with an entry point of the group `ENTRY_POINTS`.
Commands that train, check or predict import what their user names; nothing that a logged run or a
saved model names is ever loaded. See docs/decisions/028.
"""

import hashlib
import importlib
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from harness.errors import UserError, first_line, none_of
from harness.files import conf_dir
from harness.signatures import check_storable

ENTRY_POINTS = "bce_harness.plugins"
GROUPS = ("loss", "model", "optimizer", "schedule", "sampler", "split", "dataset")
"""The groups of conf/ that plug-ins can add choices to."""
KINDS = (*GROUPS, "metric", "calibrator", "measure")
"""All that plug-ins can add."""

_PLUGGED: dict[str, dict[str, Any]] = {kind: {} for kind in KINDS}
_SOURCES: dict[str, str] = {}  # of loaded modules, a hash of their files
_generation = 0


def loss(given: Any = None, /, *, name: str | None = None, of_a_batch: bool = False) -> Any:
    """A decorator that adds a loss: a function or a frozen dataclass, which it returns unchanged.

    Args:
      given: ``(logits, labels, number=default, ...)``; see `harness.losses.as_loss`.
      name: what it is chosen by; its own name where there is none. ``@loss("name")`` does the same.
      of_a_batch: whether it is one value of a whole batch, of ``(logits, labels, weights)``.

    Raises:
      UserError: it is no loss, or another loss has its name.
    """
    return _added("loss", given, name, of_a_batch=of_a_batch)


def optimizer(given: Any = None, /, *, name: str | None = None) -> Any:
    """A decorator that adds an optimizer: a factory of an Optax transformation, left unchanged.

    Args:
      given: ``(learning_rate, number=default, ...)``; see `harness.optimizers.as_optimizer`.
      name: as of `loss`.

    Raises:
      UserError: it is no such factory, or another optimizer has its name.
    """
    return _added("optimizer", given, name)


def model(given: Any = None, /, *, name: str | None = None) -> Any:
    """A decorator that adds a network: a Flax NNX module, left unchanged.

    Args:
      given: made by ``(inputs, setting=default, ..., rngs=rngs)``; see `harness.models.as_model`.
      name: as of `loss`.

    Raises:
      UserError: it is no such class, or another model has its name.
    """
    return _added("model", given, name)


def schedule(given: Any = None, /, *, name: str | None = None) -> Any:
    """A decorator that adds a learning-rate schedule: a factory of an Optax one, left unchanged.

    Args:
      given: ``(peak, num_steps, setting=default, ...)``; see `harness.optimizers.as_schedule`.
      name: as of `loss`.

    Raises:
      UserError: it is no such factory, or another schedule has its name.
    """
    return _added("schedule", given, name)


def sampler(given: Any = None, /, *, name: str | None = None) -> Any:
    """A decorator that adds a sampler: a class with imbalanced-learn's interface, left unchanged.

    Args:
      given: has ``fit_resample(X, y)``; see `harness.data.sampler.own.as_sampler`.
      name: as of `loss`.

    Raises:
      UserError: it is no such class, or another sampler has its name.
    """
    return _added("sampler", given, name)


def split(given: Any = None, /, *, name: str | None = None) -> Any:
    """A decorator that adds a split: a class with scikit-learn's interface, left unchanged.

    Args:
      given: has ``split(X, y, groups)``; see `harness.data.own_splitter.as_splitter`.
      name: as of `loss`.

    Raises:
      UserError: it is no such class, or another split has its name.
    """
    return _added("split", given, name)


def source(given: Any = None, /, *, name: str | None = None, **described: Any) -> Any:
    """A decorator that adds a data source, `dataset=NAME`: a function, left unchanged.

    Args:
      given: ``(setting=default, ...)``, which returns a table; see
        `harness.data.own_source.as_source`, which says what else is ``described`` (``target``,
        ``group``, ``time``, ``licence``, ``generated``, ...).
      name: as of `loss`.

    Raises:
      UserError: it is no such function, or another data set has its name.
    """
    return _added("dataset", given, name, **described)


def calibrator(given: Any = None, /, *, name: str | None = None) -> Any:
    """A decorator that adds a calibrator: a class with ``fit`` and ``predict``, left unchanged.

    Args:
      given: see `harness.metrics.own_calibrator.as_calibrator`. It is fitted to the runs of
        ``evaluation.calibrators=[name]``.
      name: as of `loss`.

    Raises:
      UserError: it is no such class, or another calibrator has its name.
    """
    if given is None or isinstance(given, str):
        return lambda defined: calibrator(defined, name=name or given)
    from harness.metrics import own_calibrator

    try:
        made = own_calibrator.as_calibrator(given, name)
    except ValueError as error:
        raise UserError(str(error)) from None
    _set("calibrator", made.name, made, made.reference)
    own_calibrator.add(made)
    return given


def measure(given: Any = None, /, *, name: str | None = None) -> Any:
    """A decorator that adds a quantity that claims of an experiment are about, left unchanged.

    Args:
      given: ``(rows, parameter=..., ...)``, which returns a column of ``rows.table``, one value a
        row; see `harness.reproduce.quantities`. In claims.yaml it is ``derive: name``.
      name: as of `loss`.

    Raises:
      UserError: it is no function, or another measure has its name.
    """
    if given is None or isinstance(given, str):
        return lambda defined: measure(defined, name=name or given)
    called = name or str(getattr(given, "__name__", repr(given)))
    if not isinstance(given, FunctionType):
        raise UserError(f"measure {called}: write def {called}(rows, parameter=...)")
    _set("measure", called, given, _place(given))
    return given


def metric(given: Any = None, /, **known: Any) -> Any:
    """A decorator that adds a metric: a function of a part's scores and labels, left unchanged.

    Args:
      given: ``(probabilities, labels) -> value``; see `harness.metrics.own.as_metric`, which says
        what else is ``known`` of it (``direction``, ``best``, ``title``, ...). It is measured of
        the runs of ``extra_metrics=[name]``.

    Raises:
      UserError: it is no such function, or another metric has its name.
    """
    if given is None or isinstance(given, str):
        return lambda defined: metric(defined, **({"name": given} if given else {}), **known)
    from harness.metrics import own

    try:
        made = own.as_metric(given, **known)
    except ValueError as error:
        raise UserError(str(error)) from None
    _set("metric", made.name, made, made.reference)
    own.add(made)
    return given


def tag_of(group: str) -> str:
    """The key of a group that says which choice it is."""
    return "kind" if group == "dataset" else "name"


def plugged(group: str) -> Mapping[str, Any]:
    """The plugged choices of a group, by name; of ours there are none among them."""
    return _PLUGGED.get(group, {})


def folders(name: str) -> list[Path]:
    """The folders called ``name`` in the packages that were loaded, such as their experiments."""
    packages = (sys.modules.get(module.partition(".")[0]) for module in _SOURCES)
    found = (Path(place) / name for one in packages for place in getattr(one, "__path__", ()))
    return [folder for folder in dict.fromkeys(found) if folder.is_dir()]


def no_metric(name: str) -> str:
    """How to say that no plugged metric is called ``name``."""
    from harness.metrics import own

    known = [*_PLUGGED["metric"]]
    if own.is_ours(name):
        return "one of ours, which `evaluation` measures"
    return none_of(name, known) if known else "plugged in nowhere"


def plugged_keys() -> list[str]:
    """The dotted keys of all plugged choices."""
    return [
        f"{group}.{one.name}"
        for group in GROUPS
        for made in _PLUGGED[group].values()
        for one in fields(made)
    ]


def generation() -> int:
    """How often something was added: what is remembered of sources is of one generation."""
    return _generation


@dataclass(frozen=True)
class Loaded:
    """A plug-in that was loaded.

    Attributes:
      spec: what finds it again, a file with the hash of its source.
      chosen: the name of the one choice asked for, if one was.
    """

    spec: str
    chosen: str | None


def load(spec: str) -> Loaded:
    """Imports a plug-in: ``my_package.losses``, ``my_losses.py``, or one definition that need have
    no decorator, ``loss=my_package.losses:Mine``.

    A file may be followed by ``@`` and the hash that its source had. What is loaded already is
    read anew where its file has changed.

    Raises:
      UserError: there is no such module or name, importing it fails, or its source is another one.
    """
    found = _SPEC.fullmatch(spec)
    if found is None or found["group"] not in (GROUPS if found["name"] else (None,)):
        raise UserError(
            f"plugins=[{spec}]: give modules or files, such as my_package.losses or my_losses.py, "
            "or one definition as in loss=my_package.losses:MyLoss"
        )
    place, name = found["place"], found["name"]
    module, source = _imported(place, spec)
    is_file = place.endswith(".py")
    if is_file and found["source"] not in (None, source):
        raise UserError(
            f"plugins=[{spec}]: {place} has changed since (now @{source}): give {place} without @ "
            "to use it as it is"
        )
    chosen = None if name is None else _chosen(module, name, spec, found["group"])
    given = f"{place}:{name}" if name else place
    prefix = f"{found['group']}=" if name else ""
    return Loaded(f"{prefix}{given}{f'@{source}' if is_file else ''}", chosen)


_SPEC = re.compile(
    r"(?:(?P<group>\w+)=)?(?P<place>[^=@]+?)(?::(?P<name>[A-Za-z_]\w*))?(?:@(?P<source>[0-9a-f]{12}))?"
)


def load_installed() -> None:
    """Imports what installed packages declare as plug-ins.

    Raises:
      UserError: one of them cannot be imported.
    """
    for one in entry_points(group=ENTRY_POINTS):
        try:
            load(one.value)
        except UserError as error:
            package = one.dist.name if one.dist is not None else one.name
            raise UserError(
                f"the installed package {package} is a plug-in that fails: {error}"
            ) from error


def _added(group: str, given: Any, name: str | None, /, **how: Any) -> Any:
    """``given`` once it is added, or a decorator: ``@loss``, ``@loss("name")``, ``@loss(...)``."""
    if given is None or isinstance(given, str):
        return lambda defined: _added(group, defined, name or given, **how)
    _add(group, given, name, **how)
    return given


@dataclass(frozen=True)
class _Kind:
    """What makes a choice of a group of what users bring, and the choices that are ours."""

    made_of: Callable[..., Any]
    ours: tuple[Any, ...]


@cache
def _kind(group: str) -> _Kind:
    from harness import losses, models, optimizers  # late, and so are the data's: scikit-learn
    from harness.data import own_source, own_splitter, sampler, sources, splitters
    from harness.data.sampler import own

    return {
        "loss": _Kind(losses.as_loss, losses.LOSSES),
        "model": _Kind(models.as_model, models.MODELS),
        "optimizer": _Kind(optimizers.as_optimizer, optimizers.OPTIMIZERS),
        "schedule": _Kind(optimizers.as_schedule, optimizers.SCHEDULES),
        "sampler": _Kind(own.as_sampler, sampler.SAMPLERS),
        "split": _Kind(own_splitter.as_splitter, splitters.SPLITTERS),
        "dataset": _Kind(own_source.as_source, sources.DATASETS),
    }[group]


def _add(group: str, given: Any, name: str | None, /, **how: Any) -> str:
    """Adds a choice to ``group``, and gives its name."""
    kind, tag = _kind(group), tag_of(group)
    made: Any = kind.made_of(given, name, **how)
    called = getattr(made, tag)
    if not re.fullmatch(r"[A-Za-z_][\w-]*", called):
        raise UserError(f"{group}={called!r} is no name: use letters, digits and _")
    file = conf_dir() / group / f"{called}.yaml"  # of a data set of ours, which is no kind of one
    if called in {getattr(one, tag) for one in kind.ours} or file.exists():
        raise UserError(f"{group}={called} is one of ours: give {_place(made)} another name")
    check_storable(made, kind.ours, choice=f"{group}={called}")
    _set(group, called, made, _place(made))
    return called


def _set(kind: str, name: str, made: Any, place: str) -> None:
    """Keeps what is plugged in; raises UserError where something else is called so."""
    global _generation
    before = _PLUGGED[kind].get(name)
    there = place if before is None else _defined(kind, before)
    if there != place:
        called = f"{kind}={name}" if kind in GROUPS else f"{kind} {name}"
        raise UserError(f"{called} is defined by {there} and by {place}: rename one")
    _PLUGGED[kind][name] = made
    _generation += 1


def forget(kind: str, name: str) -> None:
    """Takes out what failed; its module is read anew where it is named again."""
    place = _defined(kind, _PLUGGED[kind].pop(name))
    _SOURCES.update({one: "" for one in _SOURCES if place.startswith(f"{one}.")})


def _defined(kind: str, made: Any) -> str:
    """The place of what is plugged in."""
    place: str = made.reference if kind in ("metric", "calibrator") else _place(made)
    return place


@cache
def check_measured(made: Any) -> None:
    """Tries a metric on a few rows of both classes.

    Raises:
      UserError: its function fails on them, or gives no number.
    """
    import numpy as np

    try:
        value = made.measure(np.linspace(-3, 3, 16), np.arange(16) % 2)
    except ValueError as error:
        raise UserError(f"{error}: return one number of NumPy arrays") from None
    if not np.isfinite(value):
        raise UserError(f"metric {made.name} is {value} of 16 rows of both classes: mend it")


@cache
def check_scheduled(made: Any) -> None:
    """Tries a schedule over a few steps.

    Raises:
      UserError: it fails, or gives no rates.
    """
    from harness.optimizers import learning_rates

    learning_rates(peak=1.0, schedule=made(), num_steps=8)


@cache
def check_calibrated(made: Any) -> None:
    """Tries a calibrator on a few rows of both classes.

    Raises:
      UserError: it fails on them, or gives no probabilities.
    """
    try:
        made.not_kept  # noqa: B018  which fits one
    except ValueError as error:
        raise UserError(str(error)) from None


@cache
def check_stepped(made: Any) -> None:
    """Tries an optimizer as lanes call it, on shapes alone.

    Raises:
      UserError: it is nothing that JAX can trace.
    """
    import jax
    import jax.numpy as jnp

    def step(own: Any) -> Any:
        params = {"weights": jnp.zeros((3, 2))}
        rule = own.transformation(lambda count: 0.1)
        return rule.update(params, rule.init(params), params, grad_fn=lambda at, count: at)

    try:
        updates, _ = jax.eval_shape(step, made().in_lane())
        shapes = {name: leaf.shape for name, leaf in updates.items()}
    except Exception as error:
        raise UserError(
            f"optimizer={made.name} cannot be traced by JAX ({type(error).__name__}: "
            f"{first_line(error)}): it is to return an optax.GradientTransformation, "
            "without `if` on hyperparameters"
        ) from error
    if shapes != {"weights": (3, 2)}:
        raise UserError(f"optimizer={made.name} gave updates of another shape: keep the params'")


@cache
def check_traced(made: Any) -> None:
    """Tries a loss as lanes call it, on shapes alone; it needs a default for each hyperparameter.

    Raises:
      UserError: it is nothing that JAX can trace and differentiate.
    """
    import jax
    import numpy as np

    from harness.losses import mean_loss_and_gradient, pack, stateful, step_and_gradient

    try:
        fitted = made().fitted(num_negatives=95, num_positives=5)
    except TypeError:  # a hyperparameter without a default, which its config gives
        return

    def shaped(*shape: int) -> Any:
        return jax.ShapeDtypeStruct(shape, np.float32)

    try:
        batch = (pack(fitted), shaped(), *[shaped(4)] * 3)
        jax.eval_shape(mean_loss_and_gradient, *batch)
        if (loss := stateful((made,))) is not None:
            jax.eval_shape(step_and_gradient, *batch, loss.no_memory(4))
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"loss={made.name} cannot be traced by JAX ({type(error).__name__}: "
            f"{first_line(error)}): write it with jax.numpy, "
            "and with jnp.where instead of `if` on logits, labels and hyperparameters"
        ) from error


def _place(made: Any) -> str:
    return f"{made.__module__}.{made.__qualname__}"


def _chosen(module: ModuleType, name: str, spec: str, group: str) -> str:
    """The name of the choice that ``module`` calls ``name``, which has a decorator or not."""
    try:
        given = getattr(module, name)
    except AttributeError:
        raise UserError(f"{spec}: {module.__name__} has no {name}") from None
    place = f"{getattr(given, '__module__', '')}.{getattr(given, '__qualname__', '')}"
    for known, made in _PLUGGED[group].items():
        if _place(made) == place and made.given is given:
            return known
    return _add(group, given, None)


def _imported(place: str, spec: str) -> tuple[ModuleType, str]:
    """The module at ``place``, and the hash of its source."""
    is_file = place.endswith(".py")
    path = Path(place).expanduser().absolute()
    if is_file and not path.is_file():
        raise UserError(f"plugins=[{spec}]: {place}: no such file")
    folder, name = _import_name(path) if is_file else (Path.cwd(), place)
    if str(folder) not in sys.path:  # last: what lies there shadows nothing
        sys.path.append(str(folder))
        importlib.invalidate_caches()
    module = _guarded(lambda: importlib.import_module(name), name, spec)
    file = Path(getattr(module, "__file__", None) or "")
    if is_file and file.resolve() != path.resolve():
        raise UserError(
            f"plugins=[{spec}]: the module {name} is another one, {file}: give the file another "
            "name"
        )
    source = hashlib.sha256(file.read_bytes()).hexdigest()[:12] if file.is_file() else ""
    if _SOURCES.setdefault(module.__name__, source) != source:
        module = _guarded(lambda: importlib.reload(module), name, spec)
        _SOURCES[module.__name__] = source
    return module, source


def _import_name(path: Path) -> tuple[Path, str]:
    """The folder a file is imported from, and its module's dotted name there."""
    folder, parts = path.parent, [path.stem]
    while (folder / "__init__.py").is_file():
        folder, parts = folder.parent, [folder.name, *parts]
    return folder, ".".join(parts)


def _guarded(imports: Callable[[], ModuleType], name: str, spec: str) -> ModuleType:
    try:
        return imports()
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        lacking = getattr(error, "name", None) if isinstance(error, ModuleNotFoundError) else None
        if lacking and f"{name}.".startswith(f"{lacking}."):
            raise UserError(
                f"plugins=[{spec}]: no module {lacking} is installed, nor does it lie in this "
                "folder: give its dotted name, or a file as path/to/it.py"
            ) from error
        line = _line_of(error)
        raise UserError(
            f"plugins=[{spec}]: importing it raised {type(error).__name__}: {error}{line}"
        ) from error


def _line_of(error: BaseException) -> str:
    """Where it was raised, by the last line of a file; a SyntaxError says it itself."""
    trace, place = error.__traceback__, ""
    if isinstance(error, SyntaxError):
        return place
    while trace is not None:
        place = f" ({trace.tb_frame.f_code.co_filename}, line {trace.tb_lineno})"
        trace = trace.tb_next
    return place
