"""What Aletheia offers over HTTP."""
