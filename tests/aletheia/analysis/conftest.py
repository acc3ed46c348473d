"""What the domain keeps, on every backend of the document store."""

from tests.aletheia.adapters.documents.conftest import documents, mongodb_uri

__all__ = ["documents", "mongodb_uri"]
