"""Outside systems, one module each, behind the ports of the domains."""
