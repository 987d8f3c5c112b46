"""Tab completion: what the shell's script asks at a TAB, and what it gets."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


def offered(harness, monkeypatch, line: str, shell: str = "bash") -> list[str]:
    monkeypatch.setenv("COMP_LINE", line)
    said = harness("-sc", f"query={shell}")
    assert (said.code, said.err) == (0, "")
    return said.out.split()


@pytest.mark.parametrize("shell", ["bash", "fish", "zsh"])
def test_commands_groups_choices_and_keys_are_offered(shell, harness, monkeypatch):
    def query(line):
        return offered(harness, monkeypatch, line, shell)

    assert query("harness tr") == ["train"]
    assert {"train", "plan", "data"} <= set(query("harness "))
    assert "loss=" in query("harness train lo")
    assert query("harness train loss=foc") == ["loss=focal"]
    assert query("harness plan -m seed=1 loss=foc") == ["loss=focal"]
    assert "loss.gamma=" in query("harness train loss=focal loss.")
    assert query("harness train dataset=keel/yeast-1_") == ["dataset=keel/yeast-1_vs_7"]
    assert query("harness verify --foo training.num_") == ["training.num_epochs="]
    assert query("harness train seed=[1 lo") == query("harness train loss=nothing loss.") == []
    assert query("harness data des") == query("harness nothing ") == []


@pytest.mark.parametrize("command", [(), ("train",)], ids=["harness", "harness train"])
def test_the_script_is_for_the_program(command, harness):
    script = harness(*command, "-sc", "install=bash")
    assert script.code == 0
    assert script.out.rstrip().endswith("-F hydra_bash_completion harness")


@pytest.mark.parametrize("asked", [(), ("install=tcsh",), ("complete=bash",)])
def test_what_completion_does_not_know_is_one_line(asked, harness):
    said = harness("-sc", *asked)
    assert said.code == 2 and len(said.err.splitlines()) == 1 and "install=bash" in said.err


def test_bash_completes(tmp_path):
    """The whole of it: the script evaluated, and its function called as bash does at a TAB."""
    program = tmp_path / "harness"
    program.write_text(f"#!{sys.executable}\nfrom harness.cli import main\nmain()\n")
    program.chmod(0o755)
    script = """
        eval "$(harness train -sc install=bash)"
        COMP_LINE='harness train loss=foc'; COMP_POINT=${#COMP_LINE}; COMP_CWORD=2
        COMP_WORDS=(harness train loss=foc)
        hydra_bash_completion
        echo "${COMPREPLY[@]}"
        complete -p harness
        """
    where = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "PYTHONPATH": str(Path(__file__).resolve().parent.parent),
    }
    done = subprocess.run(
        ["bash", "-c", script], env=os.environ | where, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "loss=focal", done.stderr
