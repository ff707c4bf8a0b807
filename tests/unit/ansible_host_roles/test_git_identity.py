"""The agent signs its commits with the name that the site gave it."""

import subprocess
from pathlib import Path

import pytest

from tests.ansible_render import ROOT, THREE_HOSTS, render
from tests.repository.ansible_tree import tasks

pytestmark = pytest.mark.timeout(300)
IDENTITY = {"common_agent_git_name": "Ada's agent", "common_agent_git_email": "agent@attic.example"}


@pytest.mark.req("PRV-42")
def test_a_commit_in_the_home_that_the_job_gives_the_agent_carries_the_sites_name(tmp_path: Path) -> None:
    (file,) = [
        file
        for task in tasks(ROOT)
        for file in (task.fields.get("vars") or {}).get("host_files_wanted", ())
        if task.role == "common" and file.get("src") == "gitconfig.j2"
    ]
    state = {"hearth_state_dir": str(tmp_path)}
    job = render("pipecatapp", "pipecatapp.nomad.j2", THREE_HOSTS, "n1", variables=state)
    (home,) = [line.split('"')[1] for line in job.splitlines() if line.split()[:1] == ["HOME"]]
    config = Path(file["dest"].replace("{{ hearth_state_dir }}", str(tmp_path)))
    config.parent.mkdir()
    config.write_text(render("common", "gitconfig.j2", THREE_HOSTS, "n1", variables=IDENTITY))

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(tmp_path), *arguments],
            env={"HOME": home, "PATH": "/usr/bin:/bin", "GIT_CONFIG_NOSYSTEM": "1"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    git("init", "--quiet")
    git("commit", "--quiet", "--allow-empty", "--message", "try")
    assert git("log", "--format=%an <%ae>|%cn <%ce>").strip() == "|".join(
        ["Ada's agent <agent@attic.example>"] * 2
    )
