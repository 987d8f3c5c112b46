"""What the harness costs, measured: `make bench`."""
