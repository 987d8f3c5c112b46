"""What other libraries compute, recorded: see `record`."""
