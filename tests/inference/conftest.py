"""An untrained checkpoint of a tiny model, with any metadata."""

import pytest
from moving_shape import write_shape_model
from untrained import write_untrained


@pytest.fixture(scope="session")
def shape_checkpoint(tmp_path_factory):
    """A small segmentation model that is trained for seconds on scenes of `moving_shape`."""
    return write_shape_model(tmp_path_factory.mktemp("shapes") / "shapes.pt")


@pytest.fixture
def untrained(tiny, tmp_path):
    """A function: the path of a checkpoint with settings, values of its protocol and metadata of its own."""

    def write(settings=None, protocol=(), **metadata):
        overrides = tiny(**(settings or {}))
        return write_untrained(tmp_path / "weights.pt", overrides, protocol, **metadata)

    return write
