"""A database of a Neo4j server: connecting, statements, and what its errors mean."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final, LiteralString, TypeAlias, cast

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

from aletheia.errors import (
    BadAnswer,
    Misconfigured,
    Refused,
    Unauthorized,
    Unavailable,
    Unreachable,
)

BRAIN: Final = "brain"
"""What errors call it."""

ADDRESS: Final = "NEO4J_URI"
"""The setting that errors point to."""

MAX_CONNECTIONS: Final = 8
"""Open at once; a further call waits for one."""

READ_ONLY: Final = frozenset(
    {
        "Neo.ClientError.General.ForbiddenOnReadOnlyDatabase",
        "Neo.ClientError.General.WriteOnReadOnlyAccessDatabase",
    }
)
"""Codes of errors of a database that may not be written to."""

_SCHEMES: Final = tuple(
    f"{scheme}{security}://" for scheme in ("bolt", "neo4j") for security in ("", "+s", "+ssc")
)
_LOCKED_OUT: Final = "Neo.ClientError.Security.AuthenticationRateLimit"
_SECURITY: Final = "Neo.ClientError.Security."
_NO_DATABASE: Final = "Neo.ClientError.Database.DatabaseNotFound"
_MAX_REASON: Final = 300
_REFUSED: Final = 409
"""The status of a refused statement: all of them are ours, and items were checked before, so that
the state of the server is at fault, never an item."""


@dataclass(frozen=True, slots=True)
class Connection:
    """A driver that reaches its server, and the database that statements go to."""

    driver: neo4j.AsyncDriver
    database: str

    async def ask(
        self,
        statement: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        is_reading: bool = False,
    ) -> list[dict[str, Any]]:
        """Run a statement in a transaction of its own, retried after a transient error."""
        answer = await self.driver.execute_query(
            to_literal(statement),
            dict(parameters or {}),
            routing_=neo4j.RoutingControl.READ if is_reading else neo4j.RoutingControl.WRITE,
            database_=self.database,
        )
        # Not `Record.data`, which goes through every number of a vector.
        return [dict(cast("Any", row).items()) for row in answer.records]

    def session(self) -> neo4j.AsyncSession:
        """Open a session, for what is not one statement in one transaction."""
        return self.driver.session(  # pyright: ignore[reportUnknownMemberType] - takes any setting
            database=self.database
        )


Prepare: TypeAlias = Callable[[Connection], Awaitable[None]]


class Neo4jServer:
    """Connects when it is first called, and sends the statements of `cypher/`.

    Args:
        uri: `bolt://`, `neo4j://` and the like, without credentials.
        username: to sign in with.
        password: of that user.
        database: its name.
        prepare: creates what statements rely on, once connected.
        timeout_s: bound on a call, its retries included, seconds.
        connect_timeout_s: bound on connecting, seconds.
        retry_s: for how long a call is retried after transient errors, seconds.
    """

    def __init__(
        self,
        uri: str,
        username: str,
        password: str,
        *,
        database: str,
        prepare: Prepare,
        timeout_s: float,
        connect_timeout_s: float,
        retry_s: float,
    ) -> None:
        self._uri, self._auth, self._database = uri, (username, password), database
        self._prepare, self.timeout_s = prepare, timeout_s
        self._connect_timeout_s, self._retry_s = connect_timeout_s, retry_s
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
                    await self._prepare(connection)
            except BaseException:
                await driver.close()
                raise
            self._connection = connection

    async def close(self) -> None:
        """Disconnect. Idempotent."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.driver.close()

    async def connected(self) -> Connection:
        """Return the connection, which is made if there is none."""
        if self._connection is None:
            # Whoever waits for others that connect, too, waits no longer than they do.
            async with self.bounded():
                await self.open()
        assert self._connection is not None
        return self._connection

    async def read(self, file: str, /, **parameters: Any) -> list[dict[str, Any]]:
        """Run a statement that reads, and return its rows."""
        connection = await self.connected()
        async with self.bounded():
            return await connection.ask(read_cypher(file), parameters, is_reading=True)

    async def write(self, file: str, /, **parameters: Any) -> list[dict[str, Any]]:
        """Run a statement that writes, and return its rows."""
        connection = await self.connected()
        async with self.bounded():
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
                connection_timeout=self._connect_timeout_s,
                connection_acquisition_timeout=self.timeout_s,
                max_transaction_retry_time=self._retry_s,
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


@cache
def read_cypher(name: str) -> str:
    """Return the statement in a file of `cypher/`."""
    return files("aletheia.adapters.brain").joinpath("cypher", f"{name}.cypher").read_text()


def to_literal(statement: str) -> LiteralString:
    """Return a statement of ours as the type that the driver wants: nothing in it is given."""
    return cast("LiteralString", statement)


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
                BRAIN, 401, "the server refuses the user or the password"
            )
        case Neo4jError(code=code) if code == _NO_DATABASE:
            found = Misconfigured("NEO4J_DATABASE", f"there is no {database!r}")
        case ClientError(code=code) if code and code.startswith(_SECURITY):
            found = Unauthorized(BRAIN, 403, reason)
        case ClientError():
            found = Refused(BRAIN, _REFUSED, reason)
        case ServiceUnavailable() if _was_never_there(reason):
            found = Unreachable(BRAIN, reason)
        case ConfigurationError():
            found = Misconfigured(ADDRESS, reason)
        case UnsupportedServerProduct():
            found = BadAnswer(BRAIN, reason)
        case _:
            found = Unavailable(BRAIN, reason)
    return found


def _was_never_there(reason: str) -> bool:
    """Check whether no connection came about; the driver has one error for that and a lost one."""
    return "Couldn't connect" in reason or "Cannot resolve" in reason
