"""What tests of several folders share: a fresh database, and one tiny finished study."""

import shutil

import pytest

from mutransfer.transfer.study import Record


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory):
    path = tmp_path_factory.mktemp("database") / "runs.db"
    Record(path)
    return path


@pytest.fixture
def database(empty_database, tmp_path):
    """A SQLite record without runs; a copy, for making its tables takes half a second of waiting for the disk."""
    return shutil.copy(empty_database, tmp_path / "runs.db")
