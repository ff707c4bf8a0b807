"""The roles for every host, on a real one: it is refused untouched, or made ready, and only once."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.integration.waiting import eventually
from tests.lab import Lab, PlaybookRun, own_name

pytestmark = pytest.mark.timeout(600)

#: Everything that a host keeps, with its contents; what any login writes is left out.
FINGERPRINT = (
    "find / -xdev \\( -path /proc -o -path /sys -o -path /dev -o -path /run -o -path /tmp"
    " -o -path /root/.ansible -o -path /var/log -o -path /var/cache -o -path /var/lib/systemd \\) -prune"
    " -o \\( -type f -o -type l \\) -printf '%p %m %u %g %s %T@\\n' | sort | sha256sum"
)


class Bench:
    """One host, and plays written on the spot."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.lab, self.host, self.folder = lab, lab.host("n1"), folder

    def play(self, *tasks: dict[str, Any], extra: dict[str, Any] | None = None, **play: Any) -> PlaybookRun:
        playbook = self.folder / "playbook.yaml"
        whole = {"hosts": "controllers:workers", "gather_facts": False, "tasks": list(tasks), **play}
        playbook.write_text(yaml.safe_dump([whole], sort_keys=False))
        return self.lab.ansible(str(playbook), extra=extra or {}, timeout=400)

    def preflight(self, **extra: Any) -> PlaybookRun:
        """Look at the host, then change something if it was let pass."""
        return self.play(
            {"ansible.builtin.include_role": {"name": "preflight_checks", "tasks_from": "host"}},
            {"ansible.builtin.copy": {"content": "changed", "dest": "/etc/changed", "mode": "0644"}},
            extra=extra,
        )

    def apply(self, role: str, **extra: Any) -> PlaybookRun:
        return self.play(roles=[role], gather_facts=True, extra=extra)

    def refuses(self, expected: str, **extra: Any) -> str:
        """What is said when the host is refused with `expected`; no file on it differs afterwards."""
        before = self.host.shell(FINGERPRINT)
        run = self.preflight(**extra)
        assert not run.succeeded
        said = " ".join(run.output.split())
        assert expected in said
        assert self.host.shell(FINGERPRINT) == before
        return said


@pytest.fixture(scope="module")
def bench(lab_engine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with Lab(own_name("host-roles"), hosts=1, disks={"/srv/small": 16}) as lab:
        yield Bench(lab, tmp_path_factory.mktemp("plays"))


def folder(path: str, free_mb: int = 1) -> dict[str, Any]:
    return {"preflight_checks_folders": [{"path": path, "free_mb": free_mb}]}


@pytest.mark.req("PRV-28")
def test_a_full_disk_is_refused_with_what_was_found_and_is_needed(bench: Bench) -> None:
    said = bench.refuses("/srv/small/state has", **folder("/srv/small/state", 4000))
    assert re.search(r"/srv/small/state has \d+ MB free \(on /srv/small\); 4000 MB are needed", said)


@pytest.mark.req("PRV-28")
def test_a_file_system_that_cannot_be_written_is_refused_by_its_path(bench: Bench) -> None:
    bench.host.shell("mount -o remount,ro /srv/small")
    try:
        bench.refuses("/srv/small cannot be written", **folder("/srv/small/state"))
    finally:
        bench.host.shell("mount -o remount,rw /srv/small")
    bench.play(
        {"ansible.builtin.include_role": {"name": "preflight_checks", "tasks_from": "host"}},
        extra=folder("/srv/small/state"),
    ).expect_success()
    assert bench.host.shell("find /srv/small -name '.hearth*'") == ""


@pytest.mark.req("PRV-28")
def test_a_host_without_network_is_refused_unless_it_is_to_have_none(bench: Bench) -> None:
    nowhere = {"preflight_checks_network_url": "http://127.0.0.1:9/", "preflight_checks_network_timeout_s": 2}
    bench.refuses("http://127.0.0.1:9/ does not answer", preflight_checks_air_gapped=False, **nowhere)
    bench.play(
        {"ansible.builtin.include_role": {"name": "preflight_checks", "tasks_from": "host"}},
        extra={"preflight_checks_air_gapped": True, **nowhere},
    ).expect_success()


@pytest.mark.req("PRV-28")
def test_a_taken_port_is_refused_by_its_name_and_holder(bench: Bench) -> None:
    bench.host.shell("systemd-run --unit=squatter python3 -m http.server 8501 --directory /run/lock")
    try:
        eventually(lambda: ":8501 " in bench.host.shell("ss -tln"), within=20)
        bench.refuses("port 8501 (consul_https_port) is taken by python3")
    finally:
        bench.host.shell("systemctl stop squatter")


@pytest.mark.req("PRV-28")
def test_one_host_that_is_not_there_stops_all_of_them(bench: Bench) -> None:
    inventory = bench.folder / "gone.yaml"
    inventory.write_text(
        "workers:\n  hosts:\n    gone:\n      ansible_host: 192.0.2.77\n"
        "      ansible_ssh_common_args: -o ConnectTimeout=2\n"
    )
    playbook = bench.folder / "with-gone.yaml"
    playbook.write_text(
        yaml.safe_dump(
            [
                {
                    "hosts": "n1:gone",
                    "gather_facts": False,
                    "tasks": [
                        {"ansible.builtin.include_role": {"name": "preflight_checks", "tasks_from": "host"}},
                        {"ansible.builtin.copy": {"content": "x", "dest": "/etc/changed", "mode": "0644"}},
                    ],
                }
            ]
        )
    )
    run = bench.lab.ansible(str(playbook), "-i", str(inventory))
    assert not run.succeeded
    assert run.changed == 0
    assert bench.host.shell("ls /etc/changed 2>/dev/null || true") == ""


@pytest.mark.req("PRV-09", "PRV-12", "PRV-32", "PRV-40")
def test_a_host_gets_what_all_have_and_loses_what_is_obsolete(bench: Bench) -> None:
    host = bench.host
    host.write("/etc/sudoers.d/target_user", "games ALL=(ALL) NOPASSWD: ALL\n", "0440")
    host.write(
        "/etc/systemd/system/llama-services.service", "[Service]\nExecStart=/usr/bin/tail -f /dev/null\n"
    )
    host.shell("systemctl daemon-reload; systemctl start llama-services")

    own = {
        "hearth_install_dir": "/srv/hearth",
        "hearth_state_dir": "/srv/state",
        "hearth_log_dir": "/srv/log",
        "common_work_tree_dir": "/srv/hearth/tree",
    }
    # A rule that nobody can read takes sudo from everybody: it is found before somebody needs it.
    host.write("/etc/sudoers.d/of-somebody", "games ALL=(ALL\n", "0440")
    judged = bench.apply("common", **own)
    assert not judged.succeeded
    assert "/etc/sudoers.d/of-somebody" in judged.output
    host.shell("rm /etc/sudoers.d/of-somebody")
    host.write("/etc/sudoers.d/target_user", "games ALL=(ALL) NOPASSWD: ALL\n", "0440")
    bench.apply("common", **own).expect_success()

    assert host.shell("grep -rl NOPASSWD /etc/sudoers /etc/sudoers.d || true") == ""
    assert host.shell("pgrep --exact tail || true") == ""
    assert host.shell("systemctl list-unit-files llama-services.service --no-legend || true") == ""

    # Application, data, logs, work tree, restart script: where they were asked for, and whose they are.
    owners = host.shell(
        "stat --format '%n %U %G %a' /srv/hearth/releases /srv/state/pipecatapp /srv/log"
        " /srv/hearth/tree /srv/hearth/restart.sh"
    )
    assert owners.splitlines() == [
        "/srv/hearth/releases root root 755",
        "/srv/state/pipecatapp hearth-agent hearth 700",
        "/srv/log root hearth 1770",
        "/srv/hearth/tree hearth-agent hearth 750",
        "/srv/hearth/restart.sh root root 755",
    ]

    as_agent = "HOME=/srv/state/pipecatapp runuser --user hearth-agent -- git -C /srv/hearth/tree"
    host.shell(f"{as_agent} init --quiet && {as_agent} commit --quiet --allow-empty --message try")
    assert host.shell(f"{as_agent} log --format='%an <%ae>'") == "Hearth Agent <hearth-agent@n1.home.invalid>"

    # Nothing but ssh, the cluster and the published services gets in, and ssh still does.
    host.shell("systemd-run --unit=open python3 -m http.server 9999 --directory /run/lock")
    eventually(lambda: ":9999 " in host.shell("ss -tln"), within=20)
    refused = bench.play(
        {
            "ansible.builtin.wait_for": {"host": host.address, "port": 9999, "timeout": 3},
            "delegate_to": "localhost",
        }
    )
    assert "Timeout when waiting" in refused.output
    host.shell("systemctl stop open")

    again = bench.apply("common", **own).expect_success()
    assert again.changed == 0, again.changes
    foreseen = bench.lab.ansible(str(bench.folder / "playbook.yaml"), "--check", extra=own).expect_success()
    assert foreseen.changed == 0, foreseen.changes


@pytest.mark.req("PRV-11", "PRV-12")
def test_a_user_is_let_into_the_group_docker_once(bench: Bench) -> None:
    bench.host.shell("getent group docker || groupadd --system docker; gpasswd --add games docker")
    first = bench.apply("docker", docker_users=["games"]).expect_success()
    assert "Let users command the engine" not in {task.split(" : ")[-1] for _, task in first.changes}
    second = bench.apply("docker", docker_users=["games", "news"]).expect_success()
    assert [task.split(" : ")[-1] for _, task in second.changes] == ["Let users command the engine"]
    third = bench.apply("docker", docker_users=["games", "news"]).expect_success()
    assert third.changed == 0, third.changes


@pytest.mark.req("MOD-11")
def test_files_for_speech_are_downloaded_once_and_again_when_they_are_spoilt(bench: Bench) -> None:
    host, voice = bench.host, "/var/lib/hearth/models/voice.onnx"
    host.shell("mkdir -p /srv/hub /var/lib/hearth/models")
    host.write("/srv/hub/voice.onnx", "hear me\n")
    checksum = host.shell("sha256sum /srv/hub/voice.onnx").split()[0]
    host.shell("systemd-run --unit=hub python3 -m http.server 8999 --bind 127.0.0.1 --directory /srv/hub")
    eventually(lambda: ":8999 " in host.shell("ss -tln"), within=20)
    url = "http://127.0.0.1:8999/voice.onnx"
    wanted = {"models_files": [{"url": url, "filename": "voice.onnx", "checksum": f"sha256:{checksum}"}]}
    assert bench.apply("models", **wanted).expect_success().changed == 1
    assert host.shell(f"cat {voice}").strip() == "hear me"
    assert bench.apply("models", **wanted).expect_success().changed == 0
    host.write(voice, "noise\n")
    assert bench.apply("models", **wanted).expect_success().changed == 1
    assert host.shell(f"cat {voice}").strip() == "hear me"
    host.write("/srv/hub/voice.onnx", "something else\n")
    host.shell(f"rm {voice}")
    assert not bench.apply("models", **wanted).succeeded
    host.shell(f"test ! -e {voice}; systemctl stop hub")
