"""Reasoning about the whole system: snapshot, findings, claims, plans (SPEC §5)."""
