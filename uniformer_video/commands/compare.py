"""Finished runs held against each other."""

import logging
import shlex
from argparse import ArgumentParser, Namespace

from uniformer_video.program import command

log = logging.getLogger(__name__)


def compare_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "runs",
        nargs="+",
        metavar="RUN",
        help="folders of finished runs, tests or cross-validations on the same videos; the others are held "
        "against the first",
    )
    parser.add_argument(
        "--out",
        metavar="FOLDER",
        help="where compare.html and compare.json go (compare-..., beside the first run)",
    )
    parser.add_argument(
        "--markdown", action="store_true", help="print the table in Markdown, and nothing else"
    )


def compare_command(args: Namespace) -> None:
    """Compare runs that were tested on the same videos: do they differ by more than chance?

    Writes one page: the difference to the first run with a paired bootstrap interval and McNemar's exact
    test, seeds of one recipe as mean and spread, classes, the videos that one gets and the other does not,
    ensembles of the runs, and accuracy against GFLOPs. Tests of different videos are refused by name.
    """
    from uniformer_video.errors import MissingLibraryError
    from uniformer_video.pages.compare_text import as_markdown, as_text
    from uniformer_video.runs.compare import COMPARISON_FILE, compare, write
    from uniformer_video.runs.compare_names import default_folder

    record = compare(args.runs)
    out = args.out or default_folder(args.runs)
    page = lacking = None
    try:
        page = write(record, out)
    except MissingLibraryError as error:
        lacking = error
    print(as_markdown(record) if args.markdown else as_text(record))
    if page:
        log.info("Page: %s", page)
    else:
        again = command(shlex.join(["compare", *args.runs]))
        data = f"{out}/{COMPARISON_FILE}"
        log.warning("%s is written, and no page: %s\nThen `%s` makes it.", data, lacking, again)
