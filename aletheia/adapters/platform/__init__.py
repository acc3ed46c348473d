"""The platform's own collections, which are only read."""
