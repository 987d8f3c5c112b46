"""Which loss should train my binary classifier? Fused sweeps, honest comparison."""

__version__ = "0.1.0"
