"""What Weights & Biases logged, as tables: its offline folders, and the runs of its service."""
