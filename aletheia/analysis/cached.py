"""Results that were made before are not made, or paid for, again (SPEC §3)."""

from collections.abc import Awaitable, Callable
from typing import Final

from aletheia.analysis.result_cache import ResultCache
from aletheia.analysis.single import Computed, write_result

FALLBACK: Final = "fallback"
"""Field of a result that says why it is not what it should be: another attempt may be better."""


async def compute_once(
    cache: ResultCache | None,
    made_from: tuple[object, ...],
    compute: Callable[[], Awaitable[Computed]],
) -> Computed:
    """Return what was computed from the same before, or compute it and save it.

    `made_from` is everything that the result depends on, as JSON values; what is found was paid for
    then, and its record says so. Errors of `compute` pass and are not saved.
    """
    if cache is None:
        return await compute()
    saved = await cache.get(*made_from)
    if saved is not None:
        return Computed(saved["result"], {**saved["record"], "cached": True}, {"tokens": 0})
    computed = await compute()
    result = write_result(computed.result)
    if FALLBACK not in result:
        await cache.put({"result": result, "record": computed.record}, *made_from)
    return Computed(result, computed.record, computed.usage)
