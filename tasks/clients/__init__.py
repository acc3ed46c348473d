"""The clients of a session, one module an area. Equal arguments get the same client."""
