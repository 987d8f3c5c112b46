"""The W&B client in tests: it knows no key, no server and nothing of the test before."""

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.wandb_server import StandIn

DEAD = "http://127.0.0.1:9"
KEY = "0123456789abcdef" * 2 + "fedcba98"


@pytest.fixture
def lone_client(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """A client that knows no key and no server, and forgets the test when it ends."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for name in ("CACHE", "CONFIG", "DATA"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(tmp_path / name))
    monkeypatch.setenv("WANDB_BASE_URL", DEAD)
    yield
    forget_server()


def forget_server() -> None:
    """The client keeps the server it first saw for the life of the process."""
    if "wandb" in sys.modules:
        sys.modules["wandb"].teardown()


@pytest.fixture
def server(lone_client: None, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    with StandIn() as stand_in:
        monkeypatch.setenv("WANDB_BASE_URL", stand_in.url)
        yield stand_in
