"""The repository keeps its own rules, and the rules can fail."""

from pathlib import Path

import pytest
import yaml

from clusterkit.config.catalogue import SERVICE_PREFIX
from moe_gateway.settings import GatewaySettings
from pipecatapp.settings import SERVICE, PipecatappSettings
from tests.repository.rules import every_rule

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.req("PRV-14", "PRV-37")
@pytest.mark.parametrize("name", every_rule())
def test_the_repository_keeps_the_rule(name: str) -> None:
    assert list(every_rule()[name](ROOT)) == []


def planted(tmp_path: Path, files: dict[str, str]) -> Path:
    base = {
        "group_vars/all/main.yaml": "moe_gateway_port: 8080\n__expert_service_prefix: expert-\n"
        "moe_gateway_service: moe-gateway\n",
        "docs/requirements.csv": "id,area,feature,works_when\nWFE-01,a,b,c\n",
        "group_vars/all/secrets.yaml": "secrets_file: '{{ x }}/a.yaml'\nsecrets: '{{ lookup(x) }}'\n",
        "locks/runtime.txt": "x==1 \\\n    --hash=sha256:00\n",
    }
    for name, text in {**base, **files}.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


@pytest.mark.req("PRV-14", "PRV-37")
@pytest.mark.parametrize(
    ("rule", "file", "text"),
    [
        ("top_level_is_closed", "notes.md", "x"),
        ("names_say_what_things_are", "clusterkit/utils.py", '"""x"""'),
        ("names_say_what_things_are", "healer/heal_service.py", '"""x"""'),
        ("yaml_files_end_in_yaml", "workflows/a.yml", "a: 1"),
        ("files_are_short", "clusterkit/a.py", "x = 1\n" * 401),
        ("files_are_small", "docs/a.png", "x" * 400_000),
        ("no_python_under_ansible", "ansible/roles/x/files/a.py", "x = 1"),
        ("ports_and_names_are_defined_once", "moe_gateway/app.py", "PORT = 8080"),
        ("ports_and_names_are_defined_once", "ansible/roles/x/templates/a.j2", "url = http://h:8080/v1"),
        ("ports_and_names_are_defined_once", "ansible/roles/x/tasks/a.yaml", "port: 8080"),
        ("ports_and_names_are_defined_once", "pipecatapp/a.py", 'find("expert-main")'),
        ("ports_and_names_are_defined_once", "hearth/a.py", 'find("moe-gateway")'),
        ("group_vars_hold_no_secrets", "group_vars/all/a.yaml", "api_key: swordfish"),
        ("group_vars_hold_no_secrets", "group_vars/all/a.yaml", "token_file: swordfish"),
        (
            "group_vars_hold_no_secrets",
            "group_vars/all/a.yaml",
            "a: \"{{ lookup('x') }}\"\npassword: swordfish",
        ),
        ("group_vars_hold_no_secrets", "host_vars/a.yaml", "x: sk-abcdefghijklmnopqrstuv"),
        ("locks_hold_no_addresses", "locks/dev.txt", "--index-url https://example.org"),
        ("every_public_thing_says_what_it_is", "healer/a.py", "x = 1"),
        (
            "every_marked_requirement_exists",
            "tests/unit/test_a.py",
            '@pytest.mark.req("WFE-99")\ndef test_a(): ...',
        ),
        ("tests_patch_no_attributes", "tests/unit/test_a.py", "monkeypatch.setattr(time, 'time', None)"),
        ("tests_patch_no_attributes", "tests/unit/conftest.py", "    monkeypatch.setitem(d, 'a', 1)"),
        ("no_file_names_a_place_on_one_machine", "docs/a.md", "see /ho" + "me/ada/hearth"),
    ],
)
def test_a_planted_violation_is_found(tmp_path: Path, rule: str, file: str, text: str) -> None:
    assert list(every_rule()[rule](planted(tmp_path, {}))) == []
    assert list(every_rule()[rule](planted(tmp_path, {file: text}))) != []


@pytest.mark.req("PRV-14", "CLU-02")
def test_settings_and_site_variables_agree() -> None:
    site = yaml.safe_load((ROOT / "group_vars/all/main.yaml").read_text())
    gateway, agent = GatewaySettings.model_fields, PipecatappSettings.model_fields
    assert gateway["port"].default == site["moe_gateway_port"]
    assert agent["port"].default == site["pipecatapp_port"]
    assert gateway["agent_model"].default == agent["model_name"].default == site["agent_model"]
    assert gateway["agent_service"].default == site["pipecatapp_service"]
    assert gateway["service_name"].default == site["moe_gateway_service"]
    assert agent["gateway_service"].default == site["moe_gateway_service"]
    assert site["pipecatapp_service"] == SERVICE
    assert site["__expert_service_prefix"] == SERVICE_PREFIX
