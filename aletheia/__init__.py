"""The library: everything that is not Prefect."""
