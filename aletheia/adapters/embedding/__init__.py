"""Embedders over other embedders: batches, fallback, cache."""
