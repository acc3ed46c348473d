"""What models are asked for in tasks: one file a prompt."""
