"""Where logged runs come from: the store, offline W&B folders and W&B's service."""
