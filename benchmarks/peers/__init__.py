"""The reference work by other means: see `benchmarks.peers.compare`."""
