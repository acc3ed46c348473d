"""Files in: from https, `data:` URIs and one directory, bounded while they are read."""
