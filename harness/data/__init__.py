"""Data: sources, splits, induced imbalance, resampling and the order rows are visited in."""
