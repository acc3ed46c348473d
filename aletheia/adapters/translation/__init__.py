"""Engines that translate on this machine, in child processes."""
