"""The runs of a local Prefect server, when its worker starts and ends."""

from base64 import b64encode
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, cast
from uuid import uuid4

from deployments.processes import Say, request, wait

WORK_POOL: Final = "aletheia"

RUN_END_TIMEOUT_S: Final = 40.0
"""For cancelled runs to finish or release what they hold (30 s) and be recorded as cancelled."""


class ServerApi:
    """The API of a local Prefect server, if there is one, to which `user:password` signs in."""

    def __init__(self, url: str | None, sign_in: str = "") -> None:
        self._url = url
        token = b64encode(sign_in.encode()).decode()
        self._headers = {"Authorization": f"Basic {token}"}

    def call(self, method: str, path: str, body: object = None) -> Any:
        """Send a request; return `None` without a good answer."""
        if self._url is None:
            return None
        if method != "GET" and "Prefect-Csrf-Token" not in self._headers:
            client = str(uuid4())
            if (token := self.call("GET", f"/csrf-token?client={client}")) is not None:
                ours = {"Prefect-Csrf-Client": client, "Prefect-Csrf-Token": token["token"]}
                self._headers |= ours
        return request(method, f"{self._url}/api{path}", body, self._headers)

    def read_list(self, path: str, body: object) -> list[dict[str, Any]]:
        """Read a list by a filter; empty without a good answer."""
        return cast("list[dict[str, Any]]", self.call("POST", path, body) or [])

    def has_run_due(self) -> bool:
        """Check whether a run is under way or should be by now."""
        return bool(self._runs("RUNNING", "PENDING") or self._filter_runs(_due()))

    def _runs(self, *state_types: str) -> list[str]:
        wanted = {"state": {"type": {"any_": list(state_types)}}}
        return [run["id"] for run in self._filter_runs(wanted)]

    def _filter_runs(self, wanted: Mapping[str, object]) -> list[dict[str, Any]]:
        pools = {"name": {"any_": [WORK_POOL]}}
        return self.read_list("/flow_runs/filter", {"flow_runs": wanted, "work_pools": pools})

    def _set_state(self, run: str, state: str, message: str) -> None:
        body = {"state": {"type": state, "message": message}, "force": False}
        self.call("POST", f"/flow_runs/{run}/set_state", body)

    def settle_lost_runs(self) -> None:
        """Settle runs that were left while no worker ran: they would take slots, or all run now."""
        for run in self._runs("RUNNING", "PENDING", "CANCELLING"):
            self._set_state(run, "CRASHED", "Its process went away with its worker.")
        for run in self._filter_runs(_due()):
            if run["auto_scheduled"]:
                self.call("DELETE", f"/flow_runs/{run['id']}")

    def cancel_runs(self, say: Say) -> int:
        """Cancel all runs and wait for their end; return how many there were."""
        runs = self._runs("RUNNING", "PENDING")
        for run in runs:
            self._set_state(run, "CANCELLING", "The local servers are being stopped.")
        for _ in wait(say, "runs to finish or release what they hold", RUN_END_TIMEOUT_S):
            if not self._runs("RUNNING", "PENDING", "CANCELLING"):
                break
        return len(runs)


def _due() -> dict[str, Any]:
    """Return a filter for runs that should have started by now."""
    return {
        "state": {"type": {"any_": ["SCHEDULED"]}},
        "expected_start_time": {"before_": datetime.now(UTC).isoformat()},
    }
