"""What the job templates render is what Nomad reads, the programs serve and the site asked for."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from starlette.routing import Route

from clusterkit.config.catalogue import SERVICE_PREFIX, load_catalogue
from clusterkit.config.settings import ServiceSettings
from clusterkit.http.control_app import control_app
from clusterkit.http.health import Health
from clusterkit.telemetry.metrics import Metrics
from llama_expert.settings import LlamaExpertSettings
from moe_gateway.settings import GatewaySettings
from pipecatapp.settings import PipecatappSettings
from tests.ansible_render import FACTS, ROOT, THREE_HOSTS, render, templates_of
from tests.repository.ansible_tree import roles
from tests.unit.ansible_roles.jobs import (
    HEARTH_JOBS,
    TEMPLATES,
    file,
    group,
    job,
    job_text,
    parsed,
    service,
    task,
)

ONE_HOST = "all: {children: {controllers: {hosts: {n1: {host_address: 192.0.2.11, host_interface: eth0}}}}}"
SETTINGS: dict[str, type[ServiceSettings]] = {
    "expert-main": LlamaExpertSettings,
    "moe-gateway": GatewaySettings,
    "pipecatapp": PipecatappSettings,
}
#: Whose user each job is.
RUNS_AS = {
    "expert-main": "llama_expert",
    "moe-gateway": "moe_gateway",
    "pipecatapp": "pipecatapp",
    "llamacpp-rpc": "llama_expert",
    "mqtt": "mqtt",
    "prometheus": "monitoring",
}
SITE = yaml.safe_load((ROOT / "group_vars/all/main.yaml").read_text())


@pytest.mark.req("CLU-01", "CLU-05", "PRV-16", "CLU-07", "MOD-04")
@pytest.mark.parametrize("name", TEMPLATES)
def test_nomad_reads_the_job_and_registers_the_service_of_its_name(name: str) -> None:
    found = job(name)
    assert found["ID"] == name
    assert service(found)["Name"] == name
    assert "hearth" in service(found)["Tags"]


@pytest.mark.req("CLU-01", "MOD-02")
@pytest.mark.parametrize("name", HEARTH_JOBS)
def test_the_check_asks_a_path_that_the_program_serves(name: str) -> None:
    async def well() -> Health:
        return Health(())

    (check,) = service(job(name))["Checks"]
    served = {
        route.path
        for route in control_app(name, health=well, metrics=Metrics()).routes
        if isinstance(route, Route)
    }
    assert (check["Type"], check["Path"]) == ("http", "/health")
    assert check["Path"] in served


@pytest.mark.req("CLU-01", "CLU-07", "MOD-04")
@pytest.mark.parametrize(("name", "port"), [("mqtt", "mqtt_port"), ("llamacpp-rpc", "llama_rpc_port")])
def test_programs_that_speak_no_http_are_checked_by_a_connection_to_their_port(name: str, port: str) -> None:
    found = job(name)
    (check,) = service(found)["Checks"]
    (network,) = group(found)["Networks"]
    (reserved,) = network["ReservedPorts"]
    assert check["Type"] == "tcp"
    assert service(found)["PortLabel"] == reserved["Label"]
    assert reserved["Value"] == SITE[port]


@pytest.mark.req("CLU-05")
def test_the_gateways_job_runs_the_gateway_behind_the_name_moe_gateway() -> None:
    found = job("moe-gateway")
    (network,) = group(found)["Networks"]
    (reserved,) = network["ReservedPorts"]
    registered = service(found)
    assert registered["Name"] == "moe-gateway"
    assert registered["PortLabel"] == reserved["Label"]
    assert registered["Provider"] in ("", "consul")
    assert reserved["Value"] == SITE["moe_gateway_port"]
    assert task(found)["Config"]["args"][-2:] == ["-m", "moe_gateway"]
    assert service(job("moe-gateway", moe_gateway_service="front"))["Name"] == "front"


@pytest.mark.req("CLU-01")
def test_prometheus_is_asked_at_a_path_of_its_management_interface() -> None:
    (check,) = service(job("prometheus"))["Checks"]
    assert (check["Type"], check["Method"]) == ("http", "")
    assert check["Path"] in ("/-/ready", "/-/healthy")  # prometheus.io, "Management API"


@pytest.mark.req("CLU-02")
def test_the_names_that_the_programs_ask_for_are_those_of_the_jobs() -> None:
    agent, gateway = PipecatappSettings(), GatewaySettings()
    assert service(job("moe-gateway"))["Name"] == agent.gateway_service == gateway.service_name
    assert service(job("pipecatapp"))["Name"] == gateway.agent_service
    assert service(job("expert-main"))["Name"] == agent.main_expert_service == f"{SERVICE_PREFIX}main"


@pytest.mark.req("CLU-02")
def test_the_names_of_experts_are_the_programs_own_and_no_site_sets_them() -> None:
    assert SITE["__expert_service_prefix"] == SERVICE_PREFIX
    assert "expert_service_prefix" not in SITE
    renamed = job("expert-main", expert_service_prefix="model-")
    assert (renamed["ID"], service(renamed)["Name"]) == (f"{SERVICE_PREFIX}main",) * 2


@pytest.mark.req("CLU-02", "PRV-15")
def test_a_site_that_names_its_services_otherwise_tells_the_programs() -> None:
    said = task(job("pipecatapp", moe_gateway_service="front", llama_api_service_name="expert-coding"))["Env"]
    assert said["PIPECATAPP_GATEWAY_SERVICE"] == "front"
    assert said["PIPECATAPP_MAIN_EXPERT_SERVICE"] == "expert-coding"
    assert service(job("moe-gateway", moe_gateway_service="front"))["Name"] == "front"
    assert service(job("pipecatapp", pipecatapp_service="butler"))["Name"] == "butler"
    said = task(job("moe-gateway", pipecatapp_service="butler"))["Env"]
    assert said["MOE_GATEWAY_AGENT_SERVICE"] == "butler"


@pytest.mark.req("PRV-14")
@pytest.mark.parametrize("name", TEMPLATES)
def test_every_name_and_port_of_a_service_is_the_sites(name: str) -> None:
    names = {key: f"site-{key.replace('_', '-')}" for key in SITE if key.endswith("_service")}
    ports = {key: 40000 + number for number, key in enumerate(key for key in SITE if key.endswith("_port"))}
    ours = {"llama_api_service_name": "site-main", "monitoring_service": "site-prometheus"}
    found = job(name, THREE_HOSTS, **names, **ports, **ours)
    reserved = [port["Value"] for one in group(found)["Networks"] for port in one["ReservedPorts"] or ()]
    # Of experts the programs themselves know the name.
    ours_or_experts = ("site-", SERVICE_PREFIX)
    assert found["ID"].startswith(ours_or_experts)
    assert service(found)["Name"] == found["ID"]
    assert set(reserved) <= set(ports.values())
    asked_for = [value for key, value in (task(found)["Env"] or {}).items() if key.endswith("_SERVICE")]
    assert all(value.startswith(ours_or_experts) for value in asked_for), asked_for
    asked = re.findall(r'nomadVar \\"nomad/jobs/(.*?)\\"|service \\"(.*?)\\"', json.dumps(found))
    # Nomad's own entry of each host has a name of its own.
    named = {one for pair in asked for one in pair} - {"", "nomad-client"}
    assert all(one.startswith(ours_or_experts) for one in named), named


@pytest.mark.parametrize("name", HEARTH_JOBS)
def test_every_variable_that_a_program_is_told_is_one_of_its_settings(name: str) -> None:
    settings = SETTINGS[name]
    prefix = str(settings.model_config["env_prefix"])
    known = {f"{prefix}{field}".upper() for field in settings.model_fields}
    told = {variable for variable in task(job(name))["Env"] if variable.startswith(prefix)}
    assert told <= known
    assert {
        f"{prefix}{field}" for field in ("HOST", "PORT", "HOME", "SECRETS_DIR", "ANNOUNCE", "CONSUL_URL")
    } <= told


def looked_at(script: str, folder: Path) -> list[str]:
    """The jobs that the start script looks at, all of which run."""
    nomad = folder / "nomad"
    nomad.write_text('#!/bin/sh\necho "Status = running"\n')
    nomad.chmod(0o755)
    path = {"PATH": f"{folder}:/usr/bin:/bin"}
    done = subprocess.run(["sh", "-c", script], env=path, capture_output=True, text=True, check=True)
    return [line.removesuffix(": runs") for line in done.stdout.splitlines()]


#: What a site may say otherwise in its group_vars.
SAID = {
    "nomad_addr": "https://nomad.example:1",
    "pipecatapp_log_file": "/srv/agent.log",
    "llama_api_service_name": "expert-coding",
    "consul_addr": "https://[::1]:8501",
    "home_assistant_service": "house",
}


def of_site(role: str, template: str, **said: str) -> str:
    return render(role, template, THREE_HOSTS, "n1", group_vars={"controllers": said})


@pytest.mark.req("PRV-15")
def test_the_log_file_the_expert_and_the_addresses_are_in_the_job_as_the_site_says() -> None:
    agent = ("pipecatapp", "pipecatapp.nomad.j2")
    told, unsaid = (task(parsed(of_site(*agent, **said)))["Env"] for said in (SAID, {}))
    assert told["PIPECATAPP_LOG_FILE"] == "/srv/agent.log"
    assert told["PIPECATAPP_CONSUL_URL"] == "https://[::1]:8501"
    assert told["PIPECATAPP_MAIN_EXPERT_SERVICE"] == "expert-coding"
    assert unsaid["PIPECATAPP_LOG_FILE"] == "/var/log/hearth/pipecatapp.log"
    assert unsaid["PIPECATAPP_MAIN_EXPERT_SERVICE"] == "expert-main"


@pytest.mark.req("PRV-15")
@pytest.mark.timeout(400)
def test_the_scripts_speak_to_the_sites_nomad_about_the_sites_services(tmp_path: Path) -> None:
    start = ("bootstrap_agent", "start_services.sh.j2")
    assert 'NOMAD_ADDR="${NOMAD_ADDR:-https://127.0.0.1:4646}"' in of_site(*start)
    assert 'NOMAD_ADDR="${NOMAD_ADDR:-https://nomad.example:1}"' in of_site(*start, **SAID)
    unsaid, told = (set(looked_at(of_site(*start, **said), tmp_path)) for said in ({}, SAID))
    assert unsaid - told == {"expert-main", "home-assistant"}
    assert told - unsaid == {"expert-coding", "house"}
    assert "export NOMAD_ADDR=https://nomad.example:1 " in of_site("common", "restart.sh.j2", **SAID)


@pytest.mark.req("PRV-16")
@pytest.mark.parametrize("role", [role.name for role in roles(ROOT)])
def test_every_job_script_and_unit_renders_from_the_sites_variables(role: str) -> None:
    wanted = [name for name in templates_of(role) if re.search(r"\.(nomad|sh|service|env)\.j2$", name)]
    for name in wanted:
        included = next((extra for _, one, extra in TEMPLATES.values() if one == name), {})
        text = render(role, name, THREE_HOSTS, "w1", variables={**included, "facts": {"hostname": "other"}})
        assert "{{" not in re.sub(r"\{\{ (env|\$labels)\b.*?\}\}", "", text), name


@pytest.mark.req("PRV-22", "PRV-23")
@pytest.mark.parametrize("name", HEARTH_JOBS)
def test_the_driver_is_the_sites_choice(name: str) -> None:
    plain = task(job(name, service_driver="raw_exec"))
    image = task(job(name, service_driver="docker", image_registry="registry.example:5000"))
    deployable = SETTINGS[name].__module__.split(".")[0]
    assert plain["Driver"] == "raw_exec"
    assert plain["Config"]["args"][-2:] == ["-m", deployable]
    assert any(str(word).startswith("/opt/hearth/releases/0.1.0-") for word in plain["Config"]["args"])
    assert image["Driver"] == "docker"
    assert image["Config"]["image"] == "registry.example:5000/hearth:0.1.0-0123456789ab"
    # Nothing is fetched or built before the program starts: it is in the image.
    assert image["Config"]["command"] == "/usr/bin/env"
    assert [word for word in image["Config"]["args"] if not word.startswith("--unset=")] == [
        *("/opt/hearth/bin/python", "-m", deployable),
    ]
    assert "build" not in str(image["Config"])
    assert "volumes" not in image["Config"]
    assert {mount["Destination"]: mount["Volume"] for mount in image["VolumeMounts"]} == {
        "/var/lib/hearth": "hearth-state",
        "/var/log/hearth": "hearth-logs",
        "/etc/hearth/tls": "hearth-tls",
    }
    assert plain["VolumeMounts"] is None


@pytest.mark.req("PRV-33")
@pytest.mark.parametrize("name", TEMPLATES)
def test_no_task_runs_as_root_and_its_secrets_are_for_its_user_alone(name: str) -> None:
    found = task(job(name))
    known = {user["name"]: user["uid"] for user in SITE["hearth_users"].values()}
    assert len(set(known.values()) - {0}) == len(SITE["hearth_users"]), "two services are one user, or root"
    assert found["User"] == SITE["hearth_users"][RUNS_AS[name]]["name"]
    secret = [one for one in found["Templates"] or () if "SECRETS" in one["DestPath"]]
    for template in secret:
        assert (template["Perms"], template["Uid"]) == ("0600", known[found["User"]]), template["DestPath"]


@pytest.mark.parametrize("name", TEMPLATES)
def test_no_secret_stands_in_the_job(name: str) -> None:
    assert not re.search(r"token-of-|key-of-|operator-of-|management-of-|password-of-", job_text(name))


def test_the_secrets_come_from_the_variable_that_this_job_alone_may_read() -> None:
    for name in HEARTH_JOBS:
        for template in task(job(name))["Templates"]:
            asked = re.findall(r'nomadVar "(.*?)"', template["EmbeddedTmpl"])
            assert set(asked) <= {f"nomad/jobs/{name}"}


@pytest.mark.req("PRV-35")
@pytest.mark.parametrize("name", HEARTH_JOBS)
def test_sidecars_are_rendered_only_where_they_are_wanted(name: str) -> None:
    assert service(job(name))["Connect"] is None
    assert service(job(name, consul_connect_enabled=True))["Connect"]["SidecarService"] is not None


@pytest.mark.req("MOD-02")
def test_an_expert_gets_the_list_of_its_own_models_and_needs_no_rpc_pool(tmp_path: Any) -> None:
    text = file(job("expert-main", llama_expert_name="summarization"), "models.yaml")["EmbeddedTmpl"]
    written = tmp_path / "models.yaml"
    written.write_text(text)
    whole = load_catalogue(ROOT / "group_vars/all/models.yaml")
    ours = load_catalogue(written)
    assert set(ours.experts) == {"summarization"}
    assert ours.experts["summarization"].models == whole.experts["summarization"].models
    assert "rpc" not in job_text("expert-main", llama_expert_name="summarization").lower()


@pytest.mark.req("MOD-08")
def test_an_expert_is_told_of_no_memory_and_may_use_all_that_its_host_has_free() -> None:
    rendered_on = [
        job("expert-main", facts={**FACTS, "memtotal_mb": memory, "memfree_mb": memory // 2})
        for memory in (2048, 65536)
    ]
    assert rendered_on[0] == rendered_on[1]
    program = task(rendered_on[0])
    assert "LLAMA_EXPERT_MEMORY_MB" not in program["Env"]
    assert int(program["Env"]["LLAMA_EXPERT_RESERVE_MB"]) < 100
    assert program["Resources"]["MemoryMaxMB"] == -1


@pytest.mark.req("MOD-10")
def test_the_gateway_lists_every_expert(tmp_path: Any) -> None:
    written = tmp_path / "models.yaml"
    written.write_text(file(job("moe-gateway"), "models.yaml")["EmbeddedTmpl"])
    experts = load_catalogue(written).experts
    wanted = {"main", "coding", "math", "extract", "router", "summarization", "translation"}
    assert wanted <= set(experts)
    assert {experts[name].service_name for name in wanted} == {
        SITE["__expert_service_prefix"] + name for name in wanted
    }


def test_an_expert_is_not_restarted_before_its_slowest_model_may_be_there() -> None:
    found = job("expert-main", llama_expert_load_timeout_s=900)
    (check,) = service(found)["Checks"]
    assert check["CheckRestart"]["Grace"] >= 900 * 10**9
    assert found["Update"]["HealthyDeadline"] > 900 * 10**9
    assert found["Update"]["ProgressDeadline"] > found["Update"]["HealthyDeadline"]
    assert task(found)["Env"]["LLAMA_EXPERT_LOAD_TIMEOUT_S"] == "900"


@pytest.mark.parametrize("name", HEARTH_JOBS)
def test_requests_in_flight_get_to_finish_before_a_program_is_killed(name: str) -> None:
    found = task(job(name))
    stop = next(int(value) for key, value in found["Env"].items() if key.endswith("_STOP_TIMEOUT_S"))
    assert found["KillSignal"] == "SIGTERM"
    assert found["ShutdownDelay"] > 0
    assert found["KillTimeout"] > stop * 10**9


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_bad_version_is_taken_back_and_what_took_a_lost_hosts_place_keeps_it(name: str) -> None:
    found = job(name)
    assert found["Update"]["AutoRevert"] is True
    assert found["Update"]["HealthCheck"] == "checks"
    assert group(found)["ReschedulePolicy"]["Unlimited"] is True
    assert group(found)["Disconnect"] is None


def test_two_gateways_stand_on_two_hosts_where_there_are_two() -> None:
    found = group(job("moe-gateway"))
    assert found["Count"] == 2
    assert [one["Operand"] for one in found["Constraints"]] == ["distinct_hosts"]
    assert group(job("moe-gateway", ONE_HOST))["Count"] == 1


def test_a_new_host_changes_the_jobs_of_three_hosts_in_nothing() -> None:
    four = THREE_HOSTS.replace(
        "        w1:", "        w2: {host_address: 192.0.2.22, host_interface: eth0}\n        w1:"
    )
    assert [job_text(name, four) for name in HEARTH_JOBS] == [job_text(name) for name in HEARTH_JOBS]


@pytest.mark.req("MOD-04")
def test_an_expert_learns_of_rpc_servers_from_consul_and_not_from_the_template() -> None:
    found = job("expert-main", llama_rpc_enabled=True)
    pool = file(found, "rpc.env")
    assert (pool["Envvars"], pool["ChangeMode"]) == (True, "restart")
    variable, _, servers = pool["EmbeddedTmpl"].strip().partition("=")
    assert variable == "LLAMA_EXPERT_RPC_SERVERS"
    assert "rpc_servers" in LlamaExpertSettings.model_fields
    # Nothing but what Consul knows at the moment: no address, name or port that was written down before.
    assert re.sub(r"\[\[.*?\]\]", "", servers) in (",:", ":,")
    assert f'service "{SITE["llama_rpc_service"]}"' in pool["EmbeddedTmpl"]
    assert not re.search(r"192[.]0[.]2", pool["EmbeddedTmpl"])
    assert task(found)["Env"]["LLAMA_EXPERT_ENGINE"] == "llama-server"
    lent = int(task(found)["Env"]["LLAMA_EXPERT_RPC_SERVER_MEMORY_MB"])
    assert task(job("llamacpp-rpc"))["Resources"]["MemoryMB"] == lent


@pytest.mark.req("MOD-04")
def test_rpc_servers_listen_on_the_clusters_own_network_only() -> None:
    arguments = task(job("llamacpp-rpc"))["Config"]["args"]
    assert arguments[arguments.index("--port") + 1] == "${NOMAD_PORT_rpc}"
    assert arguments[arguments.index("--host") + 1] == "${NOMAD_IP_rpc}"


@pytest.mark.req("PRV-34")
def test_the_start_script_starts_what_was_stopped_and_skips_what_nomad_does_not_know(tmp_path: Path) -> None:
    script = tmp_path / "start_services.sh"
    script.write_text(render("bootstrap_agent", "start_services.sh.j2", THREE_HOSTS, "n1"))
    nomad = tmp_path / "nomad"
    nomad.write_text(
        f"""#!/bin/sh
        job() {{ for last; do :; done; echo "$last"; }}
        case "$2 $(job "$@")" in
            "status expert-main" | "status home-assistant" | "status $BROKEN") echo "Status = dead" ;;
            "status pipecatapp") echo "Status = $AGENT" ;;
            "status $UNREADABLE") echo "Error querying job: 403 (Permission denied)" >&2; exit 1 ;;
            "status "*) echo 'No job(s) with prefix or ID found' >&2; exit 1 ;;
            "start $BROKEN") exit 1 ;;
            "start "*) job "$@" >>{tmp_path}/started ;;
        esac
        """
    )
    nomad.chmod(0o755)

    def run(
        broken: str, agent: str = "running", unreadable: str = "nothing"
    ) -> subprocess.CompletedProcess[str]:
        told = {
            "PATH": f"{tmp_path}:/usr/bin:/bin",
            "BROKEN": broken,
            "AGENT": agent,
            "UNREADABLE": unreadable,
        }
        (tmp_path / "started").write_text("")
        return subprocess.run(["sh", str(script)], env=told, capture_output=True, text=True, check=False)

    done = run("nothing")
    assert (tmp_path / "started").read_text().split() == ["expert-main", "home-assistant"]
    assert "pipecatapp: runs" in done.stdout
    assert "moe-gateway: skipped, Nomad knows no such job" in done.stdout
    assert (done.returncode, done.stderr) == (0, "")
    broken = run("moe-gateway")
    assert (broken.returncode, broken.stderr) == (1, "moe-gateway: could not be started\n")
    (tmp_path / "nomad").write_text(
        (tmp_path / "nomad").read_text().replace('"start $BROKEN") exit 1 ;;\n', "")
    )
    assert run("moe-gateway", agent="dead").returncode == 0
    started = (tmp_path / "started").read_text().split()
    assert started == ["expert-main", "pipecatapp", "moe-gateway", "home-assistant"]
    unreadable = run("nothing", unreadable="moe-gateway")
    assert unreadable.returncode == 1
    assert unreadable.stderr == "moe-gateway: Error querying job: 403 (Permission denied)\n"
    assert "home-assistant: started" in unreadable.stdout, "one that fails does not keep the others"
