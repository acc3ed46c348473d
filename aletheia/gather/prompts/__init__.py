"""What the models are asked, one file a prompt: the form of the answer and the messages."""
