from pathlib import Path

import pytest

from tests.unit.ansible_host_roles.site import Site


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A site with one host, n1, in the group controllers."""
    return Site(tmp_path / "site")
