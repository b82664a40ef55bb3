"""A checkpoint of a tiny model of three classes, not trained."""

import pytest
from untrained import write_untrained


@pytest.fixture
def checkpoint(tiny, tmp_path):
    return write_untrained(tmp_path / "weights.pt", tiny())
