"""The clients of a session, one module an area; it builds one for equal arguments."""
