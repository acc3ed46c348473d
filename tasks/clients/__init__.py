"""The clients of a session, one module an area; a key names everything a client was built from."""
