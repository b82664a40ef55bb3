"""Passwords that were typed as a part of a command, kept from whoever lists the processes of a machine."""

import ctypes
import os
import sys
from pathlib import Path

# The numbers of arg_start and arg_end among the fields of /proc/self/stat (proc(5)).
_START, _END = 48, 49
_STATE = 3  # of the first field after the name of the program


def replace_in_arguments(word: str, shown: str) -> None:
    """Have the system show `shown`, which is no longer than `word`, where this process was given `word`.

    On Linux; elsewhere nothing is done. For a moment after the start the word was to be seen.
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        # the name of the program, in brackets, may hold blanks
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        start, end = (int(fields[number - _STATE]) for number in (_START, _END))
    except (OSError, ValueError, IndexError):
        return
    if not 0 < start < end:
        return
    given, public = os.fsencode(word), os.fsencode(shown)
    place = ctypes.string_at(start, end - start).find(given)
    if given and place >= 0:
        ctypes.memmove(start + place, public.ljust(len(given), b"x")[: len(given)], len(given))
