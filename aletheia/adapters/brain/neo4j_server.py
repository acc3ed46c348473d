"""A Neo4j server: connecting, asking, and what its errors mean."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any, Final

import neo4j
from neo4j.exceptions import (
    AuthError,
    ClientError,
    ConfigurationError,
    DriverError,
    Neo4jError,
    ServiceUnavailable,
    UnsupportedServerProduct,
)

from aletheia.adapters.brain.neo4j_connection import READ_ONLY, Connection, read_cypher
from aletheia.brain.access import BRAIN
from aletheia.errors import (
    BadAnswer,
    Misconfigured,
    Refused,
    Unauthorized,
    Unavailable,
    Unreachable,
)

ADDRESS: Final = "NEO4J_URI"
"""The setting that errors point to."""

MAX_CONNECTIONS: Final = 8
"""Open at once; a further call waits for one."""

CONNECT_TIMEOUT_S: Final = 5.0
"""Bound on connecting."""

RETRY_S: Final = 5.0
"""For how long a call is retried after transient errors."""

_SCHEMES: Final = tuple(
    f"{scheme}{security}://" for scheme in ("bolt", "neo4j") for security in ("", "+s", "+ssc")
)
_LOCKED_OUT: Final = "Neo.ClientError.Security.AuthenticationRateLimit"
_SECURITY: Final = "Neo.ClientError.Security."
_NO_DATABASE: Final = "Neo.ClientError.Database.DatabaseNotFound"
_MAX_REASON: Final = 300
_REFUSED: Final = HTTPStatus.CONFLICT
"""The status of a refused statement: all of them are ours, and items were checked before, so that
the state of the server is at fault, never an item."""


class Neo4jServer:
    """Connects when it is first called, and sends the statements of `cypher/`.

    `uri`: `bolt://`, `neo4j://` and the like, without credentials. `timeout_s`: bound on a call,
    its retries included, seconds.
    """

    def __init__(
        self, uri: str, username: str, password: str, *, database: str, timeout_s: float
    ) -> None:
        self._uri, self._auth, self._database = uri, (username, password), database
        self.timeout_s = timeout_s
        self._connection: Connection | None = None
        self._opening = asyncio.Lock()

    async def open(self) -> None:
        """Connect and prepare. Idempotent.

        Raises:
            Misconfigured: the address or the database cannot be right.
            Unauthorized: the server refuses the credentials.
            Unavailable: it is out of reach, or refuses to prepare for now.
        """
        async with self._opening:
            if self._connection is not None:
                return
            driver = self._make_driver()
            try:
                async with self.bounded():
                    await driver.verify_connectivity()  # pyright: ignore[reportUnknownMemberType] - takes any setting
                    connection = Connection(driver, self._database)
                    await connection.prepare()
            except BaseException:
                await driver.close()
                raise
            self._connection = connection

    async def close(self) -> None:
        """Disconnect. Idempotent."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.driver.close()

    @asynccontextmanager
    async def connected(self, timeout_s: float | None = None) -> AsyncGenerator[Connection]:
        """Lend the connection, which is made if there is none; see `bounded`."""
        if self._connection is None:
            # Whoever waits for others that connect, too, waits no longer than they do.
            async with self.bounded():
                await self.open()
        assert self._connection is not None
        async with self.bounded(timeout_s):
            yield self._connection

    async def read(self, file: str, /, **parameters: Any) -> list[dict[str, Any]]:
        """Run a statement that reads, and return its rows."""
        async with self.connected() as connection:
            return await connection.ask(read_cypher(file), parameters, is_reading=True)

    async def write(self, file: str, /, **parameters: Any) -> list[dict[str, Any]]:
        """Run a statement that writes, and return its rows."""
        async with self.connected() as connection:
            return await connection.ask(read_cypher(file), parameters)

    @asynccontextmanager
    async def bounded(self, timeout_s: float | None = None) -> AsyncGenerator[None]:
        """Bound what is done, by `timeout_s` of a call unless given, and translate errors."""
        bound_s = self.timeout_s if timeout_s is None else timeout_s
        try:
            async with asyncio.timeout(bound_s):
                yield
        except TimeoutError:
            raise Unavailable(BRAIN, f"no answer within {bound_s:g} s") from None
        except (Neo4jError, DriverError) as error:
            raise _translate(error, self._database) from None
        except (OSError, ValueError) as error:
            # The driver does not translate these when it looks an address up.
            reason = f"{type(error).__name__}: {error}"[:_MAX_REASON]
            raise Unreachable(BRAIN, reason) from None

    def _make_driver(self) -> neo4j.AsyncDriver:
        if not self._uri.startswith(_SCHEMES):
            raise Misconfigured(ADDRESS, "must begin with neo4j:// or bolt:// and name a server")
        try:
            return neo4j.AsyncGraphDatabase.driver(  # pyright: ignore[reportUnknownMemberType] - takes any setting
                self._uri,
                auth=self._auth,
                max_connection_pool_size=MAX_CONNECTIONS,
                connection_timeout=CONNECT_TIMEOUT_S,
                connection_acquisition_timeout=self.timeout_s,
                max_transaction_retry_time=RETRY_S,
                notifications_min_severity="OFF",
                warn_notification_severity="OFF",
                telemetry_disabled=True,
                user_agent="aletheia",
            )
        except (ConfigurationError, ValueError):
            # The driver's message repeats the address, and with it a password somebody put there.
            reason = "is no address of a Neo4j; it has a host and a port, and no credentials"
            raise Misconfigured(ADDRESS, reason) from None


class Rows(list[Any]):
    """A parameter that stays out of the driver's log.

    The driver formats every parameter for a debug line, wanted or not: four fifths of the time it
    spends on a batch of vectors, and no place for texts.
    """

    def __repr__(self) -> str:
        return f"<{len(self)} rows>"


def _translate(error: Neo4jError | DriverError, database: str) -> Exception:
    """Build our own error for one of the driver's."""
    reason = f"{type(error).__name__}: {error}"[:_MAX_REASON]
    if isinstance(error, Neo4jError) and error.code == _LOCKED_OUT:
        return Unavailable(BRAIN, "too many sign-ins with wrong credentials, for now")
    if isinstance(error, Neo4jError) and error.code in READ_ONLY:
        # Whoever made it read-only will end it; what is to be written can wait for that.
        return Unavailable(BRAIN, "the database is read-only")
    match error:
        case AuthError():
            found: Exception = Unauthorized(
                BRAIN, HTTPStatus.UNAUTHORIZED, "the server refuses the user or the password"
            )
        case Neo4jError(code=code) if code == _NO_DATABASE:
            found = Misconfigured("NEO4J_DATABASE", f"there is no {database!r}")
        case ClientError(code=code) if code and code.startswith(_SECURITY):
            found = Unauthorized(BRAIN, HTTPStatus.FORBIDDEN, reason)
        case ClientError():
            found = Refused(BRAIN, _REFUSED, reason)
        case ServiceUnavailable() if "Couldn't connect" in reason or "Cannot resolve" in reason:
            # No connection came about; the driver has one error for that and for a lost one.
            found = Unreachable(BRAIN, reason)
        case ConfigurationError():
            found = Misconfigured(ADDRESS, reason)
        case UnsupportedServerProduct():
            found = BadAnswer(BRAIN, reason)
        case _:
            found = Unavailable(BRAIN, reason)
    return found
