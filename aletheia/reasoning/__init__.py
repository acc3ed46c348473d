"""Reasoning about the whole system (SPEC §5): so far, its findings."""
