"""How things are started, set up, tried and checked."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
"""The checkout: working directory of every command, of the worker's runs, of `prefect deploy`."""
