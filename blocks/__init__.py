"""Credentials as Prefect blocks; each builds a client and holds no connection.

What cannot be right, or is missing, is `Misconfigured`.
"""

from blocks.brain import BrainCredentials
from blocks.departments import PayloadCredentials
from blocks.events import EventCredentials
from blocks.huggingface import HuggingFaceCredentials
from blocks.llm_account import LLMCredentials
from blocks.openai_account import OpenAICredentials
from blocks.service import ServiceCredentials
from blocks.store import StoreCredentials
from blocks.upstream import UpstreamCredentials

__all__ = [
    "BrainCredentials",
    "EventCredentials",
    "HuggingFaceCredentials",
    "LLMCredentials",
    "OpenAICredentials",
    "PayloadCredentials",
    "ServiceCredentials",
    "StoreCredentials",
    "UpstreamCredentials",
]
