"""What the scripts of this folder share as programs: numbers of their options, and how they end."""

import argparse
import sys
from collections.abc import Callable

from uniformer_video.commands.status import EXIT_INTERRUPTED, EXIT_USER_ERROR
from uniformer_video.errors import UserError
from uniformer_video.signals import raise_interrupts


def count(text: str) -> int:
    """The number of an option, such as rounds, for argparse: 1 or more."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"it is {text!r}; give a whole number from 1 on")
    return int(text)


def three_sizes(text: str) -> tuple[int, int, int]:
    """ "16,112,112" -> (16, 112, 112), for argparse."""
    sizes = text.split(",")
    if len(sizes) != 3 or not all(size.isdecimal() and int(size) for size in sizes):
        raise argparse.ArgumentTypeError(
            f"it is {text!r}; give three whole numbers from 1 on, such as 3,5,5"
        )
    first, second, third = map(int, sizes)
    return first, second, third


def run_script(main: Callable[[], int | None]) -> int:
    """The exit status: errors that a user can act on, and interrupts, are a line each."""
    try:
        with raise_interrupts():
            return main() or 0
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USER_ERROR
    except KeyboardInterrupt:
        print("Interrupted; what stands above is all that is kept.", file=sys.stderr)
        return EXIT_INTERRUPTED
