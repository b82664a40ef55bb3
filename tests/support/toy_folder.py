"""A folder of somebody's own: the toy plugin, a config beside it, and lists in the plugin's format."""

import shutil
from pathlib import Path

from tiny_run import TINY

PLUGIN = Path(__file__).parent / "toy_plugin.py"


def make_toy_folder(folder, data):
    """Write `my_toy.py` and `toy.yaml` into `folder`, and lists of the videos in `data`; the lists."""
    shutil.copy(PLUGIN, folder / "my_toy.py")
    tree = {"PLUGINS": ["my_toy.py"], "MODEL.MODEL_NAME": "toy", "TOY": {"WIDTH": 5}}
    tree |= {key: value for key, value in TINY.items() if not key.startswith("UNIFORMER")}
    tree |= {"TRAIN.DATASET": "toy-tsv", "TRAIN.TASK": "toy-task", "OUTPUT_DIR": "run"}
    tree["DATA.PATH_TO_DATA_DIR"] = str(data)
    lines = [f"{key}: {value}\n" for key, value in tree.items()]
    (folder / "toy.yaml").write_text("".join(lines))
    lists = [data / f"videos-{split}.tsv" for split in ("train", "val", "test")]
    for path in lists:
        videos = sorted((data / path.stem.removeprefix("videos-")).rglob("*.mp4"))[:8]
        rows = [f"{'odd' if i % 2 else 'even'}\t{video}" for i, video in enumerate(videos)]
        path.write_text("\n".join(rows))
    return lists
