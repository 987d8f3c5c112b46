"""The commands that are no Hydra application, one module each."""
