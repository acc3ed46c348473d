"""Flows: one file each, short; deployed by their paths."""
