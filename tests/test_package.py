"""The package as people import it."""

import subprocess
import sys
from pathlib import Path

import pytest

import uniformer_video as uv

ROOT = Path(__file__).parents[1]


def test_the_names_of_the_readme():
    assert {"create_model", "Predictor", "load_config", "open_video"} <= set(dir(uv))
    assert set(uv.__all__) == {*uv._EXPORTS, "__version__"} and uv.__all__ == sorted(uv.__all__)
    for name in uv.__all__:
        assert getattr(uv, name).__doc__, name
    model = uv.create_model("uniformer_s", num_classes=4)
    assert model.arguments["local_kernel"] == [3, 5, 5]
    assert uv.Predictor.from_checkpoint
    with pytest.raises(AttributeError, match="no attribute 'Predicter'"):
        _ = uv.Predicter


def test_import_is_light_and_survives_a_broken_torchvision(tmp_path):
    """Optional and heavy imports wait until they are used."""
    (tmp_path / "torchvision.py").write_text("raise RuntimeError('operator does not exist')")
    code = (
        "import sys, uniformer_video\n"
        "assert not {'torch', 'numpy', 'fvcore', 'yaml'} & set(sys.modules)\n"
        "import uniformer_video.cli\n"
        "assert not {'torch', 'matplotlib', 'decord', 'av'} & set(sys.modules)\n"
        "import uniformer_video.runs.run\n"
        "assert not {'torchvision', 'decord', 'matplotlib', 'tensorboard'} & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": f"{tmp_path}:{ROOT}", "PATH": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
