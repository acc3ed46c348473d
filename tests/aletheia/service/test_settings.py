import pytest
from pydantic import ValidationError

from aletheia.service.settings import ServiceSettings


def test_origins_are_listed_with_commas():
    settings = ServiceSettings(service_allowed_origins=" https://a.example/ ,, http://b:3000")
    assert settings.allowed_origins == ("https://a.example", "http://b:3000")
    assert ServiceSettings(service_allowed_origins="").allowed_origins == ()


@pytest.mark.parametrize(
    "values",
    [
        {"metrics_port": 0},
        {"metrics_port": 65_536},
        {"service_max_sockets": 1},
        {"hook_retention_days": 0},
        {"auth_issuer": ""},
        {"auth_audience": ""},
        {"auth_roles_claim": ""},
        {"service_host": ""},
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused(values: dict[str, object]):
    with pytest.raises(ValidationError):
        ServiceSettings.model_validate(values)
