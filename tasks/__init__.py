"""Prefect tasks: thin skins over the library, and what stays open between them."""
