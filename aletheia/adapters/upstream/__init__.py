"""The upstream task API and sign-in to it."""
