"""Texts: normalisation, facts, excerpts, language."""
