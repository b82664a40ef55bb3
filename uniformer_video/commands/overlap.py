"""What `prepare check --overlap` says."""

import itertools
import os

from uniformer_video.commands.status import EXIT_USER_ERROR
from uniformer_video.words import duration, plural


def check_overlap(args, show):
    """Look for the same footage in the lists of `args`, say what was found; the exit status.

    `show(finished, total, failed)` is called with numbers of videos.
    """
    from uniformer_video.prepare import overlap

    lists = overlap.lists_to_compare(args.videos, args.prefix, args.template, args.separator)
    folder = os.path.dirname(args.out)
    found = overlap.find_overlap(lists, folder, args.workers, args.timeout, show)
    _say_speed(found)
    for path, name, other, other_name, distance in [*found.between, *found.within][:3]:
        print(f"{path} ({name}) shows what {other} ({other_name}) does: {distance} bits")
    for first, second in itertools.combinations(lists, 2):
        count = sum((row[1], row[3]) == (first, second) for row in found.between)
        print(f"{first} and {second}: {plural(count, 'pair')} of the same footage")
    for name in lists:
        if count := sum(row[1] == name for row in found.within):
            print(f"{name}: {plural(count, 'video')} of the footage of another in it")
    left_out = [*found.unreadable, *found.plain]
    for path, name, reason in left_out[:3]:
        print(f"{path} ({name}) is not compared: {reason}")
    table = os.path.join(folder, overlap.OVERLAP_FILE)
    between, within = plural(len(found.between), "pair"), plural(len(found.within), "repeat")
    where = f": see {table}" if found.between or found.within else ""
    print(
        f"{plural(found.videos - len(left_out), 'video')} compared, {between} between lists, {within} "
        f"inside a list{where}"
    )
    if left_out:
        print(
            f"{plural(len(left_out), 'video')} not compared, {len(found.unreadable)} that cannot be read and "
            f"{len(found.plain)} that show too little: see "
            f"{os.path.join(folder, overlap.NOT_COMPARED_FILE)}"
        )
    leaks = found.between or (found.within and len(lists) == 1)
    return EXIT_USER_ERROR if leaks or found.unreadable else 0


def _say_speed(found):
    rate = f", {found.hashed / found.hash_seconds:.1f} a second" if found.hashed else ""
    print(
        f"{plural(found.hashed, 'video')} hashed in {duration(found.hash_seconds, 1)}{rate}; "
        f"{found.known} known from before; compared in {duration(found.compare_seconds, 1)}"
    )
