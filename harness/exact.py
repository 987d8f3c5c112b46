"""Decimal fractions of a configuration as what was written: 0.7 is seven in ten."""

from fractions import Fraction


def exact(value: float) -> Fraction:
    """The decimal number that ``value`` is written as, and not the binary fraction next to it.

    >>> exact(0.29) * 100, 0.29 * 100
    (Fraction(29, 1), 28.999999999999996)
    """
    return Fraction(str(value))
