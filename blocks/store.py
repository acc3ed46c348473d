"""Where Aletheia keeps its state."""

from pathlib import Path

from prefect.blocks.abstract import CredentialsBlock
from pydantic import Field, SecretStr

from aletheia.adapters.content.embedded import EmbeddedContent
from aletheia.adapters.content.mongodb import MongoContent
from aletheia.adapters.documents.embedded import EmbeddedDocuments
from aletheia.adapters.documents.mongodb import MongoDocuments
from aletheia.adapters.platform.mongodb import MongoPlatform
from aletheia.documents import Documents
from blocks.secret_values import value_of


class StoreCredentials(CredentialsBlock):
    """The document store that holds the ledger: files of its own, or MongoDB."""

    _block_type_slug = "aletheia-store"
    _block_type_name = "Aletheia store"

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
        return self._mongodb() or EmbeddedDocuments(self.data_dir)

    def get_volatile_client(self) -> Documents:
        """Build the store for what is written often and may be lost with the power."""
        volatile = self.data_dir / "passing"
        return self._mongodb() or EmbeddedDocuments(volatile, is_durable=False)

    def get_content_client(self, project_id: str) -> EmbeddedContent | MongoContent:
        """Build the store of a project's items; the caller opens and closes it."""
        uri = value_of(self.mongodb_uri)
        return MongoContent(uri, project_id) if uri else EmbeddedContent(self.data_dir, project_id)

    def get_platform_client(self, database: str) -> MongoPlatform | None:
        """Build the reader of the platform's database; `None` where there is no MongoDB."""
        uri = value_of(self.mongodb_uri)
        return MongoPlatform(uri, database) if uri else None

    def _mongodb(self) -> Documents | None:
        uri = value_of(self.mongodb_uri)
        return MongoDocuments(uri, self.mongodb_database) if uri else None
