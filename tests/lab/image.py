"""The system that every lab host boots: a blank Debian with systemd and sshd, made here by debootstrap."""

import hashlib
import re
import shutil
import tempfile
from pathlib import Path

from tests.lab.engine import docker, locked, run

SUITE = "bookworm"
DEFAULT_MIRROR = "http://deb.debian.org/debian"
INCLUDED = (
    "systemd,systemd-sysv,dbus,openssh-server,python3,sudo,iproute2,iptables,ca-certificates,"
    "procps,kmod,iputils-ping"
)
CA_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
APT = Path("/etc/apt")

#: The engine mounts a host's own cgroup trees read-only; its systemd and Nomad need to write there.
CGROUPS_UNIT = """\
[Unit]
Description=Make this host's own cgroup trees writable
DefaultDependencies=no
Before=sysinit.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/local/sbin/lab-writable-cgroups

[Install]
WantedBy=sysinit.target
"""
CGROUPS_SCRIPT = """\
#!/bin/sh
# Only mount points can be remounted; some names beside them are symbolic links.
while read -r _ place _ options _; do
  case "$place:$options" in
    /sys/fs/cgroup*:ro,*) mount -o remount,bind,rw "$place" ;;
  esac
done </proc/mounts
"""
#: Nothing of one host may show in another: keys and identity are given when a host is made.
REMOVED = (
    "etc/ssh/ssh_host_*",
    "var/lib/dbus/machine-id",
    "var/cache/apt/archives/*.deb",
    "var/lib/apt/lists/*_*",
    "var/log/*.log",
)


def ensure_image() -> str:
    """The name of the image, built if this recipe has never been."""
    recipe = "\n".join(
        [SUITE, INCLUDED, CGROUPS_UNIT, CGROUPS_SCRIPT, _sources(), _apt_options(), _ca_hash(), *REMOVED]
    )
    name = f"hearth-lab:{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"
    with locked("image"):
        if docker("image", "inspect", name, check=False).returncode != 0:
            _build(name)
    return name


def _build(name: str) -> None:
    with tempfile.TemporaryDirectory(prefix="hearth-lab-image-", dir="/var/tmp") as folder:
        root = Path(folder) / "root"
        run(
            ["debootstrap", "--variant=minbase", f"--include={INCLUDED}", SUITE, str(root), _mirror()],
            timeout=900,
        )
        _adapt(root)
        archive = Path(folder) / "root.tar"
        run(["tar", "--numeric-owner", "-C", str(root), "-cf", str(archive), "."], timeout=300)
        docker("import", str(archive), name, timeout=300)


def _adapt(root: Path) -> None:
    for pattern in REMOVED:
        for path in root.glob(pattern):
            path.unlink()
    (root / "etc/machine-id").write_text("")
    bus_id = root / "var/lib/dbus/machine-id"
    bus_id.unlink(missing_ok=True)
    bus_id.symlink_to("/etc/machine-id")
    (root / "etc/hostname").unlink(missing_ok=True)
    (root / "etc/apt/sources.list").unlink(missing_ok=True)
    (root / "etc/apt/sources.list.d/lab.sources").write_text(_sources())
    (root / "etc/apt/apt.conf.d/99lab").write_text(_apt_options())
    if CA_BUNDLE.is_file():
        shutil.copyfile(CA_BUNDLE, root / CA_BUNDLE.relative_to("/"))
    script = root / "usr/local/sbin/lab-writable-cgroups"
    script.write_text(CGROUPS_SCRIPT)
    script.chmod(0o755)
    unit = root / "etc/systemd/system/lab-writable-cgroups.service"
    unit.write_text(CGROUPS_UNIT)
    wanted = root / "etc/systemd/system/sysinit.target.wants"
    wanted.mkdir(parents=True, exist_ok=True)
    (wanted / unit.name).symlink_to(f"/etc/systemd/system/{unit.name}")


def _debian_stanzas() -> list[str]:
    """What this machine says about its own Debian, so that a private mirror serves the hosts too."""
    found = []
    files = [APT / "sources.list", *sorted((APT / "sources.list.d").glob("*"))]
    for file in files:
        if not file.is_file():
            continue
        text = "\n".join(line for line in file.read_text().splitlines() if not line.startswith("#"))
        for stanza in re.split(r"\n\s*\n", text):
            suites = re.search(rf"(?m)^Suites:.*\b{SUITE}\b|^Suites:.*\b{SUITE}-security\b", stanza)
            if file.suffix == ".sources" and suites and re.search(r"(?m)^Components:.*\bmain\b", stanza):
                found.append(stanza.strip())
            for line in stanza.splitlines():
                parts = re.match(rf"deb (?:\[[^]]*\] )?(\S+) ({SUITE}\S*) (main\b.*)$", line)
                if file.suffix == ".list" and parts:
                    found.append(f"Types: deb\nURIs: {parts[1]}\nSuites: {parts[2]}\nComponents: {parts[3]}")
    return found


def _sources() -> str:
    stanzas = _debian_stanzas() or [
        f"Types: deb\nURIs: {DEFAULT_MIRROR}\nSuites: {SUITE} {SUITE}-updates\nComponents: main"
    ]
    return "\n\n".join(stanzas) + "\n"


def _mirror() -> str:
    for stanza in _debian_stanzas():
        plain = re.search(rf"(?m)^Suites:.*\b{SUITE}(\s|$)", stanza)
        address = re.search(r"(?m)^URIs:\s*(\S+)", stanza)
        if plain and address:
            return address[1]
    return DEFAULT_MIRROR


def _apt_options() -> str:
    dump = run(["apt-config", "dump"], check=False).stdout.splitlines()
    wanted = re.compile(r"^Acquire::(https?::.*(Proxy|CAInfo|Verify-)|Check-(Date|Valid-Until))")
    return "".join(line + "\n" for line in dump if wanted.match(line))


def _ca_hash() -> str:
    return hashlib.sha256(CA_BUNDLE.read_bytes()).hexdigest() if CA_BUNDLE.is_file() else "none"
