"""The Brain: the graph index beside the store, behind a port, and what is sent to it."""
