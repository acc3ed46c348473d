"""How files are fetched and decoded (SPEC §3)."""

from pathlib import Path

from pydantic import Field

from aletheia.settings import Settings


class FileSettings(Settings):
    """Which files tasks may name, and how much is spent on getting one."""

    files_dir: Path | None = Field(
        default=None,
        description="Directory below which tasks may name files by their path; empty: none.",
    )
    file_allowed_hosts: str = Field(
        default="",
        description="Hosts, with commas between them, that files may come from although they are "
        "private or speak plain http.",
    )
    max_file_bytes: int = Field(
        default=100_000_000, ge=1, description="Largest file taken, bytes, decompressed."
    )
    file_timeout: float = Field(
        default=60, gt=0, description="For getting one file, redirects included, seconds."
    )

    @property
    def allowed_hosts(self) -> tuple[str, ...]:
        """The hosts that are allowed by name."""
        hosts = (host.strip() for host in self.file_allowed_hosts.split(","))
        return tuple(host for host in hosts if host)


class DecoderSettings(Settings):
    """What the processes that decode documents may use."""

    decoder_processes: int = Field(
        default=2, ge=1, le=64, description="Processes that decode files, each one at a time."
    )
    decoder_memory_max: int = Field(
        default=1_500_000_000,
        ge=300_000_000,
        description="Address space of a process that decodes documents, bytes.",
    )
    decoder_processor_seconds: float = Field(
        default=120, gt=0, description="Processor time for decoding one file, seconds."
    )
    ocr_memory_max: int = Field(
        default=6_000_000_000,
        ge=1_000_000_000,
        description="Address space of a process that recognises text in pictures, bytes.",
    )
    ocr_max_pages: int = Field(
        default=50,
        ge=0,
        description="Scanned pages of a document whose text is recognised; 0: none.",
    )
    max_document_pages: int = Field(
        default=10_000, ge=1, le=1_000_000, description="Pages of the longest document taken."
    )
    max_document_chars: int = Field(
        default=20_000_000,
        ge=1000,
        description="Characters of text that are read of a document; the rest is left out, and the "
        "result says so.",
    )
