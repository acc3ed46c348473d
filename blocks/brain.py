"""Where the Brain is, and how to sign in to it."""

from pathlib import Path
from typing import TYPE_CHECKING

from prefect.blocks.abstract import CredentialsBlock
from pydantic import Field, SecretStr

from aletheia.adapters.brain.embedded import EmbeddedGraph
from aletheia.adapters.brain.service import BrainService
from aletheia.settings import BrainSettings, IntakeSettings
from blocks.secret_values import value_of

if TYPE_CHECKING:
    from aletheia.adapters.brain.neo4j import Neo4jGraph


class BrainCredentials(CredentialsBlock):
    """The Brain: a service over HTTP, else Neo4j, else a file of its own."""

    _block_type_slug = "aletheia-brain"
    _block_type_name = "Aletheia Brain"

    service_base_url: str | None = Field(
        default=None,
        description="Root of a Brain service, without /api; it goes before Neo4j for whatever asks "
        "the Brain.",
    )
    service_api_key: SecretStr | None = Field(
        default=None,
        description="Key of that service; `aletheia serve` asks its own callers for this one.",
    )
    neo4j_uri: SecretStr | None = Field(
        default=None,
        description="Address of Neo4j, such as neo4j://localhost:7687; without one a file of its "
        "own serves.",
    )
    neo4j_username: str = Field(default="neo4j", description="User at Neo4j.")
    neo4j_password: SecretStr | None = Field(default=None, description="Password of that user.")
    neo4j_database: str = Field(default="neo4j", description="Database at Neo4j.")
    data_dir: Path = Field(
        default=Path(".aletheia"),
        description="Directory of the embedded store, absolute, on a local file system.",
    )

    @property
    def api_key(self) -> str:
        """The key of the service, empty if there is none."""
        return value_of(self.service_api_key)

    def get_client(self, model: str = "") -> "BrainService | EmbeddedGraph | Neo4jGraph":
        """Build what is configured: see `get_service` and `get_graph`."""
        return self.get_service(model) or self.get_graph()

    def get_service(self, model: str = "") -> BrainService | None:
        """Build the client of the service, if there is one; the caller opens and closes it.

        `model` is the embedding model of vectors that it will be given; empty says nothing.
        """
        if not self.service_base_url:
            return None
        intake = IntakeSettings()
        return BrainService(
            self.service_base_url,
            api_key=self.api_key,
            model=model,
            timeout_s=BrainSettings().brain_timeout,
            max_retries=intake.max_retries,
            retry_base_s=intake.retry_base_seconds,
        )

    def get_graph(self) -> "EmbeddedGraph | Neo4jGraph":
        """Build what keeps the Brain here; the caller opens and closes it."""
        uri = value_of(self.neo4j_uri)
        if not uri:
            return EmbeddedGraph(self.data_dir)
        # The driver takes a while to import, which nobody else shall wait for.
        from aletheia.adapters.brain.neo4j import Neo4jGraph  # noqa: PLC0415 - slow to import

        return Neo4jGraph(
            uri,
            username=self.neo4j_username,
            password=value_of(self.neo4j_password),
            database=self.neo4j_database,
            timeout_s=BrainSettings().brain_timeout,
        )
