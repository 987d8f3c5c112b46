"""A stand-in for the W&B service on loopback: as much of it as one run's upload touches.

It shows what the real client sends, not that the real service would accept it. A run's history is
kept by line offset, as the service keeps it, so that an upload repeated from line 0 replaces.
"""

import gzip
import json
import math
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

OPERATION = re.compile(r"(?:query|mutation)\s+(\w+)")


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


@dataclass
class Reads:
    """What the public API asks for: runs a page at a time, then each run's history."""

    runs: dict[str, ServedRun]

    @property
    def operations(self) -> dict[str, Callable[[dict[str, Any]], dict[str, Any]]]:
        return {
            "Runs": self.page,
            "RunFullHistory": self.sampled,
            "RunHistoryKeys": self.keys,
            "RunParquetHistory": self.parquet,
            "HistoryPage": self.rows,
        }

    def page(self, variables: dict[str, Any]) -> dict[str, Any]:
        if variables["project"] not in {run.fields["project"] for run in self.runs.values()}:
            return {"project": None}
        group = json.loads(variables["filters"]).get("group")
        found = [
            (run_id, run)
            for run_id, run in self.runs.items()
            if run.fields["project"] == variables["project"]
            and group in (None, run.fields.get("groupName"))
        ]
        start = int(variables.get("cursor") or 0)
        stop = start + variables["perPage"]
        edges = [
            {"node": _node(run_id, run), "cursor": str(start + i + 1)}
            for i, (run_id, run) in enumerate(found[start:stop])
        ]
        more = {"hasNextPage": stop < len(found), "endCursor": str(stop)}
        runs = {"edges": edges, "pageInfo": more}
        return {"project": {"internalId": "1", "runCount": len(found), "runs": runs}}

    def sampled(self, variables: dict[str, Any]) -> dict[str, Any]:
        """The service returns at most `samples` rows; non-finite numbers as text."""
        lines = _json_lines(self.runs[variables["name"]])[: variables["samples"]]
        return _of_run(history=lines)

    def keys(self, variables: dict[str, Any]) -> dict[str, Any]:
        steps = [row["_step"] for row in self.runs[variables["name"]].history]
        return _of_run(historyKeys={"lastStep": max(steps, default=-1)})

    def parquet(self, _: dict[str, Any]) -> dict[str, Any]:
        return _of_run(parquetHistory={"parquetUrls": []})

    def rows(self, variables: dict[str, Any]) -> dict[str, Any]:
        run = self.runs[variables["run"]]
        wanted = range(variables["minStep"], variables["maxStep"])
        pairs = zip(run.history, _json_lines(run), strict=True)
        return _of_run(history=[line for row, line in pairs if row["_step"] in wanted])


@dataclass
class Artifacts:
    """What an artifact's upload asks for; `files` holds the names received, by artifact."""

    url: str = ""
    files: dict[str, list[str]] = field(default_factory=dict)
    committed: set[str] = field(default_factory=set)

    @property
    def operations(self) -> dict[str, Callable[[dict[str, Any]], dict[str, Any]]]:
        return {
            "ArtifactType": lambda _: {"project": {"artifact": None}},
            "CreateArtifact": self.create,
            "CreateArtifactManifest": self.manifest,
            "CreateArtifactFiles": self.receive,
            "CommitArtifact": self.commit,
        }

    def create(self, variables: dict[str, Any]) -> dict[str, Any]:
        name = variables["input"]["artifactCollectionName"]
        self.files[name] = []
        artifact = {"id": name, "state": "PENDING", "artifactSequence": {"id": "s"}}
        return {"createArtifact": {"artifact": artifact}}

    def manifest(self, _: dict[str, Any]) -> dict[str, Any]:
        manifest = {"id": "m", "file": self._upload("m")}
        return {"createArtifactManifest": {"artifactManifest": manifest}}

    def receive(self, variables: dict[str, Any]) -> dict[str, Any]:
        files = variables["input"]["artifactFiles"]
        for file in files:
            self.files[file["artifactID"]].append(file["name"])
        nodes = [
            self._upload(file["name"])
            | {"artifact": {"id": file["artifactID"]}, "storagePath": "s"}
            for file in files
        ]
        edges = [{"node": node | {"uploadMultipartUrls": None}} for node in nodes]
        return {"createArtifactFiles": {"files": {"edges": edges}}}

    def commit(self, variables: dict[str, Any]) -> dict[str, Any]:
        self.committed.add(variables["artifactID"])
        return {"commitArtifact": {"artifact": {"id": variables["artifactID"], "digest": "d"}}}

    def _upload(self, name: str) -> dict[str, Any]:
        to = {"uploadUrl": f"{self.url}/up", "uploadHeaders": []}
        return {"id": name, "name": name, "displayName": name} | to


def _node(run_id: str, run: ServedRun) -> dict[str, Any]:
    state = {None: "crashed", 0: "finished"}.get(run.exit_code, "failed")
    return {
        "id": run_id,
        "projectId": "1",
        "name": run_id,
        "displayName": run.fields.get("displayName"),
        "state": state,
        "config": run.fields.get("config", "{}"),
        "summaryMetrics": json.dumps(_without_specials(run.summary)),
        "systemMetrics": "{}",
        "tags": run.fields.get("tags") or [],
        "group": run.fields.get("groupName"),
        "createdAt": "2026-01-01T00:00:00Z",
        "heartbeatAt": "2026-01-01T00:00:00Z",
        "historyLineCount": len(run.lines),
        "historyKeys": None,
        "user": {"name": "u", "username": "u"},
    }


def _of_run(**answer: Any) -> dict[str, Any]:
    return {"project": {"run": answer}}


def _json_lines(run: ServedRun) -> list[str]:
    return [json.dumps(_without_specials(row)) for row in run.history]


def _without_specials(values: dict[str, Any]) -> dict[str, Any]:
    """NaN and infinity as the text in which the service gives them."""
    names = {math.inf: "Infinity", -math.inf: "-Infinity"}
    return {
        key: ("NaN" if value != value else names.get(value, value))
        if isinstance(value, float)
        else value
        for key, value in values.items()
    }


class StandIn:
    """A context manager serving at `url`; `runs` holds what arrived, by run id.

    `stream_status` other than 200 refuses the uploads of rows, as a service half down; `garbage`
    answers with what is no JSON, `drops` hangs up; each answer takes `delay` seconds.
    """

    def __init__(self) -> None:
        self.runs: dict[str, ServedRun] = {}
        self.operations: list[str] = []
        self.stream_status = 200
        self.delay = 0.0
        self.garbage = self.drops = False
        self.reads = Reads(self.runs).operations
        self.artifacts = Artifacts()
        self._http = _Server(("127.0.0.1", 0), _handler(self))
        self.url = self.artifacts.url = f"http://127.0.0.1:{self._http.server_port}"

    def __enter__(self) -> "StandIn":
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()

    def graphql(self, operation: str, variables: dict[str, Any]) -> dict[str, Any]:
        self.operations.append(operation)
        if operation in ("Viewer", "GetDefaultEntity"):
            return {"viewer": {"id": "u", "entity": "ent", "username": "u", "flags": "{}"}}
        if operation == "UpsertBucket":
            return {"upsertBucket": {"bucket": self._upsert(variables), "inserted": True}}
        if operation == "RunResumeStatus":
            return {"model": {"id": "p", "name": "proj", "bucket": self._resume(variables)}}
        if operation == "CreateRunFiles":
            files = [{"name": n, "uploadUrl": f"{self.url}/up"} for n in variables["files"]]
            return {"createRunFiles": {"runID": "r", "uploadHeaders": [], "files": files}}
        if operation in self.artifacts.operations:
            return self.artifacts.operations[operation](variables)
        if operation in self.reads:
            return self.reads[operation](variables)
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
            time.sleep(server.delay)
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            payload = json.loads(body)
            if self.path.endswith("/file_stream"):
                if server.stream_status != 200:
                    return self.answer({}, status=server.stream_status)
                server.stream(self.path.split("/")[-2], payload)
                return self.answer({"exitcode": None, "limits": {}})
            operation = payload.get("operationName") or OPERATION.search(payload["query"])[1]
            self.answer({"data": server.graphql(operation, payload.get("variables") or {})})

        def do_PUT(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.answer({})

        def answer(self, content: dict[str, Any], status: int = 200) -> None:
            if server.drops:
                self.close_connection = True
                return
            body = b"<html>" if server.garbage else json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    return Handler
