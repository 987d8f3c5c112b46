"""`results/README.md`: every claim, its verdict in a sentence, its figure."""

from pathlib import Path

from harness.analyze.export import write_atomically
from harness.reproduce.results import VERDICTS, read_json
from harness.reproduce.schema import experiments, read


def write_index(results: Path, root: Path) -> Path:
    """Lists the claims of all experiments below ``root``, with what ``results`` say of them."""
    lines = [
        "# Every claim, and what became of it",
        "",
        "Written by `harness reproduce`; each section is an experiment, and its title leads to its",
        "tables and figures.",
    ]
    for name in experiments(root):
        experiment = read(root / name)
        found = {c["name"]: c for c in read_json(results / name / VERDICTS).get("claims", [])}
        lines += ["", f"## [{name}]({name}/README.md)" if found else f"## {name}", ""]
        lines += [experiment.question, ""]
        for claim in experiment.claims:
            known = found.get(claim.name)
            says = f"**{known['verdict']}**: {known['finding']}" if known else "**not run yet**"
            lines.append(f"- {claim.says} {says}.")
        if found and experiment.figures:
            figure = experiment.figures[0]
            lines += ["", f"![{figure.title}]({name}/{figure.name}.svg)"]
    results.mkdir(parents=True, exist_ok=True)
    path = results / "README.md"
    write_atomically(path, ("\n".join(lines) + "\n").encode())
    return path
