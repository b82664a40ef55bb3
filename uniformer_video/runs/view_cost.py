"""What a view of a test costs: its multiply-adds, and where the time of the test went."""

from typing import Any

import torch
from fvcore.common.config import CfgNode

from uniformer_video.data.clips.frame_views import FrameViews
from uniformer_video.data.lists.media import IMAGE
from uniformer_video.data.loading.loader import resolve_workers
from uniformer_video.data.protocol import Protocol
from uniformer_video.distributed.ranks import Ranks
from uniformer_video.evaluation.cost import MeasuredTimes, measured_cost
from uniformer_video.models.contract import RecognitionModel
from uniformer_video.versions import device_name
from uniformer_video.words import one_line


def counted_gflops(
    model: RecognitionModel, protocol: Protocol
) -> tuple[dict[str, float], list[str]]:
    """`{"gflops_view": ...}` for the record's "model", and notes: multiply-adds of one view in 1e9, as the
    command `flops` counts them; {} and why, where they cannot be counted.
    """
    from uniformer_video.models.flops import (
        count_flops,
    )  # fvcore compiles losses when it is imported

    side = protocol.views.crop_size or protocol.views.short_side  # of whole pictures, a square one
    frames = () if protocol.medium == IMAGE.name else (protocol.sampling.num_frames,)
    shape = (1, 3, *frames, side, side)
    try:
        return {"gflops_view": count_flops(model, shape) / 1e9}, []
    except Exception as error:  # of a traced model, which may be anybody's
        kind = type(error).__name__
        return {}, [
            f"The multiply-adds of this model could not be counted ({kind}: {one_line(error)}), so that "
            "nothing is said of them here."
        ]


def views_of_pass(cfg: CfgNode, protocol: Protocol) -> int:
    """Views of a forward pass of a test; of whole frames, which are large and in the next video of another
    size, one.
    """
    return 1 if isinstance(protocol.views, FrameViews) else cfg.TEST.BATCH_SIZE


def cost_of(
    cfg: CfgNode, protocol: Protocol, times: MeasuredTimes, ranks: Ranks
) -> dict[str, Any] | None:
    """The record's "cost" of a test, from what its processes have measured."""
    return measured_cost(
        times,
        device=device_name(ranks.device),
        threads=torch.get_num_threads(),
        processes=ranks.size,
        workers=resolve_workers(cfg.DATA_LOADER.NUM_WORKERS),
        batch_size=views_of_pass(cfg, protocol),
    )
