"""Tasks of the upstream: claimed, computed and reported exactly once."""
