"""Backends of the document store."""
