"""What the models are told, one file a prompt: the form of the answer and the messages."""
