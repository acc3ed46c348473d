"""The Prefect API over plain HTTP: the library itself never imports Prefect."""
