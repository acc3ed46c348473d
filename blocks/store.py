"""Where Aletheia keeps its state."""

from pathlib import Path

from prefect.blocks.abstract import CredentialsBlock
from pydantic import Field, SecretStr

from aletheia.adapters.documents.embedded import EmbeddedDocuments
from aletheia.adapters.documents.mongodb import MongoDocuments
from aletheia.documents import Documents


class StoreCredentials(CredentialsBlock):
    """The document store that holds the ledger: files of its own, or MongoDB."""

    _block_type_slug = "aletheia-store"
    _block_type_name = "Aletheia store"
    _description = "The document store that holds the ledger: files of its own, or MongoDB."

    mongodb_uri: SecretStr | None = Field(
        default=None, description="Address of MongoDB; without one the embedded store serves."
    )
    mongodb_database: str = Field(
        default="aletheia", description="Database in MongoDB that holds Aletheia's collections."
    )
    data_dir: Path = Field(
        default=Path(".aletheia"),
        description="Directory of the embedded store, absolute, on a local file system.",
    )

    def get_client(self) -> Documents:
        """Build the store; the caller opens and closes it."""
        if self.mongodb_uri is not None and self.mongodb_uri.get_secret_value():
            return MongoDocuments(self.mongodb_uri.get_secret_value(), self.mongodb_database)
        return EmbeddedDocuments(self.data_dir)
