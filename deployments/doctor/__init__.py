"""`aletheia doctor`: checks of a set-up, end to end, each with advice."""
