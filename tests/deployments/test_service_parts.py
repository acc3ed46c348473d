"""The parts of the service where there is nothing to make them of."""

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from aletheia.errors import Misconfigured, Unavailable
from aletheia.service.assembly import build_service
from aletheia.service.settings import ServiceSettings
from aletheia.settings import IntakeSettings
from deployments.service_parts import PROVIDERS, gather_parts
from tasks.session import open_session
from tests.aletheia.service.test_health import ask, calling


async def test_without_a_prefect_server_it_starts_and_says_what_is_missing():
    with temporary_settings(restore_defaults=[PREFECT_API_URL]):
        async with open_session():
            parts = gather_parts()
            for part in (parts.store, parts.orchestrator, parts.keys, parts.hook_secret):
                with pytest.raises(Misconfigured, match="PREFECT_API_URL"):
                    await part.get()
            app = build_service(parts, ServiceSettings(), IntakeSettings())
            async with calling(app) as session:
                status, alive = await ask(session, "/health")
                assert (status, alive["are_readings_known"]) == (200, False)
                status, found = await ask(session, "/health/ready")
                assert status == 503
                checks = {check["name"]: check for check in found["checks"]}
                assert set(checks) == {
                    *("store", "brain", "brain key", "tasks key", "sign-in", "webhooks in"),
                    *("prefect", "redis", "upstream"),
                    *(f"provider {name}" for name in PROVIDERS),
                }
                assert {check["status"] for check in checks.values()} == {"missing"}
                assert {check["reason"] for check in checks.values()} == {"PREFECT_API_URL"}


async def test_a_prefect_server_that_is_away_keeps_nothing_from_starting():
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        async with open_session():
            parts = gather_parts()
            with pytest.raises(Unavailable):
                await parts.store.get()
            app = build_service(parts, ServiceSettings(), IntakeSettings())
            async with calling(app) as session:
                assert (await ask(session, "/health"))[0] == 200
                status, found = await ask(session, "/health/ready")
                assert status == 503
                states = {check["name"]: check["status"] for check in found["checks"]}
                assert (states["store"], states["brain"], states["prefect"]) == ("failed",) * 3
