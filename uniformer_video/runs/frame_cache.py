"""DATA.CACHE_GB: the training videos are decoded once, before the training, and their frames kept on disk."""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from fvcore.common.config import CfgNode
from tqdm import tqdm

from uniformer_video.data.decoding.cache import FrameCache
from uniformer_video.data.lists.records import VideoRecord
from uniformer_video.data.loading.dataset import CacheFilling
from uniformer_video.data.loading.loader import resolve_workers
from uniformer_video.data.loading.workers import WatchedLoader
from uniformer_video.distributed.ranks import Ranks
from uniformer_video.errors import ConfigError
from uniformer_video.runs.build_data import Data
from uniformer_video.runs.check import is_of_images
from uniformer_video.runs.folder import RunFolder
from uniformer_video.words import duration, plural, system_reason

_PLACE = "frames"
_GB = 10**9


def build_frame_cache(cfg: CfgNode, folder: RunFolder) -> FrameCache | None:
    """Where the frames of training videos are kept; None without DATA.CACHE_GB, and for images."""
    if not cfg.DATA.CACHE_GB or is_of_images(cfg):
        return None
    place = Path(cfg.DATA.CACHE_DIR) if cfg.DATA.CACHE_DIR else folder / _PLACE
    limit = round(cfg.DATA.CACHE_GB * _GB)
    return FrameCache(place, limit, cfg.DATA.DECODING_BACKEND, cfg.DATA.DECODE_SHORT_SIDE)


def fill_frame_cache(
    cfg: CfgNode, data: Data, ranks: Ranks, show_bars: bool | None = None
) -> float:
    """Decode the training videos that `data.cache` does not have, shared among all processes; the seconds.

    0.0 where there is no cache, or this was done before. show_bars: of progress; None = on a terminal.
    Raises `ConfigError` where the folder cannot be made.
    """
    cache = data.cache
    if cache is None or cache.is_filled:
        return 0.0
    started = time.monotonic()
    ranks.on_main(lambda: _make(cache))
    # of a path with several segments, once
    videos = [*{record.path: record for record in data.train}.values()]
    own = videos[ranks.rank :: ranks.size]
    show_bar = show_bars if ranks.is_main else False
    reasons = ranks.gather(_keep(cfg, own, cache, dict(data.faults), show_bar))
    cache.is_filled = True
    seconds = max(ranks.exchange(time.monotonic() - started))
    ranks.say(*(_facts(cache, reasons, seconds) if ranks.is_main else ()))
    return seconds


def remove_frame_cache(cfg: CfgNode, data: Data, ranks: Ranks) -> None:
    """Remove what a finished training has kept in its own folder; one that DATA.CACHE_DIR names stays."""
    cache = data.cache
    if cache is None or cfg.DATA.CACHE_DIR:
        return
    ranks.wait()  # all have read from it
    ranks.on_main(cache.remove)


def _make(cache: FrameCache) -> None:
    try:
        cache.make()
    except OSError as error:
        raise ConfigError(
            f"cannot make the folder {cache.folder} for DATA.CACHE_GB ({system_reason(error)}); choose "
            "another by DATA.CACHE_DIR, or set DATA.CACHE_GB 0"
        ) from None


def _keep(
    cfg: CfgNode,
    videos: list[VideoRecord],
    cache: FrameCache,
    faults: dict[str, str],
    show_bar: bool | None,
) -> list[str]:
    """Why each of the `videos` is not kept, "" for one that is.

    A video that hangs or crashes the decoder here does not count as broken: training may never come to
    that part of it.
    """
    filling = CacheFilling(videos, cache, faults)
    workers = resolve_workers(cfg.DATA_LOADER.NUM_WORKERS)
    batches = [[index] for index in range(len(videos))]
    loader = WatchedLoader(filling, batches, list, workers, cfg.DATA_LOADER.TIMEOUT)
    hidden = None if show_bar is None else not show_bar
    with closing(loader):
        shown = tqdm(loader, "decoding", len(videos), leave=False, unit="video", disable=hidden)
        return [reason for (reason,) in shown]


def _facts(cache: FrameCache, reasons: list[str], seconds: float) -> Iterator[str]:
    kept = reasons.count("")
    yield (
        f"DATA.CACHE_GB {cache.limit_bytes / _GB:g}: the frames of {kept} of "
        f"{plural(len(reasons), 'training video')} are kept in {cache.folder}, "
        f"{cache.used_bytes() / _GB:.2f} GB; decoded in {duration(seconds, 1)}."
    )
    for reason, count in Counter(filter(None, reasons)).most_common(3):
        yield f"{plural(count, 'training video')} not kept, and decoded each time: {reason}"
    left_out = len({*reasons} - {""}) - 3
    if left_out > 0:
        yield f"... and {plural(left_out, 'other reason')}."
