"""A plug-in that ends the interpreter when it is imported."""

raise SystemExit("it ends on import")
