"""What the model that explains findings is asked."""
