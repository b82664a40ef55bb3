"""The lists that a config names, or generated videos and images where it names none."""

from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory

from fvcore.common.config import CfgNode

from uniformer_video.bench.generated import generate_images, generate_videos
from uniformer_video.config.settings import with_settings
from uniformer_video.runs.build_data import Data, build_data
from uniformer_video.runs.check import is_of_images, medium_of_lists

# Of a training that is tried out: no validation, and no end by one or by a time.
NOTHING_BESIDE = {
    "TRAIN.EVAL_PERIOD": 0,
    "TRAIN.EVAL_ITERS": 0,
    "TRAIN.PATIENCE": 0,
    "TRAIN.MINUTES": 0.0,
}


def left_out(cfg: CfgNode) -> list[str]:
    """Notes: what a training of this config reads its clips from, and a benchmark, that keeps nothing not."""
    if not cfg.DATA.CACHE_GB or is_of_images(cfg):
        return []
    return [
        "DATA.CACHE_GB is left out: each clip is decoded here, where a training reads kept frames."
    ]


@contextmanager
def some_data(cfg: CfgNode, tested: bool = False) -> Iterator[Data]:
    """What a config trains on, and tests on where that is asked for; nothing to validate on.

    A config that names no data gets generated H.264 videos of 10 s, or JPEGs of 500 x 375 pixels where its
    format lists images, which are gone afterwards.
    """
    if cfg.DATA.PATH_TO_DATA_DIR:
        phases = {"TRAIN.ENABLE": True, "TEST.ENABLE": tested, "TEST.CHECKPOINT_FILE_PATH": ""}
        yield build_data(with_settings(cfg, {**NOTHING_BESIDE, **phases}))
        return
    generate = generate_images if is_of_images(cfg) else generate_videos
    with TemporaryDirectory() as folder:
        records = generate(folder)
        names = [record.name for record in records]
        yield Data(names, records, [], records, medium=medium_of_lists(cfg))
