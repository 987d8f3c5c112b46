"""What the mirror owes: a file of lines beside the store, added to by any number of writers."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

OWED_FILE = "mirror-owed.jsonl"

Standing = Literal["owed", "offline", "online"]


@dataclass(frozen=True)
class Ledger:
    """How each run of a sweep folder stands with W&B. The last line that names a run counts."""

    folder: Path

    def owe(self, run_ids: Sequence[str]) -> list[Exception]:
        """Notes that these are to be mirrored; returns what went wrong."""
        return self._append({"owed": list(run_ids)})

    def pay(self, run_ids: Sequence[str], *, to: Literal["offline", "online"]) -> list[Exception]:
        """Notes that these were mirrored; returns what went wrong."""
        return self._append({"paid": list(run_ids), "to": to})

    def standings(self) -> dict[str, Standing]:
        """By run_id, in the order in which they were first noted. A torn line is passed over."""
        standings: dict[str, Standing] = {}
        try:
            lines = (self.folder / OWED_FILE).read_text(encoding="utf-8").splitlines()
        except OSError:
            return {}
        for line in lines:
            try:
                entry = json.loads(line)
                standings |= {run_id: "owed" for run_id in _ids(entry.get("owed", ()))}
                to: Standing = "online" if entry.get("to") == "online" else "offline"
                standings |= {run_id: to for run_id in _ids(entry.get("paid", ()))}
            except (ValueError, TypeError, AttributeError):
                continue  # of a killed writer
        return standings

    def _append(self, entry: dict[str, Any]) -> list[Exception]:
        """Adds a line in one write, so that lines of many writers do not mix."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with open(self.folder / OWED_FILE, "ab", buffering=0) as file:
                # The line before may be torn: begin a new one.
                file.write(f"\n{json.dumps(entry)}\n".encode())
        except OSError as error:
            return [error]
        return []


def _ids(values: Iterable[Any]) -> list[str]:
    return [str(value) for value in values]
