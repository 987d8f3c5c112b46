"""A run's identity: it follows what the code computes, and neither how it is written nor shown."""

import itertools
import json
import os
import shutil
import subprocess
import sys
import threading
import types
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import jax
import pytest
from rich.console import Console

import harness
from harness import identity
from harness.errors import UserError
from harness.identity import code, families, machine, modules, numerics, numerics_named, run_id
from harness.sweep.engine import run_sweep
from harness.sweep.progress import Progress
from tests.runs import config

PACKAGE = Path(harness.__file__).parent

# Runs that differ in the one part that their name says.
SPREAD = {
    "usual": {},
    "dice": {"loss": {"name": "dice"}},
    "soap": {"loss": {"name": "soap"}},
    "focal": {"loss": {"name": "focal"}},
    "logistic": {"model": {"name": "logistic"}},
    "cnn": {"model": {"name": "cnn"}},
    "sgd": {"optimizer": {"name": "sgd", "learning_rate": 0.1}},
    "smote": {"sampler": {"name": "smote"}},
    "balanced": {"batching": {"name": "balanced"}},
    "kfold": {"split": {"name": "kfold"}},
    "cosine": {"schedule": {"name": "warmup_cosine"}},
}
EVERY = frozenset(SPREAD)
POINTWISE = EVERY - {"dice", "soap"}

# An edit (file, what stands there, what instead) and the runs whose ids it changes.
ARITHMETIC = {
    "a batch loss": ("losses/overlap.py", "positives + wrong", "positives - wrong", {"dice"}),
    "a loss that remembers": (
        "losses/remembering.py",
        "(1.0 - self.gamma)",
        "(2.0 - self.gamma)",
        {"soap"},
    ),
    "another that remembers": ("losses/remembering.py", "moved[2], 0.0", "moved[2], 0.1", set()),
    "a pointwise loss": ("losses/focusing.py", "exp(-self.gamma", "exp(self.gamma", POINTWISE),
    "what losses share": ("losses/base.py", "(2.0 * labels - 1.0)", "(2.0 * labels)", POINTWISE),
    "an optimizer": ("optimizers/first_order.py", "sgd(schedule)", "sgd(0.1)", {"sgd"}),
    "a schedule": (
        "optimizers/schedules.py",
        "cosine_decay_schedule(1",
        "linear_schedule(1",
        {"cosine"},
    ),
    "a sampler": (
        "data/sampler/smote.py",
        "_common(part, ratio, k_",
        "_common(part, 1.0, k_",
        {"smote"},
    ),
    "the batches": ("data/batches.py", "denominator(10_000)", "denominator(9)", {"balanced"}),
    "one split": ("data/splitters.py", "path = (self.repeat, self.fold)", "path = (0,)", {"kfold"}),
    "a split of none": ("data/splitters.py", "(self.fold + 1) %", "(self.fold + 2) %", set()),
    "the cnn": ("models/convolutional.py", ".max((2, 4))", ".min((2, 4))", {"cnn"}),
    "dense layers": (
        "models/dense.py",
        "(self.width,) * self.depth",
        "(self.width,)",
        EVERY - {"cnn", "logistic"},
    ),
    "the head": ("models/heads.py", "__call__(inputs)[:, 0]", "__call__(inputs)[:, 0] * 2", EVERY),
    "training": ("training.py", "value < best.value", "value <= best.value", EVERY),
    "a constant": ("training.py", "EVALUATION_CHUNK = 2048", "EVALUATION_CHUNK = 1024", EVERY),
    "an import": (
        "losses/focusing.py",
        "import sigmoid, softplus",
        "import sigmoid, relu as softplus",
        POINTWISE,
    ),
    "a metric": ("metrics/probability_metrics.py", "return -xlogy", "return xlogy", EVERY),
    "the width": ("sweep/lanes.py", "MAX_LANES = 8", "MAX_LANES = 16", EVERY),
}
WRITING = {
    "a comment": ("training.py", "def train_run(", "# A comment.\n\n\ndef train_run("),
    "a docstring": ("losses/focusing.py", '"""-alpha_t', '"""Focal: -alpha_t'),
    "an annotation": ("losses/base.py", "def signed(logits: Rows", "def signed(logits: object"),
    "a field's type": ("losses/focusing.py", "gamma: NonNegative", "gamma: Positive"),
    "layout": ("training.py", "SELECT_BY = (", "SELECT_BY = (\n    "),
    "an error's words": ("models/convolutional.py", "use fewer", "use fewer blocks"),
    "for the type checker": (
        "losses/base.py",
        "\n\nLARGEST",
        "\n\nif TYPE_CHECKING:\n    LARGEST = 1.0\nLARGEST",
    ),
}


def forget():
    """Empties what a process remembers of the sources it has read."""
    for remembered in (modules.source_of, code._definition, modules.path_of, families.family_hash):
        remembered.cache_clear()
    identity._numerics.cache_clear()


@pytest.fixture(autouse=True)
def no_memory():
    yield
    forget()


def ids(changes=SPREAD):
    return {name: run_id(config(**c), data_fingerprint="d") for name, c in changes.items()}


@pytest.fixture(scope="module")
def before():
    forget()
    return ids()


@pytest.fixture
def edit(tmp_path, monkeypatch):
    """Makes a file of the package read as if edited."""

    def edited(file, old, new):
        text = (PACKAGE / file).read_text()
        assert old in text, f"{file} no longer holds {old!r}: give the test another line of it"
        copy = tmp_path / Path(file).name
        copy.write_text(text.replace(old, new, 1))
        found = modules.path_of
        monkeypatch.setattr(
            modules, "path_of", lambda name: copy if found(name) == PACKAGE / file else found(name)
        )
        for remembered in (modules.source_of, code._definition, families.family_hash):
            remembered.cache_clear()
        identity._numerics.cache_clear()

    return edited


@pytest.mark.parametrize(("file", "old", "new", "changed"), ARITHMETIC.values(), ids=ARITHMETIC)
def test_arithmetic_changes_the_ids_of_its_family_alone(before, edit, file, old, new, changed):
    edit(file, old, new)
    after = ids()
    assert {name for name in SPREAD if after[name] != before[name]} == changed


@pytest.mark.parametrize(("file", "old", "new"), WRITING.values(), ids=WRITING)
def test_writing_changes_no_id(before, edit, file, old, new):
    edit(file, old, new)
    assert ids() == before


@pytest.mark.slow
def test_a_process_that_imports_the_edited_package_agrees(tmp_path, before):
    """The same through a real import: nothing of the sources is remembered elsewhere."""
    script = (
        "import json, sys; from harness.identity import run_id; from tests.runs import config;"
        "changes = json.load(sys.stdin);"
        "changes = changes.items();"
        "print(json.dumps({n: run_id(config(**c), data_fingerprint='d') for n, c in changes}))"
    )
    shutil.copytree(PACKAGE, tmp_path / "harness", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(PACKAGE.parent / "tests", tmp_path / "tests")
    edited = tmp_path / "harness" / "models" / "convolutional.py"
    edited.write_text(edited.read_text().replace(".max((2, 4))", ".min((2, 4))"))
    done = subprocess.run(
        [sys.executable, "-c", script],
        input=json.dumps(SPREAD),
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    after = json.loads(done.stdout)
    assert {name for name in SPREAD if after[name] != before[name]} == {"cnn"}


# What runs on a run's way and gives no number: it reads, checks, hands over, stores or shows.
NO_ARITHMETIC = (
    "harness.config",
    "harness.data.dataset.check",
    "harness.data.dataset._check",
    "harness.data.library",
    "harness.data.sources",  # the data set's fingerprint stands for them
    "harness.data.standardise",
    "harness.data.streams._is_replicate",
    "harness.data.streams.replicate_fields",
    "harness.devices.available_cores",  # how many programs compile at once
    "harness.files",
    "harness.data.describe",
    "harness.identity",
    "harness.layout",  # the fingerprint stands for it, too
    "harness.memory",
    "harness.plugins",
    "harness.record",
    "harness.sweep.claims",
    "harness.sweep.compiled",
    "harness.sweep.engine",
    "harness.sweep.lanes.data_bytes",
    "harness.sweep.lanes.free_memory",  # whether a program fits
    "harness.sweep.lanes.pair_bytes",
    "harness.sweep.lanes.program_bytes",
    "harness.sweep.merging",  # values are copied as they are stored
    "harness.sweep.plan",
    "harness.sweep.progress",
    "harness.sweep.recorder",
    "harness.sweep.timings",
)


def test_what_runs_is_covered(tmp_path):
    """Trains, and notes every function of ours that is called: calls on objects included."""
    one = config(
        model={"name": "mlp", "width": 4, "depth": 1},
        sampler={"name": "smote"},
        evaluation={"thresholds": [0.3, "bayes", "oracle"], "bootstrap": 100},
        training__num_epochs=2,
    )
    called = set()

    def note(frame, event, _):
        if event == "call" and frame.f_code.co_filename.startswith(str(PACKAGE)):
            called.add((frame.f_code.co_filename, frame.f_code.co_qualname.partition(".")[0]))

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        with open(os.devnull, "w") as nowhere:
            (result,) = run_sweep(
                [replace(one, root=str(tmp_path))], progress=Progress(Console(file=nowhere))
            )
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    assert result.error is None
    found = set()
    for file, name in called:
        parts = Path(file).relative_to(PACKAGE.parent).with_suffix("").parts
        module = ".".join(parts).removesuffix(".__init__")
        if not name.startswith("<"):  # a lambda of a constant, a module's own
            found.add(f"{module}.{name}")
    covered = families.covered(families.family_of(one))
    assert len(found & covered) > 100
    assert {name for name in found - covered if not name.startswith(NO_ARITHMETIC)} == set()


def test_what_stores_logs_and_shows_is_not_covered():
    covered = set()
    for changes in SPREAD.values():
        covered |= families.covered(families.family_of(config(**changes)))
    parts = {".".join(name.split(".")[1:3]) for name in covered}
    assert not parts & {"sweep.progress", "sweep.recorder", "record.store", "record.tables"}
    assert not {name for name in covered if name.split(".")[1] in {"analyze", "reproduce", "app"}}


def test_choices_of_a_configuration_are_all_in_the_table():
    """A family that is named is that of the configuration with these names."""
    for changes in SPREAD.values():
        one = config(**changes)
        names = {group: getattr(one, group).name for group in families.NAMED}
        assert numerics_named(names) == numerics(one)
    assert numerics_named({**names, "loss": "gone"}) is None


def test_a_root_that_moved_is_an_error():
    with pytest.raises(LookupError, match=r"harness\.training\.gone is nowhere defined"):
        code.code_hash(["harness.training.gone"])


def test_a_class_made_while_running_is_refused():
    made = type("Made", (), {"__module__": "harness.training"})
    with pytest.raises(UserError, match=r"harness\.training\.Made stands nowhere in its file"):
        code.code_hash([made])


def test_ten_thousand_ids_read_the_sources_once():
    forget()
    one = config()
    made = {run_id(replace(one, seed=seed), data_fingerprint="d") for seed in range(10_000)}
    assert len(made) == 10_000
    assert families.family_hash.cache_info().misses == 1


# Code of a module, without running any of it.


@pytest.fixture
def hash_of(tmp_path, monkeypatch):
    """The hash of ``f`` in a module or a package of given files."""
    number = itertools.count()

    def hashed(text=None, root="mine.f", **files):
        folder = tmp_path / str(next(number)) / "mine"
        folder.mkdir(parents=True)
        for name, source in {"__init__": text or "", **files}.items():
            (folder / f"{name}.py").write_text(source)
        module = types.ModuleType("mine")
        module.__file__, module.__path__ = str(folder / "__init__.py"), [str(folder)]
        monkeypatch.setitem(sys.modules, "mine", module)
        forget()
        return code.code_hash([root])

    return hashed


BASE = """
from jax.nn import relu
import numpy as np
A = 2
def g(x): return x + A
def h(x): return x
class C:
    field: int = 1
    def m(self): return A
def f(x, y=A):
    '''Words.'''
    return g(x) * 3
"""
SAME = {
    "docstring": ("'''Words.'''", "'''Other words.'''\n    # A comment"),
    "no docstring": ("'''Words.'''", "pass"),
    "annotations": ("def f(x, y=A):", "def f(x: int, y: 'C' = A) -> float:"),
    "annotated local": ("return g(x) * 3", "z: int\n    return g(x) * 3"),
    "an unused definition": ("return x\n", "return x + 1\n"),
    "another class": ("return A\n", "return A + 1\n"),
    "a main": ("def f(", "if __name__ == '__main__':\n    h(1)\ndef f("),
    "a name of the same": ("def f(", "def other(g): return h(g)\ndef f("),
    "an exported name": ("A = 2", "__all__ = ['f']\nA = 2"),
}
OTHER = {
    "an operator": ("* 3", "+ 3"),
    "a number": ("* 3", "* 3.0"),
    "a default": ("y=A", "y=3"),
    "a constant": ("A = 2", "A = 3"),
    "a constant changed later": ("def f(", "A += 1\ndef f("),
    "a function used": ("return x + A", "return x - A"),
    "a statement at the top": ("def f(", "np.seterr(all='raise')\ndef f("),
    "a loop at the top": ("def f(", "for g in (h,):\n    pass\ndef f("),
    "a condition at the top": ("A = 2", "A = 2\nif np:\n    A = 3"),
}


@pytest.mark.parametrize(("old", "new"), SAME.values(), ids=SAME)
def test_what_does_not_count(hash_of, old, new):
    assert old in BASE
    assert hash_of(BASE) == hash_of(BASE.replace(old, new, 1))


@pytest.mark.parametrize(("old", "new"), OTHER.values(), ids=OTHER)
def test_what_counts(hash_of, old, new):
    assert old in BASE
    assert hash_of(BASE) != hash_of(BASE.replace(old, new, 1))


G = "def g(x): return x"
G2 = "def g(x): return -x"
# How a definition of another file is used: a change of it must be seen.
ROADS = {
    "from": "from mine.other import g\ndef f(x): return g(x)",
    "as": "from mine.other import g as k\ndef f(x): return k(x)",
    "relative": "from .other import g\ndef f(x): return g(x)",
    "module": "from mine import other\ndef f(x): return other.g(x)",
    "dotted": "import mine.other\ndef f(x): return mine.other.g(x)",
    "dotted as": "import mine.other as o\ndef f(x): return o.g(x)",
    "star": "from mine.other import *\ndef f(x): return g(x)",
    "inside": "def f(x):\n    from mine.other import g\n    return g(x)",
    "inside, module": "def f(x):\n    from mine import other\n    return other.g(x)",
    "passed around": "from mine import other\ndef f(x): return getattr(other, 'g')(x)",
    "tried": "try: from mine.other import g\nexcept ImportError: g = 1\ndef f(x): return g(x)",
    "table": "from mine.other import g\nT = {'g': g}\ndef f(x): return T['g'](x)",
    "filled later": "from mine.other import g\nT = {}\nT['g'] = g\ndef f(x): return T['g'](x)",
    "base": "from mine.other import B\nclass f(B): pass",
    "default": "from mine.other import g\ndef f(x, by=g): return by(x)",
    "decorator": "from mine.other import g\n@g\ndef f(x): return x",
    "method": "from mine.other import g\nclass f:\n    def m(self): return g(1)",
    "comprehension": "from mine.other import g\ndef f(x): return [g(y) for y in x]",
    "lambda": "from mine.other import g\nf = lambda x: g(x)",
}  # fmt: skip


@pytest.mark.parametrize("text", ROADS.values(), ids=ROADS)
def test_roads_to_another_file(hash_of, text):
    rest = "\nclass B:\n    def m(self): return g(1)\ndef k(x): return x"
    one, other = (hash_of(text, other=g + rest) for g in (G, G2))
    assert one != other


def test_a_registration_adds_to_what_is_registered_with(hash_of):
    text = "def k(x): return x\ndef f(x): return k(x)\n@k.register\ndef _(x): return {}"
    assert hash_of(text.format(1)) != hash_of(text.format(2))


def test_where_a_definition_stands_does_not_count(hash_of):
    here = hash_of("A = 1\ndef g(x): return x + A\ndef f(x): return g(x)")
    there = hash_of(
        "from mine.other import g\ndef f(x): return g(x)",
        other="from mine.more import A\ndef g(x): return x + A",
        more="A = 1",
    )
    assert here == there


def test_who_uses_whom_counts(hash_of):
    """The same definitions, the other way round."""
    text = "from mine.{} import g\nfrom mine.{} import h\ndef f(x): return g(x) - h(x)"
    files = {"one": "def g(x): return k(x)\ndef h(x): return k(x)\nfrom mine.p import k",
             "two": "def g(x): return k(x)\ndef h(x): return k(x)\nfrom mine.q import k",
             "p": "def k(x): return x", "q": "def k(x): return 2 * x"}  # fmt: skip
    assert hash_of(text.format("one", "two"), **files) != hash_of(
        text.format("two", "one"), **files
    )


def test_classes_asked_for_count_by_name(hash_of):
    text = (
        "class C:\n    def m(self): return {}\nclass D: pass\nT = ({},)\n"
        "def f(x): return isinstance(x, C) or isinstance(x, T)"
    )
    assert hash_of(text.format(1, "C")) == hash_of(text.format(2, "C"))
    assert hash_of(text.format(1, "C")) != hash_of(text.format(1, "C, D"))


def test_a_local_name_is_no_use_of_a_definition(hash_of):
    text = "def g(x): return {}\ndef f(g, x): return [g(h) for h in x]\ndef h(x): return {}"
    assert hash_of(text.format(1, 1)) == hash_of(text.format(2, 2))
    text = "def g(x): return {}\ndef f(x):\n    x = [g for g in x]\n    return g(x)"
    assert hash_of(text.format(1)) != hash_of(text.format(2))


def test_a_library_is_named_and_not_read(hash_of):
    text = "from jax.numpy import {} as g\ndef f(x): return g(x)"
    assert hash_of(text.format("sin")) != hash_of(text.format("cos"))
    assert hash_of("import json\ndef f(x): return json.dumps(x)") == hash_of(
        "import json\nimport numpy\ndef f(x): return json.dumps(x)"
    )


# Without a source: a notebook, or `python -c`.


def session(text):
    module = types.ModuleType("session")
    exec(compile(text, "<cell>", "exec"), vars(module))
    return module


def hash_in_session(monkeypatch, text):
    monkeypatch.setitem(sys.modules, "session", session(text))
    forget()
    return code.code_hash([sys.modules["session"].f])


TYPED = """
from dataclasses import dataclass
from harness.losses import BCE
import numpy as np
A = np.array([1.0])
def g(x): return x * A
@dataclass(frozen=True)
class f(BCE):
    '''Words.'''
    gamma: float = 2.0
    def __call__(self, *, logits, labels):
        '''Words.'''
        return g(logits) ** self.gamma
"""


@pytest.mark.parametrize("old", ["1.0", "x * A", "2.0", "** self", "(BCE)"])
def test_what_is_typed_into_a_session_counts(monkeypatch, old):
    new = {"1.0": "1.5", "x * A": "x + A", "2.0": "3.0", "** self": "* self", "(BCE)": "(object)"}
    base = hash_in_session(monkeypatch, TYPED)
    assert hash_in_session(monkeypatch, TYPED) == base
    assert hash_in_session(monkeypatch, TYPED.replace("'''Words.'''", "'''Other.'''")) == base
    assert hash_in_session(monkeypatch, TYPED.replace(old, new[old], 1)) != base


def test_what_is_typed_into_a_session_leads_to_files(monkeypatch, edit):
    base = hash_in_session(monkeypatch, TYPED)
    edit("losses/base.py", "jnp.sum(weights * losses)", "jnp.sum(losses)")
    assert code.code_hash([sys.modules["session"].f]) != base


def test_a_value_without_a_lasting_description_is_refused(monkeypatch):
    text = "A = object()\ndef f(x): return A"
    with pytest.raises(UserError, match=r"session\.f uses a object.*\.py file"):
        hash_in_session(monkeypatch, text)


# The machine.


def line():
    return machine.environment.__wrapped__()


def flagged(monkeypatch, flags):
    monkeypatch.setenv("XLA_FLAGS", flags)
    return line()


def test_flags_that_change_arithmetic_count(monkeypatch, tmp_path):
    usual = flagged(monkeypatch, "--xla_cpu_multi_thread_eigen=false")
    neutral = "--xla_dump_to=/tmp/x --xla_force_host_platform_device_count=2"
    elsewhere = "--xla_gpu_autotune_level=0 --xla_cpu_multi_thread_eigen=false"
    assert flagged(monkeypatch, f"{neutral} {elsewhere}") == usual
    assert flagged(monkeypatch, "") != usual
    fast = flagged(monkeypatch, "--xla_cpu_enable_fast_math=true")
    assert "xla_cpu_enable_fast_math=true" in fast
    assert flagged(monkeypatch, "--xla_cpu_enable_fast_math") == fast
    assert flagged(monkeypatch, "--xla_some_new_flag=7").endswith("xla_some_new_flag=7")
    (tmp_path / "flags").write_text("--xla_cpu_enable_fast_math=true\n")
    assert flagged(monkeypatch, str(tmp_path / "flags")) == fast


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("jax_enable_x64", True),
        ("jax_default_matmul_precision", "bfloat16"),
        ("jax_numpy_dtype_promotion", "strict"),
        ("jax_threefry_partitionable", False),
    ],
)
def test_settings_that_change_arithmetic_count(name, value):
    usual, before = line(), getattr(jax.config, name)
    jax.config.update(name, value)
    try:
        assert f"{name}={value}" in line() and name not in usual
    finally:
        jax.config.update(name, getattr(before, "value", before))
    assert line() == usual


def test_settings_are_named_as_jax_names_them_and_usual():
    """A setting that JAX renames would be left out without a word."""
    gone = machine.SETTINGS.keys() - jax.config.values.keys()
    assert gone <= {"jax_exec_time_optimization_effort"}  # JAX 0.12 has nothing in its place
    for name in machine.SETTINGS.keys() - gone:
        value = jax.config.values[name]
        assert getattr(value, "value", value) == machine.SETTINGS[name], name


def with_devices(monkeypatch, kind, count, backend="gpu"):
    client = SimpleNamespace(platform_version="PJRT C API\ncuda 12090")
    devices = [SimpleNamespace(device_kind=kind, client=client)] * count
    fake = SimpleNamespace(
        devices=lambda: devices, default_backend=lambda: backend, config=jax.config
    )
    monkeypatch.setattr(machine, "jax", fake)
    return line()


def test_the_kind_of_machine_counts_and_the_number_of_devices_where_it_matters(monkeypatch):
    cpu = with_devices(monkeypatch, "cpu", 2, "cpu")
    assert with_devices(monkeypatch, "cpu", 64, "cpu") == cpu
    one = with_devices(monkeypatch, "NVIDIA H100", 1)
    two = with_devices(monkeypatch, "NVIDIA H100", 2)
    assert two.startswith("gpu NVIDIA H100 (PJRT C API cuda 12090);jax=") and "one-device" in one
    assert with_devices(monkeypatch, "NVIDIA H100", 8) == two
    others = {cpu, one, two, with_devices(monkeypatch, "NVIDIA A100", 2)}
    assert len(others) == 4
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "1")
    assert with_devices(monkeypatch, "NVIDIA H100", 2) == f"{two};NVIDIA_TF32_OVERRIDE=1"
    assert with_devices(monkeypatch, "cpu", 2, "cpu") == cpu


def test_the_machine_is_part_of_an_id(monkeypatch):
    here = ids({"usual": {}})
    for other in ("gpu NVIDIA H100", "cpu aarch64"):
        monkeypatch.setattr(identity, "environment", lambda name=other: name)
        identity._numerics.cache_clear()
        assert ids({"usual": {}}) != here
    assert numerics(config()).startswith("code=") and numerics(config()).endswith(";cpu aarch64")
