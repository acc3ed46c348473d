"""What `prefect.yaml` declares, as far as the set-up and its checks read it themselves."""

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import AliasPath, BaseModel, ConfigDict, Field

from deployments import ROOT


class _Declared(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class WorkQueue(_Declared):
    """A queue as `prefect.yaml` declares it; priority 1 is served first."""

    name: str
    priority: int = Field(ge=1)
    description: str = ""
    concurrency_limit: int | None = Field(default=None, ge=0)


class WorkPool(_Declared):
    """A work pool as `prefect.yaml` declares it; `env` is put into the environment of its runs."""

    name: str
    type: Literal["process"]
    description: str = ""
    env: dict[str, str] = Field(default_factory=dict[str, str])
    queues: tuple[WorkQueue, ...] = ()

    def base_job_template(self) -> dict[str, Any]:
        """Return the template of its runs: no job variable sets a command, a directory or `env`."""
        return {
            "job_configuration": {"stream_output": "{{ stream_output }}", "env": dict(self.env)},
            "variables": {
                "type": "object",
                "properties": {"stream_output": {"type": "boolean", "default": True}},
                "additionalProperties": False,
            },
        }


class Schedule(_Declared):
    """When a declared deployment starts by itself."""

    slug: str
    active: bool = True


class Deployment(_Declared):
    """What the set-up and its checks need of a declared deployment; the rest is Prefect's."""

    name: str
    entrypoint: str
    parameters: dict[str, Any] = Field(default_factory=dict[str, Any])
    schedules: tuple[Schedule, ...] = ()

    @property
    def flow_name(self) -> str:
        """Name of its flow, which is that of the function."""
        return self.entrypoint.rpartition(":")[2]

    @property
    def full_name(self) -> str:
        """Flow and deployment, as other systems call it."""
        return f"{self.flow_name}/{self.name}"


class Declarations(_Declared):
    """The parts of `prefect.yaml` that the set-up reads itself."""

    work_pools: tuple[WorkPool, ...] = Field(
        default=(), validation_alias=AliasPath("definitions", "work_pools")
    )
    deployments: tuple[Deployment, ...] = ()


def read_declarations(root: Path = ROOT) -> Declarations:
    """Read `prefect.yaml`."""
    return Declarations.model_validate(yaml.safe_load((root / "prefect.yaml").read_text()))
