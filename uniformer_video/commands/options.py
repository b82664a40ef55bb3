"""Options, and the bar of progress, that several commands have."""

import contextlib

CONFIG_HELP = (
    "a YAML file, or a config that `uniformer-video configs` lists, such as k400/uniformer_s_16x4"
)


def add_overrides(parser):
    """`KEY VALUE ...`, settings in place of those of a config."""
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="KEY VALUE",
        help="settings in place of the file's",
    )


def add_separator(parser):
    """`--separator`, of csv lists of videos."""
    parser.add_argument(
        "--separator",
        default="auto",
        metavar="TEXT",
        help="between path and label (last , or blank)",
    )


def add_list_options(parser):
    """`--prefix` and `--separator`, of lists of videos."""
    parser.add_argument(
        "--prefix", default="", metavar="FOLDER", help="that paths start from (the list's own)"
    )
    add_separator(parser)


def add_workers(parser):
    """`--workers`."""
    parser.add_argument(
        "--workers", type=int, default=0, metavar="N", help="processes (one a core)"
    )


@contextlib.contextmanager
def progress_bar(unit):
    """A function that shows (finished, total, failed) of a run, on a terminal."""
    from tqdm import tqdm

    with tqdm(unit=unit, leave=False, disable=None) as bar:

        def show(finished, total, failed):
            bar.total = total
            bar.set_postfix(failed=failed, refresh=False)
            bar.update(finished - bar.n)

        yield show
