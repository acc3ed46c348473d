"""Example servers on the loopback interface: an upstream, an application, providers."""
