"""The task type `word_frequency` for Aletheia."""
