"""OpenAI and servers that speak its API."""
