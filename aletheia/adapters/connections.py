"""What every client on aiohttp says of a connection that is lost, and never does by itself."""

import aiohttp

from aletheia.errors import Unavailable


def connection_lost(
    dependency: str, error: BaseException, status: int | None = None
) -> Unavailable:
    """Say that a connection was lost, before or after its answer's status."""
    reason = f"connection lost ({type(error).__name__})"
    return Unavailable(dependency, reason, status=status)


def send_once(dependency: str) -> aiohttp.ClientMiddlewareType:
    """Keep aiohttp from repeating a GET by itself when a kept connection turns out to be lost.

    It would be a try that no policy decided on and nobody counts.
    """

    async def send(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        try:
            return await handler(request)
        except aiohttp.ClientConnectorError:
            raise
        except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
            raise connection_lost(dependency, error) from error

    return send
