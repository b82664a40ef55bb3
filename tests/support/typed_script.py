"""A script of a user with type hints, which `mypy --strict` accepts (`tests/test_hints.py`). It is never run.

`assert_type` fails where a type is lost: where a public function gives `Any`, all that follows is unchecked.
"""

from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn
from typing_extensions import assert_type

import uniformer_video as uv
from uniformer_video.config.setting import flag, number
from uniformer_video.tasks.single_label import SingleLabel

uv.register_settings(
    number("MYNET.WIDTH", 64, "channels", 1, 4096),
    flag("MYNET.BIAS", True, "whether the layers have biases"),
)


class MyNet(uv.RecognitionModel):
    """A network of one's own."""

    def __init__(self, num_classes: int, width: int = 64, bias: bool = True) -> None:
        super().__init__(num_classes, width=width, bias=bias)
        self.stem = nn.Conv3d(3, width, kernel_size=2, stride=2, bias=bias)
        self.head = nn.Linear(width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.stem(x).relu().mean(dim=(2, 3, 4)))
        return logits


uv.register_model(
    "mynet",
    MyNet,
    num_frames=8,
    crop_size=112,
    settings={"MYNET.WIDTH": "width", "MYNET.BIAS": "bias"},
)


class MyTask(SingleLabel):
    """A task of one's own."""

    name = "my-task"


assert_type(uv.register_task(MyTask), type[MyTask])  # also as a decorator


def train_and_test(config: Path) -> float:
    """The share of the videos whose most probable class is right."""
    cfg = uv.load_config(config, **{"MODEL.MODEL_NAME": "mynet", "SOLVER.BASE_LR": 1e-4})
    best = uv.train(cfg, progress=True)
    assert_type(best, Path)
    results = uv.evaluate(cfg, best)
    assert_type(results, uv.Results)
    assert_type(results.class_names, list[str])
    assert_type(results.summary, dict[str, Any])
    assert_type(results.protocol, uv.Protocol)
    assert_type(results.scores, np.ndarray)
    assert_type(uv.Results.load(results.folder), uv.Results)
    return float(results.summary["top1"]["value"])


def predict(checkpoint: Path, video: str) -> list[tuple[str, float]]:
    """The five most probable classes of a video."""
    predictor = uv.Predictor.from_checkpoint(checkpoint, num_clips=2)
    assert_type(predictor, uv.Predictor)
    best = predictor(video).top(5)
    assert_type(best, list[tuple[str, float]])
    return best


def features(video: Path) -> tuple[Tensor, int]:
    """Pooled features of the first frames of a video, and how many numbers the model has learnt."""
    pyramid = uv.create_backbone("uniformer_s", window=14, hybrid=True)
    assert_type(pyramid.channels, list[int])
    fpn = uv.create_backbone("uniformer_xxs", out="fpn")
    assert_type(fpn.out_channels, int)
    model = uv.create_model("uniformer_s", checkpoint="uniformer_small_k400_16x4", num_classes=0)
    assert_type(model, uv.RecognitionModel)
    assert_type(model.num_classes, int)
    assert_type(uv.list_models("uniformer*"), list[str])
    with uv.open_video(video) as reader:
        assert_type(reader.num_frames, int)
        frames = reader.frames(range(16), short_side=224)
    assert_type(frames, np.ndarray)
    clip = (Tensor(frames) / 255).movedim(-1, 0).unsqueeze(0)
    pooled: Tensor = model(clip)
    return pooled, sum(parameter.numel() for parameter in model.parameters())


def tell(video: Path) -> str:
    """What is wrong with a video, if anything."""
    try:
        predict(Path("best.pt"), str(video))
    except uv.UserError as error:
        return str(error)
    return ""
