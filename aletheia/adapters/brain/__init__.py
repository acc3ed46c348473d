"""Backends of the Brain, and the client of one that is served over HTTP."""
