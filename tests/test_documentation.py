"""What the documentation says is what happens: it builds, its commands are known, and the blocks of
its tutorials run in order in an empty folder."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest

from harness import cli
from harness.overrides import jobs
from harness.overrides.expanding import expand
from harness.overrides.zipping import unzipped

DOCS = Path(__file__).parent.parent / "docs"
TUTORIALS = DOCS / "tutorials"
BLOCK = re.compile(r"^```(sh|python|yaml|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NUMBER = re.compile(r"[-\u2212+]?\d[\d.,]*")
HYDRAS = {"train", "plan", "verify"}
# The first line of a block that is a file to write.
FILE = re.compile(r"# ([\w/-]+\.(?:py|yaml))\n")


def blocks(page: Path) -> Iterator[tuple[str, str, str]]:
    """Language, code and what is said to be printed, of each block that runs."""
    found = BLOCK.findall(page.read_text(encoding="utf-8"))
    for (language, code), (after, text) in zip(found, [*found[1:], ("", "")], strict=True):
        if language != "text":
            yield language, code, text if after == "text" else ""


def pattern(line: str) -> str:
    """A printed line: any number for a number, anything for `...`, any room for room.

    >>> bool(re.fullmatch(pattern("On 57 rows ..."), "On  1,024.5 rows of 3"))
    True
    """
    escaped = re.escape(NUMBER.sub("\0", line.strip())).replace(re.escape("\0"), NUMBER.pattern)
    return re.sub(r"(?:\\\s)+", r"\\s+", escaped.replace(re.escape("..."), ".*"))


def printed(code: str, language: str, folder: Path) -> str:
    """What a block prints; a command that fails fails."""
    if name := FILE.match(code):
        (folder / name[1]).write_text(code)
    if name or language == "yaml":
        return ""
    command = [sys.executable, "-c", code] if language == "python" else ["bash", "-euc", code]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, f"{code}\n{done.stdout}\n{done.stderr}"
    return done.stderr + done.stdout


def assert_printed(said: str, expected: str) -> None:
    """Each line of ``expected`` is printed, in this order."""
    at = 0
    for line in filter(str.strip, expected.splitlines()):
        found = re.compile(pattern(line)).search(said, at)
        assert found, f"not printed: {line!r}, in\n{said[at:]}"
        at = found.end()


@pytest.fixture
def reader(tmp_path, monkeypatch, lone_client):
    """A folder of somebody who has installed the package and follows a page."""
    command = tmp_path / "bin" / "harness"
    command.parent.mkdir()
    command.write_text(
        f"#!/bin/sh\nexec {sys.executable} -c 'from harness.cli import main; main()' \"$@\"\n"
    )
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{command.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(DOCS.parent))
    (tmp_path / "folder").mkdir()
    return tmp_path / "folder"


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(page.stem for page in TUTORIALS.glob("*.md")))
def test_a_tutorial_runs_and_prints_what_it_says(name, reader, request):
    if name == "team":
        request.getfixturevalue("server")
    for language, code, expected in blocks(TUTORIALS / f"{name}.md"):
        assert_printed(printed(code, language, reader), expected)


# Words that name what only a reader's folder has, or an option.
OF_FILES = ("plugins=", "overrides_from=", "hydra", "--")


def commands(page: str) -> Iterator[list[str]]:
    """The words of each command line of ours on a page."""
    for line in page.replace("\\\n", " ").splitlines():
        if line.startswith(("harness ", "    harness ")) and "..." not in line:
            yield shlex.split(line.rstrip("&"), comments=True)[1:]


def test_every_command_that_is_shown_is_one(harness):
    """Those that nothing runs, too: their options and the keys they set are known ones."""
    helps = {name: harness(name, "--help").out for name in cli._COMMANDS if name not in HYDRAS}
    helps["runs"] += harness("runs", "export", "--help").out + harness("runs", "rm", "--help").out
    helps["data"] += harness("data", "describe", "--help").out
    seen = set()
    for page in (DOCS.parent / "README.md", *DOCS.glob("*.md"), *DOCS.glob("[htr]*/*.md")):
        for name, *words in commands(page.read_text(encoding="utf-8")):
            seen.add(name)
            if name not in HYDRAS:
                options = [word.partition("=")[0] for word in words if word.startswith("--")]
                assert all(one in helps[name] for one in options), (page, name, words)
            elif not any(word.startswith(OF_FILES) for word in words):
                asked = [word for word in words if word not in ("-m", "...")]
                first = [w for word in asked for w in expand(unzipped([word]), jobs._loader())[0]]
                jobs.parsed([jobs.job_of(first)])
    assert seen >= {"train", "plan", "choose", "predict", "analyze", "runs", "sync", "reproduce"}


@pytest.mark.slow
def test_it_builds_without_a_warning_and_no_link_is_dead(tmp_path):
    """Of what the pages link to within themselves; they load nothing from elsewhere."""
    built = tmp_path / "html"
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-E", "-q", "-b", "html",
         "-d", tmp_path / "trees", DOCS, built],
        capture_output=True, text=True, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stderr}\n(`make docs` installs what builds it)"
    pages = {path: path.read_text(encoding="utf-8") for path in built.rglob("*.html")}
    assert len(pages) > 70 and "loss-focal.svg" in str(sorted(built.rglob("*.svg")))
    for path, page in pages.items():
        for kind, target in re.findall(r'(href|src)="([^"]*)"', page):
            place, _, anchor = unquote(target).partition("#")
            if "://" in target:
                assert kind == "href" and "stylesheet" not in target, (path, target)
                continue
            there = (path.parent / place.partition("?")[0]).resolve() if place else path
            assert there.exists(), (path, target)
            if anchor and there in pages:
                assert f'id="{anchor}"' in pages[there], (path, target)
