"""The fast composer against Hydra's own composition, over all of conf/ and every kind of value."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from harness.config import UNRECORDED, composing, dump, parse
from harness.config.composing import Composer
from harness.files import conf_dir

FILES = sorted(path.relative_to(conf_dir()) for path in conf_dir().rglob("*.yaml"))
# Hydra takes a tenth of a second each, and the KEEL files are alike: tests/test_named.py has all.
KEEL = [file for file in FILES if file.parent.name == "keel"]
COMPOSED = [file for file in FILES if file not in KEEL[1:-1]]
# What a choice needs before it is a run: keys its file leaves to the user.
NEEDED = {
    "dataset=table": ("dataset.path=t.csv", "dataset.target=y"),
    "dataset=memory": ("dataset.contents=0", "dataset.target=y"),
    "dataset=openml": ("dataset.id=61",),
}
NO_GROUP = {".", "experiment", "dataset_suite"}  # patches of the whole configuration


@pytest.fixture(scope="module")
def composer(hydra_sweep):
    """One for all tests, as one serves all jobs of a sweep."""
    return Composer(hydra_sweep.loader, hydra_sweep.config)


@pytest.fixture
def assembles(monkeypatch):
    """Combinations are assembled from the first on."""
    monkeypatch.setattr(composing, "_FEW", 0)


def choice(file: Path) -> tuple[str, ...]:
    """The overrides that choose a file of conf/."""
    if file == Path("config.yaml"):
        return ()
    group, *rest = file.with_suffix("").parts
    return (f"{group}={'/'.join(rest)}",)


def typed(value: Any) -> Any:
    """Values with their types: 1, 1.0 and True are equal, and no user means all three."""
    if isinstance(value, dict):
        return {key: typed(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [typed(inner) for inner in value]
    return type(value).__name__, repr(value)


def assert_equal_and_ordered(ours: Any, theirs: Any) -> None:
    assert typed(ours) == typed(theirs)
    assert str(ours) == str(theirs)  # the order of keys, too


def test_conf_holds_the_groups_of_the_schema():
    groups = {file.parts[0] for file in FILES if file.parent != Path(".")}
    config = OmegaConf.load(conf_dir() / "config.yaml")
    defaults = {key for item in config.defaults if item != "_self_" for key in item}
    assert groups <= defaults
    assert len(FILES) > 30


@pytest.mark.parametrize("file", COMPOSED, ids=str)
def test_every_file_composes_as_hydra_does_and_fits_the_schema(file, hydra_sweep, composer):
    overrides = choice(file)
    plain = composer.job(overrides)
    assert_equal_and_ordered(plain, hydra_sweep.compose(overrides))
    if overrides:
        overrides += NEEDED.get(overrides[0], ())
    config = parse(composer.job(overrides))
    unrecorded = {name: getattr(config, name) for name in UNRECORDED}
    assert replace(parse(dump(config)), **unrecorded) == config
    group = file.parts[0] if file.parent != Path(".") else "."
    if group not in NO_GROUP:
        written = OmegaConf.to_container(OmegaConf.load(conf_dir() / file))
        stored = asdict(config.engine) if group in UNRECORDED else dump(config)[group]
        assert stored.keys() == written.keys() | stored.keys()
        # Of what is derived where it is empty, the file says nothing.
        said = {
            key: value
            for key, value in written.items()
            if value != "???" and (key, value) != ("name", "")
        }
        assert {key: stored[key] for key in said} == said


@pytest.mark.parametrize(
    "overrides",
    [
        ["seed=7"],
        ["seed=007"],
        ["optimizer.learning_rate=1e-3"],
        ["optimizer.learning_rate=1"],
        ["optimizer.learning_rate=.5"],
        ["optimizer.learning_rate=1_000.0"],
        ["optimizer.learning_rate=inf"],
        ["optimizer.learning_rate=nan"],
        ["loss=poly1", "loss.epsilon=-0.5"],
        ["loss=logit_adjustment", "loss.prior_logit=-2"],
        ["loss=logit_adjustment", "loss.prior_logit=-1e-5"],
        ["rerun=true"],
        ["rerun=True"],
        ["rerun=off"],
        ["split.seed=null"],
        ["split.seed=3"],
        ["name='7'"],
        ['name="true"'],
        ["name='null'"],
        ["name=''"],
        ["name="],
        ["name='two words'"],
        ["name=two words"],
        ["name='  led and trailed  '"],
        ["name='a,b'"],
        ["name='it\\'s'"],
        ['name="a\\\\b"'],
        ["name=a\\,b"],
        ["name=a\\=b"],
        ["name=caf\u00e9"],
        ["name=-dash"],
        ["name=1.2.3"],
        ["name=2026-01-01"],
        ["name=x=y"],
        ["name=???"],
        ["name='${seed}'"],
        ["name='\\${seed}'"],
        ["root=/some/where-else_0/%x"],
        ["wandb.entity=me"],
        ["dataset=table", "dataset.positive=yes", "dataset.path=a b.csv"],
        ["seed=int(3.7)"],
        ["seed=str(3)"],
        ["name=json_str({a:1})"],
        ["seed=1", "seed=2"],
        ["hydra.job.name=other"],
        ["wandb.tags=[]"],
        ["wandb.tags=[a,b c,'7',\"null\"]", "evaluation.calibrators=[platt]"],
        ["wandb.tags=[1,2.5,null,true]"],
        ["seed=[1,2]"],
        ["wandb.tags=plain"],
    ],
    ids=" ".join,
)
def test_values_of_every_type(overrides, hydra_sweep, composer):
    theirs, ours = [], []
    for given, compose in ((theirs, hydra_sweep.compose), (ours, composer.job)):
        try:
            given.append(compose(overrides))
        except (HydraException, OmegaConfBaseException) as error:
            given.append((type(error), str(error)))
    assert_equal_and_ordered(ours, theirs)


@pytest.mark.parametrize(
    "overrides",
    [
        ["loss=focal", "loss.gamma=3"],
        ["loss.gamma=3", "loss=focal"],
        ["loss.gamma=3", "loss=focal", "loss.alpha=null"],
        ["dataset.distance=0.5", "dataset=two_gaussians", "seed=1", "loss=hinge"],
        ["optimizer=sgd", "model=logistic", "optimizer.learning_rate=0.1", "imbalance=induced"],
        ["imbalance.positive_rate=0.2", "experiment=demo", "training.num_epochs=3"],
        ["experiment=reference", "dataset.rows=100"],
        ["experiment=reference", "dataset=digits"],
        ["experiment=reference", "model=logistic", "name=mine"],
    ],
    ids=" ".join,
)
def test_groups_and_values_in_any_order(overrides, hydra_sweep, composer):
    assert_equal_and_ordered(composer.job(overrides), hydra_sweep.compose(overrides))
    assert_equal_and_ordered(composer.job(overrides[::-1]), hydra_sweep.compose(overrides[::-1]))


@pytest.mark.parametrize(
    "overrides",
    [
        ["+new=1"],
        ["+new.key=1", "seed=2"],
        ["+loss.new='a b'"],
        ["++seed=4"],
        ["++new=4"],
        ["~loss"],
        ["~seed"],
        ["~training.patience"],
        ["~split.seed", "split.test=0.1"],
        ["split={test:0.3}"],
        ["split={test:0.3}", "split.test=0.4"],
        ["training={num_epochs:3,batch_size:8}"],
        ["wandb.tags=[[a],{b:1}]"],
        ["seed=${training.num_epochs}"],
        ["name=sweep-${loss.name}-${seed}", "loss=focal", "seed=3"],
        ["root=${oc.env:HOME}/x"],
        ["loss@second=focal"],
        ["+loss@second=focal"],
        ["loss=focal", "loss=bce"],
        ["+loss=focal"],
        ["~loss=bce"],
        ["~loss=focal"],
    ],
    ids=" ".join,
)
def test_what_is_out_of_the_ordinary_goes_hydras_way(overrides, hydra_sweep, composer):
    test_values_of_every_type(overrides, hydra_sweep, composer)


@pytest.mark.parametrize(
    "overrides",
    [
        ["unknown=1"],
        ["unknown.key=1"],
        ["loss.gamma=2"],
        ["seed.deeper=2"],
        ["loss=nope"],
        ["los=bce"],
        ["hydra/launcher=nope"],
        ["model=mlp", "model.width.x=1"],
        ["training=7"],
        ["loss=focal", "loss=focal"],
        ["seed=[1"],
        ["seed"],
        ["=3"],
        ["~nothing"],
        ["seed=${nothing}"],
        ["loss=null"],
    ],
    ids=" ".join,
)
def test_errors_are_hydras_own(overrides, hydra_sweep, composer):
    try:
        theirs = hydra_sweep.compose(overrides)
    except Exception as error:
        with pytest.raises(type(error)) as raised:
            composer.job(overrides)
        assert str(raised.value) == str(error)
    else:
        assert_equal_and_ordered(composer.job(overrides), theirs)


def test_one_job_leaves_the_next_alone(hydra_sweep):
    """Jobs of one choice come from one composition: what is set in one may not show in another."""
    composer = Composer(hydra_sweep.loader, hydra_sweep.config)
    plain = ["loss=focal"]
    expected = hydra_sweep.compose(plain)
    composer.job([*plain, "loss.gamma=9", "seed=5", "training.num_epochs=1"])
    assert_equal_and_ordered(composer.job(plain), expected)
    spoilt: Any = composer.job(plain)
    spoilt["loss"]["gamma"] = 1000
    spoilt["wandb"]["tags"].append("theirs")
    del spoilt["training"]
    assert_equal_and_ordered(composer.job(plain), expected)
    assert_equal_and_ordered(
        composer.job([*plain, "seed=5"]), hydra_sweep.compose([*plain, "seed=5"])
    )


CHOICES = {
    "dataset": ("digits", "two_gaussians", "keel/yeast4", "synthetic/radial"),
    "loss": ("bce", "ldam", "soft_f1"),
    "sampler": ("smote", "none", "near_miss"),
    "model": ("cnn", "logistic"),
    "optimizer": ("muon", "sgd"),
    "split": ("kfold", "time"),
    "experiment": ("demo", "reference"),
    "wandb": ("disabled", "online"),
}


@pytest.mark.parametrize("seed", range(12))
def test_combinations_assembled_are_those_composed(seed, hydra_sweep, composer, assembles):
    rng = np.random.default_rng(seed)
    groups = rng.permutation(list(CHOICES))[: rng.integers(2, len(CHOICES) + 1)]
    overrides = [f"{group}={rng.choice(CHOICES[group])}" for group in groups]
    assert_equal_and_ordered(composer.job(overrides), hydra_sweep.compose(overrides))


@pytest.mark.parametrize("is_one_of_many", [False, True])
def test_hydra_composes_once_what_repeats(is_one_of_many, hydra_sweep, monkeypatch, request):
    if is_one_of_many:
        request.getfixturevalue("assembles")
    composer = Composer(hydra_sweep.loader, hydra_sweep.config)
    composed = []
    full = Composer.full
    monkeypatch.setattr(
        Composer, "full", lambda self, one: composed.append(tuple(one)) or full(self, one)
    )
    for seed in range(20):
        for loss in ("bce", "focal"):
            job = composer.job([f"loss={loss}", f"seed={seed}", "wandb=disabled"])
            assert (job["loss"]["name"], job["seed"]) == (loss, seed)
    # Of many not the combinations: a sweep over two groups costs the sum of their choices.
    choices = [(), ("loss=bce",), ("loss=focal",), ("wandb=disabled",)]
    combinations = [("loss=bce", "wandb=disabled"), ("loss=focal", "wandb=disabled")]
    assert sorted(composed) == (choices if is_one_of_many else combinations)


def test_a_seed_costs_no_parser(hydra_sweep, monkeypatch):
    """Hydra's takes most of a millisecond: minutes of a sweep of 100,000 seeds."""
    composer = Composer(hydra_sweep.loader, hydra_sweep.config)
    composer.job(["seed=0"])
    monkeypatch.setattr(OverridesParser, "create", lambda: pytest.fail("a parser was made"))
    seeds = [10**9 + seed for seed in range(50)]
    assert [composer.job([f"seed={seed}"])["seed"] for seed in seeds] == seeds
