"""An untrained checkpoint, videos, and a file of it that prepares its frames itself."""

import numpy as np
import pytest
from tiny_run import tiny_overrides
from untrained import write_untrained
from videos import numbered_frames

from uniformer_video import cli
from uniformer_video.prepare.demo import write_video

LICENSE = "made for a test"


@pytest.fixture(scope="session")
def room(tmp_path_factory):
    """A folder with weights.pt, of 2 clips and 3 crops, and three videos, of which one is broken."""
    folder = tmp_path_factory.mktemp("export")
    changes = {
        "TEST__NUM_SPATIAL_CROPS": 3,
        "DATA__LICENSE": LICENSE,
        "DATA__MEAN": "[0.5,0.4,0.3]",
    }
    write_untrained(folder / "weights.pt", tiny_overrides(folder, folder / "run", **changes))
    (folder / "videos").mkdir()
    rng = np.random.default_rng(0)
    for name, size in (("a", (48, 64)), ("b", (70, 40))):
        noise = rng.integers(-40, 40, (20, *size, 3))
        frames = np.clip(numbered_frames(20, size).astype(int) + noise, 0, 255).astype(np.uint8)
        write_video(folder / "videos" / f"{name}.mp4", frames, 25)
    (folder / "videos" / "c.mp4").write_bytes(b"no video")
    return folder


@pytest.fixture(scope="session")
def export(room):
    """A function: the file of this name that the checkpoint is exported to, in this process."""

    def write(name, *options):
        words = ["export", room / "weights.pt", "--out", room / name, "--check", room / "videos"]
        assert cli.main([str(word) for word in [*words, *options]]) == 0
        return room / name

    return write


@pytest.fixture(scope="session")
def prepared(export):
    """model.onnx, with its preparation inside."""
    pytest.importorskip("onnxruntime", reason="needs the extra `export`")
    return export("model.onnx", "--preprocess")
