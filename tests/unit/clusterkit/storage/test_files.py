"""Files that no reader ever sees half of."""

import os
from pathlib import Path

import pytest

from clusterkit.storage.files import write_whole


def test_a_file_is_replaced_with_its_mode_whatever_the_umask(tmp_path: Path) -> None:
    file = tmp_path / "folder" / "a.toml"
    before = os.umask(0o077)
    try:
        assert write_whole(file, b"one", mode=0o644)
        assert write_whole(file, b"two", mode=0o640)
    finally:
        os.umask(before)
    assert file.read_bytes() == b"two"
    assert file.stat().st_mode & 0o777 == 0o640
    assert [path.name for path in file.parent.iterdir()] == ["a.toml"]


def test_what_is_there_stays_when_it_is_not_to_be_replaced(tmp_path: Path) -> None:
    file = tmp_path / "a.token"
    assert write_whole(file, b"first", mode=0o600, replace=False)
    assert not write_whole(file, b"second", mode=0o600, replace=False)
    assert file.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [file]


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(IsADirectoryError):
        write_whole(tmp_path / "taken", b"x", mode=0o600)
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]
