"""Checks of this machine: versions, settings, the default model, providers."""

import asyncio
import importlib.metadata
import platform
import stat
from pathlib import Path

from httpx import HTTPError
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from pydantic import SecretStr

from aletheia.adapters.local.hub import HuggingFaceHub
from aletheia.adapters.local.source import ModelSources, full_name
from aletheia.adapters.ollama.client import OllamaClient
from aletheia.adapters.ollama.embedder import short_name
from aletheia.analysis.model_settings import ModelSettings
from aletheia.errors import AletheiaError, ModelUnavailable
from aletheia.settings import EmbeddingSettings
from blocks import OpenAICredentials
from deployments import ROOT
from deployments.configuration import find_faults
from deployments.doctor.results import CHECK_TIMEOUT_S, CheckFailed, demand
from deployments.environment import read_environment
from tasks.session import current_session, load_block


def _distribution() -> importlib.metadata.Distribution:
    try:
        return importlib.metadata.distribution("aletheia")
    except importlib.metadata.PackageNotFoundError:
        raise CheckFailed("aletheia is not installed", "make install") from None


async def check_python() -> str:
    """Check the version of Python."""
    wanted = _distribution().metadata["Requires-Python"]
    found = platform.python_version()
    advice = "make install PYTHON=/path/to/a/newer/python3"
    demand(found in SpecifierSet(wanted or ""), f"{found}, needed is {wanted}", advice)
    return found


async def check_versions() -> str:
    """Check the installed packages against their bounds."""
    wrong: list[str] = []
    wanted = [Requirement(line) for line in _distribution().requires or []]
    needed = [it for it in wanted if it.marker is None or it.marker.evaluate({"extra": ""})]
    for requirement in needed:
        try:
            found = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            wrong.append(f"{requirement.name} is missing")
            continue
        if not requirement.specifier.contains(found, prereleases=True):
            wrong.append(f"{requirement.name} {found}, needed is {requirement.specifier}")
    demand(not wrong, "; ".join(wrong), "touch pyproject.toml && make install")
    return f"{len(needed)} packages within their bounds"


async def check_settings() -> str:
    """Check that every variable is valid."""
    faults = find_faults()
    advice = "fix .env; docs/configuration.md lists every variable"
    demand(not faults, "; ".join(map(str, faults)), advice)
    return "every variable is valid"


async def check_secrets_file() -> str:
    """Check that nobody else reads `.env`."""
    file = ROOT / ".env"
    if not file.exists():
        return "there is none"
    mode = stat.S_IMODE(file.stat().st_mode)
    found = f"{file} is open to other users (mode {mode:o}), and may hold secrets"
    demand(not mode & (stat.S_IRWXG | stat.S_IRWXO), found, f"chmod 600 {file}")
    return f"{file} is read by its owner alone"


class _UnusedHub(HuggingFaceHub):
    """The hub, asked only whether it is reachable; nothing is downloaded."""

    is_reachable = False

    def obstacle(self) -> str | None:
        obstacle = super().obstacle()
        self.is_reachable = obstacle is None
        return obstacle

    def download(self, model: str) -> Path:
        raise FileNotFoundError(f"{model} is not fetched by a check")


async def check_model() -> str:
    """Check that the default model, or its provider, is available."""
    # As the set-up saves it: the mode follows from the key where it is not set.
    key = read_environment().get("OPENAI_API_KEY")
    account = OpenAICredentials(api_key=None if key is None else SecretStr(key))
    settings, why = account.choose_mode()
    made_up = f"the mock embeds, as {why}: vectors mean nothing"
    demand(settings.processing_mode != "mock", made_up, "use a model", "warning")
    if settings.is_remote:
        chosen = f"{settings.processing_mode}, as {why}"
        try:
            return f"{chosen}: {await _check_providers(settings)}"
        except (HTTPError, RuntimeError):
            # Another check says what is wrong with the server.
            found = f"{chosen}; the block with its key needs the Prefect server"
            raise CheckFailed(found, "", "skipped") from None
    hub = _UnusedHub(cache_dir=ModelSettings().model_cache_dir)
    model = full_name(settings.default_model)
    try:
        sources = ModelSources(hub, settings.local_model_dir, default_model=model)
        files = await asyncio.to_thread(sources.find, model)
    except ModelUnavailable as unavailable:
        if hub.is_reachable:
            return f"{model} comes from the hub, when it is first needed"
        raise CheckFailed(
            str(unavailable), "set LOCAL_MODEL_DIR to a directory that holds it, or reach the hub"
        ) from None
    return f"{model} from {files.source.replace('_', ' ')}, {files.path}, as {why}"


async def _check_providers(settings: EmbeddingSettings) -> str:
    """Ask Ollama for its models, and check OpenAI's key without spending anything."""
    found: list[str] = []
    if settings.processing_mode in {"openai", "hybrid"}:
        account = await load_block(OpenAICredentials)
        if account.has_key:
            found.append(f"a key for {account.base_url}, not tried")
        elif settings.processing_mode == "openai":
            said = "the placeholder: the mock runs" if account.is_placeholder else "no key"
            raise CheckFailed(f"OPENAI_API_KEY: {said}", "set it, then aletheia setup", "warning")
        else:
            found.append("no key for OpenAI: nothing stands in while Ollama is down")
    if settings.processing_mode in {"ollama", "hybrid"}:
        found.append(await _check_ollama(settings))
    return "; ".join(found)


async def _check_ollama(settings: EmbeddingSettings) -> str:
    url = current_session().settings.ollama.ollama_base_url
    try:
        client = OllamaClient(url, timeout_s=CHECK_TIMEOUT_S)
        await current_session().clients.open(client)
        version = await client.version()
        installed = {short_name(model.name) for model in await client.installed()}
    except AletheiaError as error:
        raise CheckFailed(f"{url}: {error}", "start Ollama, or fix OLLAMA_BASE_URL") from None
    wanted = {short_name(name) for name in (settings.default_model, *settings.supported_models)}
    missing = sorted(wanted - installed)
    later = f", {', '.join(missing)} pulled when a shift starts" if missing else ""
    return f"Ollama {version} at {url} with {len(wanted) - len(missing)} of its models{later}"
