"""Credentials as Prefect blocks; each builds a client and holds no connection."""

from blocks.openai_account import OpenAICredentials
from blocks.store import StoreCredentials
from blocks.upstream import UpstreamCredentials

__all__ = ["OpenAICredentials", "StoreCredentials", "UpstreamCredentials"]
