"""Prompts about quality, one file each."""
