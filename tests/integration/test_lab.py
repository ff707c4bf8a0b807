"""The lab does what its words say, and leaves nothing behind."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.integration.waiting import eventually
from tests.lab import Lab, LabError, own_name
from tests.lab.engine import docker, run
from tests.lab.lab import LABS, list_labs, sweep
from tests.lab.state import moving

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def lab(lab_engine: None) -> Iterator[Lab]:
    with Lab(own_name("words"), hosts=2, disks={"/srv/small": 16}) as made:
        yield made


def reaches(lab: Lab, source: str, target: str) -> bool:
    argv = ["ping", "-c", "1", "-W", "1", lab.host(target).address]
    return lab.host(source).exec(argv, check=False).returncode == 0


def traces(name: str) -> list[str]:
    """Whatever a lab of this name left on the machine."""
    found = docker("ps", "--all", "--quiet", "--filter", f"label=hearth-lab={name}").stdout.split()
    found += docker("network", "ls", "--quiet", "--filter", f"label=hearth-lab={name}").stdout.split()
    folder = str(LABS / name)
    found += [line for line in Path("/proc/mounts").read_text().splitlines() if folder in line]
    found += [line for line in run(["losetup", "--list"]).stdout.splitlines() if folder in line]
    for process in psutil.process_iter(["cmdline"]):
        found += [word for word in process.info["cmdline"] or [] if folder in word]
    return found + ([folder] if Path(folder).exists() else [])


def test_hosts_boot_systemd_and_sshd_with_an_identity_of_their_own(lab: Lab) -> None:
    one, two = lab.host("n1"), lab.host("n2")
    assert one.read("/proc/1/comm").strip() == "systemd"
    assert one.shell("systemctl --failed --no-legend") == ""
    assert one.shell("hostname") == "n1"
    assert one.read("/etc/machine-id") != two.read("/etc/machine-id")
    assert one.read("/var/lib/dbus/machine-id") == one.read("/etc/machine-id")
    assert one.shell("cat /etc/ssh/*.pub") != two.shell("cat /etc/ssh/*.pub")
    assert reaches(lab, "n1", "n2")


def test_each_host_has_cgroup_trees_of_its_own(lab: Lab) -> None:
    lab.host("n1").shell("mkdir /sys/fs/cgroup/memory/only-here /sys/fs/cgroup/cpu/only-here")
    assert "only-here" not in lab.host("n2").shell("ls /sys/fs/cgroup/memory")
    lab.host("n1").shell("rmdir /sys/fs/cgroup/memory/only-here /sys/fs/cgroup/cpu/only-here")


def test_a_playbook_reaches_all_hosts_and_its_changes_are_counted(lab: Lab, tmp_path: Path) -> None:
    playbook = tmp_path / "playbook.yaml"
    playbook.write_text(
        "- name: Try\n  hosts: controllers:workers\n  gather_facts: false\n  tasks:\n"
        "    - name: Write\n      ansible.builtin.copy: {content: x, dest: /root/x, mode: '0600'}\n"
    )
    first = lab.ansible(str(playbook)).expect_success()
    second = lab.ansible(str(playbook)).expect_success()
    assert sorted(first.changes) == [("n1", "Write"), ("n2", "Write")]
    assert (first.changed, second.changed) == (2, 0)
    assert set(second.hosts) == {"n1", "n2"}
    assert 0 < first.plays["Try"] < first.seconds


def test_a_failing_playbook_is_told_apart(lab: Lab, tmp_path: Path) -> None:
    playbook = tmp_path / "playbook.yaml"
    playbook.write_text(
        "- name: Fail\n  hosts: n1\n  gather_facts: false\n  tasks:\n    - ansible.builtin.fail:\n"
    )
    done = lab.ansible(str(playbook))
    assert (done.succeeded, done.hosts["n1"].failed) == (False, 1)
    with pytest.raises(LabError, match="Failed as requested"):
        done.expect_success()


def test_a_cut_parts_two_hosts_until_it_is_healed(lab: Lab) -> None:
    lab.cut("n1", "n2")
    assert not reaches(lab, "n1", "n2")
    lab.heal_network()
    assert reaches(lab, "n1", "n2")


def test_a_cut_one_way_lets_the_other_way_pass(lab: Lab) -> None:
    send = "import socket, sys; socket.socket(2, 2).sendto(b'x', (sys.argv[1], 9))"
    count = (
        "import re; print(sum(map(int, re.findall(r'Udp: (\\d+) (\\d+)', open('/proc/net/snmp').read())[0])))"
    )

    def arrives(source: str, target: str) -> bool:
        before = lab.host(target).exec(["python3", "-c", count]).stdout
        lab.host(source).exec(["python3", "-c", send, lab.host(target).address])
        return lab.host(target).exec(["python3", "-c", count]).stdout != before

    lab.cut_one_way("n1", "n2")
    try:
        assert not arrives("n1", "n2")
        assert arrives("n2", "n1")
    finally:
        lab.heal_network()


def test_loss_loses_about_its_share(lab: Lab) -> None:
    lab.loss("n1", 30)
    try:
        said = lab.host("n1").shell(f"ping -q -c 300 -i 0.005 -W 1 {lab.host('n2').address} || true")
    finally:
        lab.heal_network()
    lost = float(said.split("% packet loss")[0].split()[-1])
    assert 35 < lost < 67, said  # 51 % of the round trips at 30 % each way


def test_kill_ends_a_process_and_systemd_starts_it_again(lab: Lab) -> None:
    host = lab.host("n1")
    before = host.started("^/sbin/init|^/lib/systemd/systemd-journald")
    [killed] = host.kill("^/lib/systemd/systemd-journald")
    eventually(lambda: bool(set(host.pids("^/lib/systemd/systemd-journald")) - {killed}), within=20)
    assert host.started("^/sbin/init").items() <= before.items()
    with pytest.raises(LabError, match="no process matches"):
        host.kill("^/no/such/program")


def test_a_frozen_process_lives_but_does_nothing(lab: Lab) -> None:
    host = lab.host("n1")
    host.freeze("^sshd: /usr/sbin/sshd")
    [pid] = host.pids("^sshd: /usr/sbin/sshd")
    assert "\nState:\tT" in host.read(f"/proc/{pid}/status")
    host.thaw("^sshd: /usr/sbin/sshd")
    assert "\nState:\tT" not in host.read(f"/proc/{pid}/status")


def test_a_full_disk_takes_nothing_more_until_it_is_freed(lab: Lab) -> None:
    host = lab.host("n1")
    for folder in ("/srv/small", "/srv/plain"):
        host.shell(f"mkdir -p {folder}; echo kept >{folder}/before")
        host.fill_disk(folder)
        written = host.exec(["cp", "/etc/services", f"{folder}/after"], check=False)
        assert "No space left" in written.stderr
        host.free_disk(folder)
        host.shell(f"echo more >{folder}/after")
        assert host.shell(f"cat {folder}/before {folder}/after") == "kept\nmore"


def test_a_host_without_power_is_gone_and_returns_with_its_disk_and_address(lab: Lab) -> None:
    host = lab.host("n2")
    host.write("/root/note", "still here")
    host.power_off()
    assert not host.runs
    assert not reaches(lab, "n1", "n2")
    host.boot()
    assert reaches(lab, "n1", "n2")
    assert host.read("/root/note") == "still here"
    assert host.shell("touch /sys/fs/cgroup/memory/cgroup.procs && echo writable") == "writable"


def test_a_host_can_get_another_address(lab: Lab) -> None:
    host = lab.host("n2")
    old = host.address
    with pytest.raises(LabError, match="power it off"):
        lab.readdress("n2")
    host.power_off()
    new = lab.readdress("n2")
    host.boot()
    assert new != old
    assert new in host.shell("hostname -I")
    assert reaches(lab, "n1", "n2")


def test_hosts_can_be_added_and_taken_away(lab: Lab) -> None:
    added = lab.add_host("workers")
    assert f"{added.name}:" in lab.inventory_file.read_text()
    assert reaches(lab, "n1", added.name)
    lab.forget_host(added.name)
    assert f"{added.name}:" not in lab.inventory_file.read_text()


def test_two_labs_live_side_by_side_and_leave_nothing_behind(lab: Lab, tmp_path: Path) -> None:
    playbook = tmp_path / "playbook.yaml"
    playbook.write_text("- hosts: n1\n  gather_facts: false\n  tasks:\n    - ansible.builtin.ping:\n")
    with Lab(own_name("beside"), hosts=1, disks={"/srv/small": 16}) as other:
        assert other.host("n1").address not in {host.address for host in lab.machines.values()}
        assert other.host("n1").exec(["ping", "-c1", "-W1", lab.host("n1").address], check=False).returncode
        other.ansible(str(playbook)).expect_success()
        assert traces(other.name)
    assert traces(other.name) == []
    assert traces(lab.name)


def test_a_lab_that_fails_to_come_up_leaves_nothing_behind(lab_engine: None) -> None:
    with pytest.raises(LabError), Lab(own_name("broken"), hosts=1, memory="nonsense"):
        pass
    assert traces(own_name("broken")) == []


def test_the_lab_of_a_killed_process_is_swept(lab_engine: None) -> None:
    orphan = own_name("orphan")
    made = f"from tests.lab import Lab; Lab({orphan!r}, hosts=1).up()"
    script = f"import os; {made}; os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", script], check=False, timeout=120)
    assert orphan in list_labs()
    assert orphan in sweep()
    assert traces(orphan) == []


def _allocation(client: str, desired: str) -> dict[str, str]:
    return {"ClientStatus": client, "DesiredStatus": desired}


@pytest.mark.parametrize(
    ("allocations", "on_their_way"),
    [
        ([("running", "run"), ("running", "run"), ("complete", "stop"), ("lost", "stop")], 0),
        ([("running", "run")], 1),
        ([("running", "run"), ("pending", "run")], 2),
        ([("running", "run"), ("running", "stop")], 2),
        ([("running", "run"), ("running", "run"), ("unknown", "run")], 1),
        ([("running", "run"), ("running", "run"), ("running", "run")], 1),
    ],
)
def test_a_service_rests_when_all_that_should_run_does_and_nothing_else(
    allocations: list[tuple[str, str]], on_their_way: int
) -> None:
    job = {"Type": "service", "TaskGroups": [{"Count": 2}]}
    assert moving(job, [_allocation(*one) for one in allocations]) == on_their_way
