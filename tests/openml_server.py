"""A stand-in for OpenML on loopback, with answers of the form the real one gives."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

ARFF = """\
% a comment
@RELATION weather

@ATTRIBUTE id NUMERIC
@ATTRIBUTE temperature REAL
@ATTRIBUTE 'wind speed' INTEGER
@ATTRIBUTE outlook {sunny, 'partly cloudy', rain}
@ATTRIBUTE month {1, 2, 3}
@ATTRIBUTE play {no, yes}

@DATA
1,20.5,3,sunny,1,no
2,10,?,'partly cloudy',2,no
3,15,7,rain,3,no
4,30,1,?,1,yes
5,25,2,sunny,1,yes
"""
TYPES = {
    "id": "numeric", "temperature": "numeric", "wind speed": "numeric", "outlook": "nominal",
    "month": "nominal", "play": "nominal",
}  # fmt: skip


@dataclass
class OpenMLServer:
    """Serves data set 61; `arff` can be changed without its checksum, `asked` is what came in."""

    url: str = ""
    arff: str = ARFF
    status: str = "active"
    target: str = "play"
    asked: list[str] = field(default_factory=list)

    def answer(self, path: str) -> tuple[int, bytes]:
        self.asked.append(path)
        if path == "/data/v1/download/1/weather.arff":
            return 200, self.arff.encode()
        known = {
            "/api/v1/json/data/61": self._description,
            "/api/v1/json/data/features/61": self._features,
            "/api/v1/json/data/qualities/61": self._qualities,
        }
        if path not in known:
            return 412, json.dumps(
                {"error": {"code": "111", "message": "Unknown dataset"}}
            ).encode()
        return 200, json.dumps(known[path]()).encode()

    def _description(self) -> dict[str, Any]:
        return {
            "data_set_description": {
                "id": "61", "name": "weather", "version": "2", "status": self.status,
                "description": "Whether to play.", "format": "ARFF", "licence": "Public",
                "url": f"{self.url}/data/v1/download/1/weather.arff", "file_id": "1",
                "default_target_attribute": self.target,
                "md5_checksum": hashlib.md5(ARFF.encode()).hexdigest(),
            }
        }  # fmt: skip

    def _features(self) -> dict[str, Any]:
        return {
            "data_features": {
                "feature": [
                    {
                        "index": str(index), "name": name, "data_type": kind,
                        "is_target": str(name == self.target).lower(),
                        "is_ignore": "false",
                        "is_row_identifier": str(name == "id").lower(),
                        "number_of_missing_values": "0" if name == self.target else "1",
                    }
                    for index, (name, kind) in enumerate(TYPES.items())
                ]
            }
        }  # fmt: skip

    def _qualities(self) -> dict[str, Any]:
        return {"data_qualities": {"quality": [{"name": "NumberOfInstances", "value": "5.0"}]}}


@contextmanager
def openml_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenMLServer]:
    """Runs a server, and has scikit-learn ask it instead of OpenML."""
    server = OpenMLServer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = server.answer(self.path)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.url = f"http://127.0.0.1:{http.server_port}"
    for name, path in (("INFO", ""), ("FEATURES", "features/"), ("QUALITIES", "qualities/")):
        place = f"sklearn.datasets._openml._DATA_{name}"
        monkeypatch.setattr(place, f"{server.url}/api/v1/json/data/{path}{{}}")
    thread = Thread(target=http.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()
