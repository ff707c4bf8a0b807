"""Tokens between services: made once, readable by their owner alone."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.responses import PlainTextResponse

from clusterkit.config.settings import ServiceSettings
from clusterkit.http.tokens import BearerGuard, TokenError, ensure_token, service_token


def test_a_token_is_made_once_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    token = ensure_token(tmp_path / "secrets", "agent")
    assert len(token) >= 43  # 256 bits
    assert ensure_token(tmp_path / "secrets", "agent") == token
    assert ensure_token(tmp_path / "secrets", "other") != token
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "secrets/agent.token").stat().st_mode & 0o777 == 0o600


def test_of_services_that_start_at_once_one_makes_the_token(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from clusterkit.http.tokens import ensure_token\n"
        "print('ready', flush=True); sys.stdin.read()\n"
        "print(ensure_token(Path(sys.argv[1]), 'agent'))"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    racers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(4)
    ]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.close()
        racer.stdin = None
    found = {racer.communicate(timeout=30)[0].strip() for racer in racers}
    assert found == {ensure_token(tmp_path, "agent")}
    assert [path.name for path in tmp_path.iterdir()] == ["agent.token"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
def test_a_token_that_others_can_reach_is_refused(tmp_path: Path, mode: int) -> None:
    ensure_token(tmp_path, "agent")
    (tmp_path / "agent.token").chmod(mode)
    with pytest.raises(TokenError, match=r"agent\.token may be read by others; run: chmod 600"):
        ensure_token(tmp_path, "agent")


@pytest.mark.parametrize("content", [b"", b" \n", "schlüssel".encode()])
def test_a_token_that_is_none_is_refused(tmp_path: Path, content: bytes) -> None:
    ensure_token(tmp_path, "agent")
    (tmp_path / "agent.token").write_bytes(content)
    with pytest.raises(TokenError, match=r"agent\.token .*delete it"):
        ensure_token(tmp_path, "agent")


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/v1/models", {"authorization": "Bearer right"}, 200),
        ("/v1/models", {"authorization": "bearer  right "}, 200),
        ("/health", {}, 200),
        ("/v1/models", {}, 401),
        ("/v1/models", {"authorization": "Bearer wrong"}, 401),
        ("/v1/models", {"authorization": "Bearer"}, 401),
        ("/v1/models", {"authorization": "Basic right"}, 401),
        ("/v1/models", {"authorization": b"Bearer \xff\xfe"}, 401),
        ("/v1/models", {"x-authorization": "Bearer right"}, 401),
        ("/%76%31/models", {}, 401),
    ],
)
async def test_guarded_paths_answer_to_the_token_alone(
    path: str, headers: dict[str, Any], status: int
) -> None:
    guard = BearerGuard(PlainTextResponse("in"), "right", paths=("/v1/",))
    transport = httpx.ASGITransport(guard)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
        answer = await http.get(path, headers=httpx.Headers(list(headers.items())))
    assert answer.status_code == status
    if status == 401:
        assert answer.json()["error"]["type"] == "authentication_error"
        assert "right" not in answer.text


def test_in_a_cluster_a_missing_token_is_an_error_and_none_is_made_up(tmp_path: Path) -> None:
    alone = ServiceSettings(home=tmp_path)
    assert service_token(alone, "agent") == ensure_token(tmp_path / "secrets", "agent")
    in_cluster = ServiceSettings(
        home=tmp_path, secrets_dir=tmp_path / "given", consul_url="https://127.0.0.1:1"
    )
    with pytest.raises(TokenError, match=r"given/agent\.token is missing"):
        service_token(in_cluster, "agent")
    given = ensure_token(tmp_path / "given", "agent")
    assert service_token(in_cluster, "agent") == given
