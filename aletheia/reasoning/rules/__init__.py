"""The rules by which something in a snapshot needs attention, one small function each."""
