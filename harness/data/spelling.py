"""A table's or a config's value as text."""

from typing import Annotated

from pydantic import BeforeValidator


def spelled(value: object) -> str:
    """A table's or config's value as text: `true`, and `1` for the float 1.0.

    >>> spelled(True), spelled(1.0), spelled("yes")
    ('true', '1', 'yes')
    """
    if isinstance(value, bool):
        return str(value).lower()
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


# `dataset.positive=1` reaches us as an integer, `=true` as a boolean: both name a label.
Text = Annotated[str, BeforeValidator(spelled)]
OptionalText = Annotated[str | None, BeforeValidator(lambda v: None if v is None else spelled(v))]
Texts = Annotated[
    tuple[Text, ...], BeforeValidator(lambda v: (v,) if isinstance(v, str | int) else v)
]
