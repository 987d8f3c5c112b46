"""OpenML against a stand-in server with answers of the real form; then without any network."""

import socket
from pathlib import Path

import numpy as np
import pytest

from harness.data import openml
from harness.data.openml import OpenML
from harness.errors import UserError
from tests.openml_server import ARFF, OpenMLServer, openml_server
from tests.packages import everything

# What the ARFF text says, read by eye.
COLUMNS = (
    "temperature", "outlook=partly cloudy", "outlook=rain", "outlook=sunny", "outlook=(missing)",
    "month=1", "month=2", "month=3",
)  # fmt: skip


@pytest.fixture
def kept(tmp_path, monkeypatch) -> Path:
    """The cache, empty."""
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path / "cache"))
    monkeypatch.setattr("sklearn.datasets._openml.time.sleep", lambda _: None)
    return tmp_path / "cache"


@pytest.fixture
def server(kept, monkeypatch):
    with openml_server(monkeypatch) as one:
        yield one


def weather(**changes) -> OpenML:
    fields = {
        "name": "weather", "id": 61, "version": 2, "target": "default",
        "drop": ("wind speed",),  # has a missing number
        "rows": 5, "features": 3, "positives": 2,
    }  # fmt: skip
    return OpenML(**(fields | changes))


def test_a_data_set_is_what_its_arff_says(server):
    dataset = weather().load()
    assert dataset.feature_names == COLUMNS  # without the row identifier
    assert dataset.labels.tolist() == [0, 0, 0, 1, 1] and dataset.positive_label == "yes"
    assert dataset.raw is not None
    raw = dataset.features * dataset.raw.std + dataset.raw.mean
    expected = np.array([
        [20.5, 0, 0, 1, 0, 1, 0, 0], [10, 1, 0, 0, 0, 0, 1, 0], [15, 0, 1, 0, 0, 0, 0, 1],
        [30, 0, 0, 0, 1, 1, 0, 0], [25, 0, 0, 1, 0, 1, 0, 0],
    ])  # fmt: skip
    np.testing.assert_allclose(raw, expected, atol=1e-5)  # float32 of numbers up to 30


def test_a_missing_number_stays_missing(server):
    frame = openml._table(weather()).frame()
    assert frame["wind speed"].to_list() == [3, None, 7, 1, 2]


def test_it_is_fetched_once_and_then_works_offline(server, kept, capsys):
    first = weather().load()
    assert "fetching OpenML 61" in capsys.readouterr().err
    asked = len(server.asked)
    assert weather(application="other").load().fingerprint == first.fingerprint
    assert len(server.asked) == asked and capsys.readouterr().err == ""


def test_fetching_says_the_content_hash_which_can_be_pinned(server):
    said = weather().fetch()
    content = said.split("content ")[1].rstrip(")")
    assert weather(content=content).load().num_rows == 5
    with pytest.raises(UserError, match=f"has content {content} where .* pinned to 1111"):
        weather(content="1" * 64).load()


@pytest.mark.parametrize(("changes", "message"), [
    ({"version": 1}, "is version 2, not 1"),
    ({"rows": 6}, "OpenML 61: has 5 rows where dataset weather says 6"),
    ({"target": "outlook"}, "target of OpenML 61 is 'play'"),
    ({"positive": "perhaps"}, "label 'perhaps' is not a value of target"),
    ({"id": 62}, "of no use here .*62 not found"),
])  # fmt: skip
def test_what_the_config_says_is_checked(changes, message, server):
    with pytest.raises(UserError, match=message) as caught:
        weather(**changes).load()
    assert "\n" not in str(caught.value)


def test_a_number_is_no_label(server):
    server.target = "temperature"
    with pytest.raises(UserError, match="'temperature' of OpenML 61 is a number, not a label"):
        weather().load()


def test_a_table_that_is_not_what_openml_promised_is_refused(server: OpenMLServer, kept):
    server.arff = ARFF.replace("30,1", "31,1")
    with pytest.raises(UserError, match=r"md5 checksum .* does not match"):
        weather().load()
    assert not (kept / "openml" / "61.npz").exists()
    server.arff = ARFF  # nothing of the bad download stands in the way
    assert weather().load().num_rows == 5


@pytest.mark.parametrize("keep", [lambda content: content[:300], lambda _: b""])
def test_a_damaged_file_is_refused_and_left_alone(keep, server, kept):
    weather().load()
    path = kept / "openml" / "61.npz"
    path.write_bytes(keep(path.read_bytes()))
    before = everything(kept)
    with pytest.raises(UserError, match=r"61.npz: is damaged .*delete it"):
        weather().load()
    assert everything(kept) == before


def test_a_pickle_in_the_cache_is_not_run(server, kept, tmp_path):
    class Trap:
        def __reduce__(self):
            return open, (str(tmp_path / "ran"), "w")

    path = kept / "openml" / "61.npz"
    path.parent.mkdir(parents=True)
    described = np.array('[["a"], {}, "play", 2]')  # sound, so that the values are reached
    np.savez(path, values=np.array([Trap()], dtype=object), target=["no"], described=described)
    with pytest.raises(UserError, match="is damaged"):
        weather().load()
    assert not (tmp_path / "ran").exists()


def test_without_a_network_the_error_says_what_to_do(kept, monkeypatch):
    def unreachable(*_, **__):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unreachable)
    with pytest.raises(UserError, match=r"cannot be fetched .*copy that folder.*breast_cancer"):
        weather().load()
    assert everything(kept) == {}
