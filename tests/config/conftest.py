import logging

import pytest

from uniformer_video.config.settings import flat_config, load_config
from uniformer_video.runs import build_model


@pytest.fixture
def load(tmp_path, caplog):
    """A function: text of a file and overrides -> flat settings of a run, said in the log, warnings."""

    def read(text, *overrides):
        path = tmp_path / "theirs.yaml"
        path.write_text(text)
        caplog.clear()
        with caplog.at_level(logging.INFO):
            cfg = load_config(path, overrides)
        lines = {logging.INFO: [], logging.WARNING: []}
        for record in caplog.records:
            lines[record.levelno].append(record.getMessage())
        assert len(lines[logging.INFO]) <= 1 and len(lines[logging.WARNING]) <= 1
        assert not any("\n" in line for found in lines.values() for line in found)
        return (
            flat_config(build_model.name_model(cfg)),
            "".join(lines[logging.INFO]),
            "".join(lines[logging.WARNING]),
        )

    return read
