"""Decoders of documents: each module is run in a child process, except `reader`."""
