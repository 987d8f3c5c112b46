"""`make audit` ends as it should, whatever the service says; both tools are stood in for."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(("said", "code", "ends", "shown"), [
    ("No known vulnerabilities found", 0, 0, "No known"),
    ("Found 1 known vulnerability in 1 package\nnumpy 0.1 CVE-1", 1, 2, "CVE-1"),
    ("Traceback\nConnectionError: no such host", 1, 0, "AUDIT SKIPPED: nobody who knows of"),
], ids=["clean", "vulnerable", "offline"])  # fmt: skip
def test_an_audit_fails_for_a_vulnerability_alone(said, code, ends, shown, tmp_path):
    for name, script in {
        "pip-audit": f"cat <<'END'\n{said}\nEND\nexit {code}",
        "cyclonedx-py": "exit 0",
    }.items():
        tool = tmp_path / "bin" / name
        tool.parent.mkdir(exist_ok=True)
        tool.write_text(f"#!/bin/sh\n{script}\n")
        tool.chmod(0o755)
    ready = tmp_path / "ready"
    ready.touch()
    os.utime(ready, (2**32, 2**32))
    command = ["make", "--silent", "audit", f"AUDIT={tmp_path}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == ends and shown in done.stdout, done
    assert ("AUDIT SKIPPED" in done.stdout) == (code != ends and ends == 0)
