"""What workers cost beside the bare libraries, and what hostile files do to them."""
