"""A stored metric's full name, built and read in one place.

``<split>/[<version>/]<metric>[@<rule>][_low|_high]``: `test/auroc`, `test/platt/log_loss`,
`validation/f1@tuned`, `test/mcc@0.5_low`. The version is that of the scores (`VERSIONS`), the rule
chose the threshold (`RULES`, or a probability), and an end is of the metric's bootstrap interval.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from textwrap import fill
from typing import Literal, cast, get_args

from harness.metrics.definitions import METRICS, RULES, VERSIONS, Metric, Split

End = Literal["low", "high"]
ENDS: Mapping[End, str] = {"low": "lower end", "high": "upper end"}


@dataclass(frozen=True)
class MetricName:
    """Which number of a run: a metric, of which rows, scores and threshold.

    Any part but the metric may be empty: no split where it goes without saying, no version of raw
    scores, no rule where the metric needs no threshold, no end of the value itself.

    >>> str(MetricName("f1", split="test", version="platt", rule="0.5", end="low"))
    'test/platt/f1@0.5_low'
    """

    metric: str
    split: Split | Literal[""] = ""
    version: str = ""
    rule: str = ""
    end: End | Literal[""] = ""

    def __str__(self) -> str:
        places = [part for part in (self.split, self.version) if part]
        rule = f"@{self.rule}" if self.rule else ""
        end = f"_{self.end}" if self.end else ""
        return "/".join([*places, f"{self.metric}{rule}{end}"])

    @property
    def definition(self) -> Metric:
        return METRICS[self.metric]

    @property
    def title(self) -> str:
        """In prose, without the split.

        >>> parse("average_precision").title, parse("f1@tuned").title, parse("mcc@0.5").title
        ('average precision', 'F1 at the tuned threshold', 'MCC at threshold 0.5')
        >>> parse("platt/log_loss").title, parse("test/auroc_low").title
        ('log loss after Platt scaling', 'AUROC, lower end')
        """
        words = [self.definition.title]
        if self.rule:
            words.append(RULES.get(self.rule, f"at threshold {self.rule}"))
        if self.version:
            words.append(VERSIONS[self.version].title)
        return " ".join(words) + (f", {ENDS[self.end]}" if self.end else "")


@lru_cache(maxsize=4096)
def parse(text: str) -> MetricName:
    """The name that ``text`` is, with or without its split.

    Raises:
        ValueError: a part of it is unknown; one line that names what may have been meant.

    >>> parse("validation/platt/log_loss")
    MetricName(metric='log_loss', split='validation', version='platt', rule='', end='')
    >>> parse("test/auroq")
    Traceback (most recent call last):
    ValueError: no metric is called 'auroq'; did you mean auroc?
    """
    *places, rest = text.split("/")
    split = places.pop(0) if places and places[0] in get_args(Split) else ""
    end = next((end for end in ENDS if rest.endswith(f"_{end}")), "")
    metric, at, rule = rest.removesuffix(f"_{end}" if end else "").partition("@")
    if len(places) > 1:
        raise ValueError(f"{_shown(text)} is no metric: write such as test/platt/log_loss")
    version = places[0] if places else ""
    if metric not in METRICS:
        hint = _meant(metric, _spellings()) or "; `harness analyze --help` lists them"
        raise ValueError(f"no metric is called {_shown(metric)}{hint}")
    if version and version not in VERSIONS:
        known = ", ".join(VERSIONS)
        raise ValueError(f"no version of the scores is called {_shown(version)}: one of {known}")
    needs_rule = METRICS[metric].at_threshold
    if needs_rule and not rule:
        raise ValueError(f"{metric} needs a threshold: such as {metric}@0.5 or {metric}@tuned")
    if at and not needs_rule:
        raise ValueError(f"{metric} has no threshold: write it without @{rule[:40]}")
    if rule:
        _check_rule(rule)
    return MetricName(metric, cast(Split, split), version, rule, cast(End, end))


def known(text: str) -> MetricName | None:
    """The name that a logged column has; None of one that is none of ours.

    >>> known("test/auroc") == parse("test/auroc"), known("test/someone's score")
    (True, None)
    """
    try:
        return parse(text)
    except ValueError:
        return None


def stated_rule(probability: float) -> str:
    """The rule of a stated probability.

    >>> stated_rule(0.50), stated_rule(0.025)
    ('0.5', '0.025')
    """
    return f"{probability:g}"


def threshold_fact(rule: str) -> str:
    """The stored name of the threshold, a logit, that a rule chose on validation.

    >>> threshold_fact("tuned"), threshold_fact("mcc")
    ('threshold_logit', 'threshold_logit@mcc')
    """
    return "threshold_logit" if rule == "tuned" else f"threshold_logit@{rule}"


def listing() -> str:
    """All that a full name can hold, as help shows it."""
    parts = {
        "VERSION (none: raw scores)": VERSIONS,
        "METRIC": [name for name, metric in METRICS.items() if not metric.at_threshold],
        "METRIC that needs @RULE": [n for n, metric in METRICS.items() if metric.at_threshold],
        "RULE": ["a probability, such as 0.5", *RULES],
    }
    lines = [fill(f"{part}: {', '.join(of)}", subsequent_indent="  ") for part, of in parts.items()]
    return "\n".join(["Metrics are named [VERSION/]METRIC[@RULE]:", *lines])


def _check_rule(text: str) -> None:
    if text in RULES:
        return
    try:
        probability = float(text)
    except ValueError:
        choices = f"; give a probability, or one of {', '.join(RULES)}"
        meant = _meant(text, {rule: rule for rule in RULES}) or choices
        raise ValueError(f"no threshold rule is called {_shown(text)}{meant}") from None
    if not 0 < probability < 1:
        raise ValueError(f"a threshold is a probability in (0, 1), got {_shown(text)}")
    if text != (written := stated_rule(probability)):
        raise ValueError(f"write the threshold {_shown(text)} as {written}")


def _meant(text: str, spellings: dict[str, str]) -> str:
    """`; did you mean ...?`, of names by all of their spellings; nothing where none is near."""
    text = text[:60].lower()
    near = [text] if text in spellings else get_close_matches(text, spellings, n=3, cutoff=0.65)
    names = list(dict.fromkeys(spellings[spelling] for spelling in near))
    return f"; did you mean {' or '.join(names)}?" if names else ""


def _spellings() -> dict[str, str]:
    also = {other: name for name, metric in METRICS.items() for other in metric.also}
    return {**also, **{name: name for name in METRICS}}


def _shown(text: str, longest: int = 60) -> str:
    return repr(text if len(text) <= longest else text[: longest - 3] + "...")
