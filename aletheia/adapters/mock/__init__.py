"""Marked mocks, which the specification names."""
