"""Quality scores, the LLM that judges, evaluations and their report."""
