"""Recordings: each module is run in a child process, except `analyser` and `transcriber`."""
