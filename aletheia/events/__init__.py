"""The numbered log of events and its delivery to sinks."""
