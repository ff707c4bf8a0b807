"""Client keys: hashed at rest, asked for as soon as there are any."""

from pathlib import Path

import pytest

from clusterkit.errors import ConfigFileError
from clusterkit.http.tokens import ensure_token
from moe_gateway.keys import hash_key, read_keys
from moe_gateway.settings import GatewaySettings
from tests.servers.gateway import CHAT, RunningGateway, running_gateway


@pytest.fixture
def with_keys(settings: GatewaySettings, tmp_path: Path) -> GatewaySettings:
    keys = tmp_path / "keys"
    keys.write_text(f"# for the laptop\n\n{hash_key('right')}\n")
    return settings.model_copy(update={"keys_file": keys})


@pytest.mark.parametrize("header", [None, "Bearer wrong", "Basic right", "Bearer", "right"])
@pytest.mark.parametrize("path", [CHAT, "/v1/models", "/metrics", "/nothing"])
async def test_without_the_right_key_nothing_is_answered(
    with_keys: GatewaySettings, header: str | None, path: str
) -> None:
    async with running_gateway(with_keys) as gateway:
        headers = {} if header is None else {"authorization": header}
        response = await gateway.client.post(path, headers=headers)
        assert response.status_code == 401
        assert response.json()["error"]["code"] == "invalid_api_key"


async def test_the_right_key_opens_and_health_is_open_anyway(with_keys: GatewaySettings) -> None:
    async with running_gateway(with_keys) as gateway:
        for key in ("right", ensure_token(with_keys.secrets_dir, "moe_gateway")):
            headers = {"authorization": f"Bearer {key}"}
            assert (await gateway.client.get("/v1/models", headers=headers)).status_code == 200
        assert (await gateway.client.get("/health")).status_code == 503


@pytest.mark.parametrize("key", ["", "Bearer anything"])
async def test_on_loopback_without_keys_any_key_or_none_will_do(gateway: RunningGateway, key: str) -> None:
    headers = {"authorization": key} if key else {}
    assert (await gateway.client.get("/v1/models", headers=headers)).status_code == 200


@pytest.mark.parametrize(
    ("text", "line"), [("# none\n", 1), (f"{'a' * 64}\nsecret-key\n", 2), (f"{'A' * 64}\n", 1)]
)
def test_a_keys_file_that_makes_no_sense_names_the_line(tmp_path: Path, text: str, line: int) -> None:
    path = tmp_path / "keys"
    path.write_text(text)
    with pytest.raises(ConfigFileError) as caught:
        read_keys(path)
    assert caught.value.line == line
    assert "secret-key" not in str(caught.value)


def test_a_keys_file_that_is_missing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigFileError, match="cannot be read"):
        read_keys(tmp_path / "nothing")
