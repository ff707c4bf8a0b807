"""Programs from source are built once for each release and kind of processor, and shipped."""

import hashlib
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests.unit.ansible_host_roles.site import Played, Site

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="programs are installed for root"),
    pytest.mark.timeout(400),
]

#: Does what the role needs of cmake and writes down how it was called.
CMAKE = """#!/bin/bash
set -eu
echo "$@" >> "{log}"
case "$1" in
  --version) ;;
  -S) mkdir -p "$4" && touch "$4/Makefile" ;;
  --build)
    mkdir -p "$2/bin"
    while [ "$1" != --target ]; do shift; done
    shift
    for target; do printf '#!/bin/sh\\necho %s\\n' "$target" > "$build/bin/$target"; done ;;
esac
"""
PROGRAMS = {
    "llama_cpp": ("vendor/llama.cpp", "llama.cpp", {"llama-server", "rpc-server"}),
    "whisper_cpp": ("whisper.cpp", "whisper.cpp", {"whisper-server"}),
}


class Workshop:
    """A site with stubs for the compiler and a source package with nothing in it."""

    def __init__(self, site: Site, role: str) -> None:
        self.site, self.role = site, role
        self.bin, self.log = site.folder / "bin", site.folder / "cmake.log"
        self.bin.mkdir()
        self.log.touch()
        self._stub("cmake", CMAKE.format(log=self.log).replace('"$2/bin"', '"$2/bin"; build=$2'))
        for name in ("c++", "make"):
            self._stub(name, f'#!/bin/sh\necho {name} "$@" >>{self.log}\n')
        self.archive = site.folder / "sources.tar.gz"
        listing = site.folder / "CMakeLists.txt"
        listing.touch()
        with tarfile.open(self.archive, "w:gz") as packed:
            packed.add(listing, f"package-1/{PROGRAMS[role][0]}/CMakeLists.txt")

    def _stub(self, name: str, text: str) -> None:
        (self.bin / name).write_text(text)
        (self.bin / name).chmod(0o755)

    def apply(self, **variables: Any) -> Played:
        told = {
            f"{self.role}_enabled": True,
            f"{self.role}_version": "1",
            f"{self.role}_archive": str(self.archive),
            f"{self.role}_sha256": hashlib.sha256(self.archive.read_bytes()).hexdigest(),
            "hearth_install_dir": str(self.site.folder / "opt"),
            **{f"{self.role}_{name}": value for name, value in variables.items()},
        }
        play = {
            "hosts": "all",
            "connection": "local",
            "gather_facts": False,
            "pre_tasks": [{"ansible.builtin.set_fact": {"host_cpu_level": "x86-64-v3"}}],
            "roles": [self.role],
        }
        return self.site.play(play, path=str(self.bin), **told)

    @property
    def builds(self) -> int:
        return sum(line.startswith("--build") for line in self.log.read_text().splitlines())

    @property
    def installed(self) -> Path:
        return self.site.folder / "opt/programs" / PROGRAMS[self.role][1]


@pytest.fixture
def workshop(site: Site) -> Workshop:
    return Workshop(site, "llama_cpp")


def builds_once(workshop: Workshop) -> None:
    # Two hosts with the same kind of processor are built for once.
    workshop.site.inventory({"controllers": {"n1": {}}, "workers": {"n2": {}}})
    workshop.apply().expect_success()
    assert workshop.builds == 1
    assert {path.name for path in workshop.installed.iterdir()} == PROGRAMS[workshop.role][2]
    first = workshop.installed.resolve()

    calls = workshop.log.read_text()
    assert workshop.apply().expect_success().changes == []
    assert workshop.log.read_text() == calls, "the second run called cmake"

    workshop.apply(version="2").expect_success()
    assert workshop.builds == 2
    assert workshop.installed.resolve() != first
    assert "-2-" in workshop.installed.resolve().name


@pytest.mark.req("PRV-06")
def test_a_release_of_llama_cpp_is_built_once_and_the_next_once_more(site: Site) -> None:
    builds_once(Workshop(site, "llama_cpp"))


@pytest.mark.req("PRV-07")
def test_a_release_of_whisper_cpp_is_built_once_and_the_next_once_more(site: Site) -> None:
    builds_once(Workshop(site, "whisper_cpp"))


def test_other_settings_are_another_build(workshop: Workshop) -> None:
    workshop.apply().expect_success()
    workshop.apply(settings={"GGML_LTO": True}).expect_success()
    configured = [line for line in workshop.log.read_text().splitlines() if line.startswith("-S")]
    assert len(configured) == 2
    assert "-DGGML_LTO=ON" in configured[1]
    assert all("-DGGML_AVX2=ON -DGGML_AVX512=OFF" in line for line in configured)


def test_sources_that_are_not_the_pinned_ones_are_not_built(workshop: Workshop) -> None:
    refused = workshop.apply(sha256="0" * 64)
    assert refused.returncode != 0
    assert f"needs {'0' * 64}" in refused.output.replace("\n", " ")
    assert workshop.builds == 0


def test_a_build_that_was_interrupted_is_not_taken_for_done(workshop: Workshop) -> None:
    cmake = (workshop.bin / "cmake").read_text()
    (workshop.bin / "cmake").write_text(cmake.replace("--build)", "--build) exit 7;"))
    assert workshop.apply().returncode != 0
    assert not workshop.installed.exists()
    (workshop.bin / "cmake").write_text(cmake)
    workshop.apply().expect_success()
    assert workshop.installed.exists()


#: Stands in for the compiler: builds only with the go.mod and go.sum of the version that is asked for.
GO = """#!/bin/sh
set -eu
echo "$@" >> "{log}"
grep -q "^require github.com/hashicorp/{program} v{version}$" go.mod
grep -q "^github.com/hashicorp/{program} v{version} h1:" go.sum
for argument; do
  case "$argument" in -o=*) printf '#!/bin/sh\\necho built\\n' > "${{argument#-o=}}" ;; esac
done
"""


@pytest.mark.parametrize(
    ("program", "version"), [("consul", "1.22.5"), ("nomad", "1.10.5"), ("nomad", "1.11.3")]
)
def test_a_controller_that_has_built_nothing_yet_builds_an_agent_once(
    site: Site, program: str, version: str
) -> None:
    log, compiler = site.folder / "go.log", site.folder / "go"
    compiler.write_text(GO.format(log=log, program=program, version=version))
    compiler.chmod(0o755)
    play = {
        "hosts": "n1",
        "connection": "local",
        "gather_facts": False,
        "tasks": [
            {"ansible.builtin.include_role": {"name": program, "tasks_from": "install"}},
            # Nothing runs here that could be restarted.
            {"ansible.builtin.meta": "end_play"},
        ],
    }
    told: dict[str, Any] = {
        f"{program}_install_method": "go",
        f"{program}_version": version,
        "__consul_user_known": True,
        "program_go": str(compiler),
        "program_link_dir": str(site.folder),
        "hearth_install_dir": str(site.folder / "opt"),
    }
    first = site.play(play, **told).expect_success()
    assert "Build the program" in first.changes
    assert (site.folder / program).read_text() == "#!/bin/sh\necho built\n"
    assert site.play(play, **told).expect_success().changes == []
    assert len(log.read_text().splitlines()) == 1
