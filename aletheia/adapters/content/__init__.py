"""Where projects' items are saved."""
