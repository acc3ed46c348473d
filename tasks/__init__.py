"""Prefect tasks: thin skins over the library, and what stays open between them.

Whoever imports them works on libuv's event loop: Prefect makes the loop of a run itself, and asks
nobody which.
"""

import asyncio
import warnings

import uvloop

with warnings.catch_warnings():
    # Policies are deprecated from Python 3.14 on, and the only way to a loop of `asyncio.run`.
    warnings.simplefilter("ignore", DeprecationWarning)
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())  # pyright: ignore[reportDeprecated]
