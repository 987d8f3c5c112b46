"""What tests of plug-ins share."""

import importlib
import sys

import pytest

from harness import plugins
from harness.metrics.calibration import CALIBRATORS
from harness.metrics.definitions import METRICS, VERSIONS
from harness.metrics.names import parse
from harness.metrics.own_calibrator import OWN

THEIRS = {"their_package", "mine", "beside", "my_networks", "my_parts", "mistaken_parts"}
"""The modules that tests bring."""


@pytest.fixture
def nothing_stays(monkeypatch):
    """Modules and what they added are gone after each test."""
    modules, path = set(sys.modules), list(sys.path)
    for name in ("_PLUGGED", "_SOURCES"):
        before = getattr(plugins, name)
        kept = {k: dict(v) if isinstance(v, dict) else v for k, v in before.items()}
        monkeypatch.setattr(plugins, name, kept)
    tables = [(table, {*table}) for table in (METRICS, VERSIONS, CALIBRATORS, OWN)]
    yield
    for table, before in tables:
        for name in {*table} - before:
            del table[name]
    parse.cache_clear()
    for name in set(sys.modules) - modules:
        if name.partition(".")[0] in THEIRS:
            del sys.modules[name]
    sys.path[:] = path
    importlib.invalidate_caches()
