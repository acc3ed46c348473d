"""How properties are tried: no limit of time an example, as the machine may be busy."""

from hypothesis import settings

settings.register_profile("aletheia", database=None, deadline=None, max_examples=50)
settings.load_profile("aletheia")
