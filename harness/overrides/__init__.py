"""Overrides as texts: what is wrong with them, and the jobs that they make.

`checking` and `expanding` load neither the schema nor JAX: a slip is said at once.
"""
