"""A stand-in for the W&B service on loopback: as much of it as one run's upload touches.

It shows what the real client sends, not that the real service would accept it. A run's history is
kept by line offset, as the service keeps it, so that an upload repeated from line 0 replaces.
"""

import gzip
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class ServedRun:
    """What the service knows of one run."""

    fields: dict[str, Any] = field(default_factory=dict)
    lines: dict[int, str] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    exit_code: int | None = None

    @property
    def config(self) -> dict[str, Any]:
        config = json.loads(self.fields.get("config") or "{}")
        return {key: item["value"] for key, item in config.items() if key != "_wandb"}

    @property
    def history(self) -> list[dict[str, Any]]:
        return [json.loads(self.lines[offset]) for offset in sorted(self.lines)]


class StandIn:
    """A context manager serving at `url`; `runs` holds what arrived, by run id.

    `stream_status` other than 200 refuses the uploads of rows, as a service half down.
    """

    def __init__(self) -> None:
        self.runs: dict[str, ServedRun] = {}
        self.operations: list[str] = []
        self.stream_status = 200
        self._http = _Server(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self._http.server_port}"

    def __enter__(self) -> "StandIn":
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()

    def graphql(self, operation: str, variables: dict[str, Any]) -> dict[str, Any]:
        self.operations.append(operation)
        if operation == "Viewer":
            return {"viewer": {"id": "u", "entity": "ent", "username": "u", "flags": "{}"}}
        if operation == "UpsertBucket":
            return {"upsertBucket": {"bucket": self._upsert(variables), "inserted": True}}
        if operation == "RunResumeStatus":
            return {"model": {"id": "p", "name": "proj", "bucket": self._resume(variables)}}
        if operation == "CreateRunFiles":
            files = [{"name": n, "uploadUrl": f"{self.url}/up"} for n in variables["files"]]
            return {"createRunFiles": {"runID": "r", "uploadHeaders": [], "files": files}}
        return {"serverInfo": {"features": []}} if operation == "ServerFeaturesQuery" else {}

    def _upsert(self, variables: dict[str, Any]) -> dict[str, Any]:
        run = self.runs.setdefault(variables["name"], ServedRun())
        run.fields |= {key: value for key, value in variables.items() if value is not None}
        entity = {"id": "e", "name": variables.get("entity") or "ent"}
        project = {"id": "p", "name": variables["project"], "entity": entity}
        bucket = {"id": variables["name"], "name": variables["name"], "project": project}
        return bucket | {"displayName": variables.get("displayName"), "historyLineCount": 0}

    def _resume(self, variables: dict[str, Any]) -> dict[str, Any] | None:
        run = self.runs.get(variables["name"])
        if run is None:
            return None
        tail = json.dumps([run.lines[max(run.lines)]] if run.lines else [])
        counts = {"historyLineCount": len(run.lines), "logLineCount": 0, "eventsLineCount": 0}
        texts = {"historyTail": tail, "eventsTail": "[]", "wandbConfig": "{}", "tags": []}
        summary = json.dumps(run.summary)
        config = run.fields.get("config", "{}")
        names = {"id": variables["name"], "name": variables["name"], "config": config}
        return counts | texts | names | {"summaryMetrics": summary}

    def stream(self, run_id: str, body: dict[str, Any]) -> None:
        run = self.runs[run_id]
        files = body.get("files") or {}
        if history := files.get("wandb-history.jsonl"):
            run.lines |= dict(enumerate(history["content"], history["offset"]))
        if summary := files.get("wandb-summary.json"):
            run.summary = json.loads(summary["content"][-1])
        if body.get("complete"):
            run.exit_code = body.get("exitcode")


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_: Any) -> None:
        """The client resets its idle connections when it ends: nothing to report."""


def _handler(server: StandIn) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            payload = json.loads(body)
            if self.path.endswith("/file_stream"):
                if server.stream_status != 200:
                    return self.answer({}, status=server.stream_status)
                server.stream(self.path.split("/")[-2], payload)
                return self.answer({"exitcode": None, "limits": {}})
            operation = payload.get("operationName") or payload["query"].split()[1].split("(")[0]
            self.answer({"data": server.graphql(operation, payload.get("variables") or {})})

        def do_PUT(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.answer({})

        def answer(self, content: dict[str, Any], status: int = 200) -> None:
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    return Handler
