"""Other ways to do the same work, and the model alone; each in a process of its own."""
