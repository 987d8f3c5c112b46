"""Hydra finds its plugins here; their work is in `harness.cli.launching`."""
