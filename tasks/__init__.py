"""Prefect tasks: thin skins over the library, and what stays open between them."""

from tasks import event_loop

event_loop.use()
