"""Hydra finds its plugins here; the launcher's work is in `harness.sweep`."""
