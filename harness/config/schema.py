"""The typed schema of conf/: what a run's configuration may say.

Each choice of a config group is a frozen dataclass beside the code it configures; this module
puts them together. Pydantic checks a composed configuration against them, so an unknown key, a
wrong type or an impossible value is one error naming the key.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cache, lru_cache, reduce
from operator import or_
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin
from typing import get_type_hints as type_hints

from annotated_types import Ge, Le, MaxLen, MinLen
from pydantic import (
    AfterValidator,
    ConfigDict,
    Discriminator,
    Tag,
    TypeAdapter,
    ValidationError,
    WrapSerializer,
    WrapValidator,
    with_config,
)

from harness import losses, models, optimizers, plugins
from harness.config import engines
from harness.config.mistakes import explained, loose_numbers
from harness.data import batches, imbalance, sampler, scaling, sources, splitters
from harness.data.streams import Seed
from harness.errors import UserError, shown
from harness.metrics import names as metric_names
from harness.metrics import own
from harness.metrics.definitions import METRICS
from harness.metrics.own_calibrator import OWN
from harness.metrics.settings import Evaluation


def _split_name(split: Any) -> str:
    """A split that says no name is a holdout."""
    return split.get("name", "holdout") if isinstance(split, Mapping) else split.name


# No key of any part takes a number that is none.
_STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)


class _Plugged:
    """What a union of our own choices takes besides: the plugged choices of ``group``."""

    def __init__(self, group: str):
        self.group, self.tag = group, plugins.tag_of(group)
        self.marks = WrapValidator(self.validated), WrapSerializer(self.dumped)

    def validated(self, values: Any, ours: Any) -> Any:
        name = values.get(self.tag) if isinstance(values, Mapping) else None
        kind: Any = plugins.plugged(self.group).get(name) if isinstance(name, str) else None
        return ours(values) if kind is None else _adapter(kind).validate_python(values)

    def dumped(self, value: Any, ours: Any) -> Any:
        kind: Any = type(value)
        is_plugged = kind in plugins.plugged(self.group).values()
        return _adapter(kind).dump_python(value, mode="json") if is_plugged else ours(value)


@lru_cache(maxsize=256)
def _adapter(kind: Any) -> TypeAdapter:
    return TypeAdapter(with_config(_STRICT)(kind))


if TYPE_CHECKING:  # the unions below are built from tables, which a type checker cannot follow
    AnyDataset = Any
    AnySplit = Any
    AnySampler = Any
    AnyBatching = Any
    AnyLoss = losses.LossFn
    AnyModel = Any
    AnyOptimizer = Any
    AnySchedule = Any
    AnyEngine = Any
else:
    AnyDataset = Annotated[
        Annotated[reduce(or_, sources.DATASETS), Discriminator("kind")],
        *_Plugged("dataset").marks,
    ]
    AnySplit = Annotated[
        Annotated[
            reduce(or_, (Annotated[kind, Tag(kind.name)] for kind in splitters.SPLITTERS)),
            Discriminator(_split_name),
        ],
        *_Plugged("split").marks,
    ]
    AnySampler = Annotated[
        Annotated[reduce(or_, sampler.SAMPLERS), Discriminator("name")],
        *_Plugged("sampler").marks,
    ]
    AnyBatching = Annotated[reduce(or_, batches.BATCHINGS), Discriminator("name")]
    AnyLoss = Annotated[
        Annotated[reduce(or_, losses.LOSSES), Discriminator("name")], *_Plugged("loss").marks
    ]
    AnyModel = Annotated[
        Annotated[reduce(or_, models.MODELS), Discriminator("name")], *_Plugged("model").marks
    ]
    AnyOptimizer = Annotated[
        Annotated[reduce(or_, optimizers.OPTIMIZERS), Discriminator("name")],
        *_Plugged("optimizer").marks,
    ]
    AnySchedule = Annotated[
        Annotated[reduce(or_, optimizers.SCHEDULES), Discriminator("name")],
        *_Plugged("schedule").marks,
    ]
    AnyEngine = Annotated[reduce(or_, engines.ENGINES), Discriminator("name")]


@dataclass(frozen=True)
class Training:
    """How long a run trains, and on how many rows a step.

    ``steps_per_epoch`` empty is one pass over the training part as it was before imbalance and
    resampling, so that runs that differ in those take the same number of steps.
    ``patience`` stops a run after so many epochs without a better validation value; 0 never stops.
    ``save_model`` keeps each run's model, of its best epoch: to predict with, and to start other
    runs from (`Init`).
    """

    num_epochs: Annotated[int, Ge(1), Le(100_000)] = 50
    steps_per_epoch: Annotated[int, Ge(1), Le(1_000_000)] | None = None
    batch_size: Annotated[int, Ge(1), Le(1_048_576)] = 256
    patience: Annotated[int, Ge(0), Le(100_000)] = 0
    save_model: bool = False


@dataclass(frozen=True)
class Init:
    """What a run starts from: random parameters, or another run's best epoch (fine-tuning).

    ``params`` is that run: its run_id in this sweep's folder, ``<sweep folder>/<run_id>``, or the
    folder its model lies in. ``fresh_head`` takes all but the head from there.
    ``freeze_body`` trains the head alone (a linear probe), whatever the body started from.
    """

    params: Annotated[str, MinLen(1)] | None = None
    fresh_head: bool = False
    freeze_body: bool = False


@dataclass(frozen=True)
class Wandb:
    """The Weights & Biases mirror. ``auto`` is online where a key is set and offline elsewhere.

    ``charts`` logs each run's precision-recall, reliability and confusion charts too, through W&B's
    client: some 0.1 s a run, offline as well. What is empty follows WANDB_PROJECT, WANDB_ENTITY,
    WANDB_RUN_GROUP, WANDB_JOB_TYPE, WANDB_NOTES, WANDB_TAGS and WANDB_NAME; else the project is
    bce-harness, the group the sweep's name, and a run's name its loss, data set, seed and id.
    Each may be made of other keys, as Hydra writes them: ``run_name=${loss.name}-s${seed}``.
    """

    mode: Literal["auto", "online", "offline", "disabled"] = "auto"
    project: Annotated[str, MinLen(1)] | None = None
    entity: str | None = None
    group: Annotated[str, MinLen(1)] | None = None
    job_type: Annotated[str, MinLen(1)] | None = None
    notes: Annotated[str, MaxLen(10_000)] | None = None
    run_name: Annotated[str, MinLen(1), MaxLen(128)] | None = None
    tags: tuple[str, ...] = ()
    charts: bool = False


def _extra_metric(text: str) -> str:
    """A metric that is plugged in, by its name; a stored one by what was written of it."""
    if text.startswith("{"):
        own.add_logged([text])
    elif text not in plugins.plugged("metric"):
        raise ValueError(
            f"{shown(text)} is {plugins.no_metric(text)}; an own one's module is named by "
            "plugins=[my_module.py]"
        )
    return own.name_in(text)


@with_config(_STRICT)
@dataclass(frozen=True)
class Config:
    """One run; what of it is the run's identity is said in `harness.identity`.

    ``impute`` is what a missing value becomes: its feature's median or mean over the training part.
    ``plugins`` says where choices come from that are not ours (`harness.plugins`), and
    ``extra_metrics`` which metrics of theirs are measured besides.
    """

    dataset: AnyDataset
    imbalance: imbalance.Imbalance
    sampler: AnySampler
    model: AnyModel
    loss: AnyLoss
    optimizer: AnyOptimizer
    schedule: AnySchedule
    batching: AnyBatching = field(default_factory=batches.Shuffled)
    seed: Seed = 0
    impute: scaling.Impute = "median"
    split: AnySplit = field(default_factory=splitters.Holdout)
    training: Training = field(default_factory=Training)
    init: Init = field(default_factory=Init)
    extra_metrics: tuple[Annotated[str, AfterValidator(_extra_metric)], ...] = ()
    evaluation: Evaluation = field(default_factory=Evaluation)
    wandb: Wandb = field(default_factory=Wandb)
    name: Annotated[str, MinLen(1)] = "default"
    root: Annotated[str, MinLen(1)] = "runs"
    rerun: bool = False
    plugins: tuple[str, ...] = ()
    engine: AnyEngine = field(default_factory=engines.Local)


UNRECORDED = frozenset({"engine"})
"""The keys of `Config` that say who trains a run: they are no part of it, nor told of it."""

_ADAPTER = TypeAdapter(Config, config=None)
_LONGEST_NAME = 255  # of a file, in most systems


@cache
def config_keys() -> Mapping[str, Any]:
    """Every dotted key of the schema, over all choices of every group, and its type.

    A type is plain: without ranges and marks, and the union where choices differ in it.

    >>> config_keys()["optimizer.learning_rate"], config_keys()["split.fold"]
    (<class 'float'>, <class 'int'>)
    """
    keys: dict[str, Any] = {}
    for key, annotation in _annotated_keys(Config):
        plain = _without_marks(annotation)
        keys[key] = keys[key] | plain if key in keys else plain
    return keys


@cache
def _groups_of_choices() -> frozenset[str]:
    """The groups whose config is one of several dataclasses."""
    hints = type_hints(Config, include_extras=True)
    return frozenset(name for name, hint in hints.items() if len(_dataclasses(hint)) > 1)


def _annotated_keys(kind: type, *path: str) -> Iterator[tuple[str, Any]]:
    hints = type_hints(kind, include_extras=True)
    for name in (one.name for one in fields(kind)):
        inner = _dataclasses(hints[name])
        for choice in inner:
            yield from _annotated_keys(choice, *path, name)
        if not inner:
            yield ".".join((*path, name)), hints[name]


def _dataclasses(annotation: Any) -> list[type]:
    return [
        plain
        for plain, _ in _members(annotation)
        if isinstance(plain, type) and is_dataclass(plain)
    ]


def _members(annotation: Any, marks: tuple[Any, ...] = ()) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    """Each type of a union, with what annotates it."""
    if get_origin(annotation) is Annotated:
        annotation, *inner = get_args(annotation)
        yield from _members(annotation, (*marks, *inner))
    elif get_origin(annotation) in (Union, UnionType):
        for one in get_args(annotation):
            yield from _members(one, marks)
    else:
        yield annotation, marks


def _without_marks(annotation: Any) -> Any:
    plain, inner = get_origin(annotation), get_args(annotation)
    if plain is Annotated:
        return _without_marks(inner[0])
    if plain in (Union, UnionType):
        return reduce(or_, map(_without_marks, inner))
    return plain[tuple(map(_without_marks, inner))] if plain is tuple else annotation


def parse(values: Mapping[str, Any]) -> Config:
    """The checked configuration of plain nested ``values``.

    Raises:
      UserError: names the first wrong key, its value and what it should be.
    """
    for key in _missing(values):
        raise UserError(f"{key} is not set: give {key}=...")
    config = _validated(_ADAPTER, values, ())
    for key, name in (("name", config.name), ("root", config.root)):
        if not name.isprintable():
            raise UserError(f"{key}={name!r} must be a folder's name, without control characters")
        if any(len(part.encode()) > _LONGEST_NAME for part in Path(name).parts):
            raise UserError(f"{key}={shown(name)} must be shorter: {_LONGEST_NAME} bytes a folder")
    if any(part in config.name for part in ("/", "\\")) or config.name in {".", ".."}:
        raise UserError(f"name={config.name!r} must be a folder name without slashes")
    wanted = metric_names.parse(config.evaluation.objective).metric
    if isinstance(METRICS[wanted], own.OwnMetric) and wanted not in config.extra_metrics:
        raise UserError(
            f"evaluation.objective={wanted} is not measured: add extra_metrics=[{wanted}]"
        )
    own_calibrator = OWN.get(config.evaluation.calibrator or "")
    if config.training.save_model and own_calibrator is not None and own_calibrator.not_kept:
        raise UserError(
            f"evaluation.calibrator={own_calibrator.name}: no saved model can hold it "
            f"({own_calibrator.not_kept}): mend it, or training.save_model=false"
        )
    if config.init.fresh_head and config.init.params is None:
        raise UserError("init.fresh_head=true takes the body from init.params: give init.params")
    return config


def _missing(values: Mapping[str, Any]) -> Iterator[str]:
    for key, value in values.items():
        if value == "???":
            yield key
        elif isinstance(value, Mapping):
            yield from (f"{key}.{inner}" for inner in _missing(value))


def parse_as(kind: Any, values: Any, *, at: str) -> Any:
    """``values`` of one config group as its dataclass; ``at`` is the group's key, for errors."""
    return _validated(TypeAdapter(kind, config=_STRICT), values, (at,))


def _validated(adapter: TypeAdapter, values: Any, at: tuple[str, ...]) -> Any:
    try:
        read = adapter.validate_python(dict(values))
    except ValidationError as error:
        raise UserError(explained(error, at=at, groups=_groups_of_choices())) from None
    for mistake in loose_numbers(values, read, *at):
        raise UserError(mistake)
    return read


def dump(config: Config) -> dict[str, Any]:
    """The configuration as plain nested values; ``parse`` gives it back, but for `UNRECORDED`."""
    return _ADAPTER.dump_python(config, mode="json", exclude=set(UNRECORDED))


def folder_of(config: Config) -> Path:
    """The sweep folder a run is stored in."""
    return Path(config.root).expanduser() / config.name


def objective(config: Config) -> str:
    """The stored column that a hyperparameter search gets back; of the validation part alone."""
    return f"validation/{config.evaluation.objective}"
