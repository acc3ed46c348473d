"""The clients of a session, one module an area; each is built on first use.

A key names everything a client was built from, so that nobody gets one that was built for
somebody else.
"""
