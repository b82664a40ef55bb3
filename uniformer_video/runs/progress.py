"""The bar that a test shows while its videos go by."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import tqdm

from uniformer_video.distributed.ranks import Ranks


@contextmanager
def video_bar(
    videos: int, ranks: Ranks, show_bars: bool | None, noun: str = "video"
) -> Iterator[Callable[[int, int], None]]:
    """A bar over this process' share of `videos`; gives a function of (videos just finished, failed ones).

    show_bars: None = on a terminal. noun: what they are called. Only the main process has one.
    """
    shown = show_bars if ranks.is_main else False
    hidden = None if shown is None else not shown
    own = len(range(ranks.rank, videos, ranks.size))
    with tqdm(total=own, unit=noun, leave=False, disable=hidden) as bar:
        failed = 0

        def progress(finished: int, failures: int) -> None:
            nonlocal failed
            failed += failures
            if failures:
                bar.set_postfix_str(f"{failed} failed", refresh=False)
            bar.update(finished)

        yield progress
