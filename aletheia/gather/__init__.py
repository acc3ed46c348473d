"""Filling departments with content: generate, deduplicate, gate, evaluate (SPEC §4)."""
