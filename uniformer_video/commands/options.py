"""Options, and the bar of progress, that several commands have."""

import contextlib
from argparse import ArgumentParser, Namespace, _ArgumentGroup
from collections.abc import Callable, Iterator

from uniformer_video.config.rows import SETTINGS

_Arguments = ArgumentParser | _ArgumentGroup
# What adds the arguments of a command, and what runs it and returns its exit status; None is 0.
Command = tuple[Callable[[ArgumentParser], None], Callable[[Namespace], int | None]]

CONFIG_HELP = (
    "a YAML file, or a config that `uniformer-video configs` lists, such as k400/uniformer_s_16x4"
)


def add_overrides(parser: ArgumentParser) -> None:
    """`KEY VALUE ...`, settings in place of those of a config."""
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="KEY VALUE",
        help="settings in place of the file's",
    )


def add_separator(parser: ArgumentParser) -> None:
    """`--separator`, of csv lists of videos."""
    parser.add_argument(
        "--separator",
        default="auto",
        metavar="TEXT",
        help="between path and label (last , or blank)",
    )


def add_list_options(parser: ArgumentParser) -> None:
    """`--prefix` and `--separator`, of lists of videos."""
    parser.add_argument(
        "--prefix", default="", metavar="FOLDER", help="that paths start from (the list's own)"
    )
    add_separator(parser)


def add_device(parser: ArgumentParser) -> None:
    """`--device` and `--precision`, of a model that predicts."""
    parser.add_argument(
        "--device", metavar="NAME", help="cpu, cuda, cuda:1, mps (a GPU where there is one)"
    )
    parser.add_argument(
        "--precision",
        choices=SETTINGS["TRAIN.PRECISION"].choices,
        help="arithmetic (as in the test)",
    )


def add_cuda_graph(parser: ArgumentParser) -> None:
    """`--cuda-graph`, of a classifier that predicts."""
    parser.add_argument(
        "--cuda-graph",
        action="store_true",
        help="on a CUDA device, replay passes as CUDA graphs: small batches wait for the host less",
    )


def add_views(parser: _Arguments, of: str = "video") -> None:
    """`--clips` and `--crops`, of what a model looks at in a video, or in a window of one."""
    parser.add_argument("--clips", type=int, metavar="N", help=f"clips of a {of} (as trained for)")
    parser.add_argument(
        "--crops",
        type=int,
        choices=SETTINGS["TEST.NUM_SPATIAL_CROPS"].choices,
        help="crops of a clip (as trained for)",
    )


def add_batch_size(parser: ArgumentParser) -> None:
    """`--batch-size`, of predictions of many videos."""
    parser.add_argument(
        "--batch-size",
        type=int,
        metavar="N",
        help="views of a pass, of one video or several (16; on a processor as many as 16 MB hold)",
    )


def add_workers(parser: ArgumentParser) -> None:
    """`--workers`."""
    parser.add_argument(
        "--workers", type=int, default=0, metavar="N", help="processes (one a core)"
    )


@contextlib.contextmanager
def progress_bar(unit: str) -> Iterator[Callable[[int, int, int], None]]:
    """A function that shows (finished, total, failed) of a run, on a terminal."""
    from tqdm import tqdm

    with tqdm(unit=unit, leave=False, disable=None) as bar:

        def show(finished: int, total: int, failed: int) -> None:
            bar.total = total
            bar.set_postfix(failed=failed, refresh=False)
            bar.update(finished - bar.n)

        yield show
