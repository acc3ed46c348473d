"""Prompts about items, one file each."""
