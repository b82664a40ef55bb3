"""The step of preparation that looks for broken videos, and for footage that lists share."""

import itertools
import os
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from uniformer_video.commands.options import add_list_options, add_workers, progress_bar
from uniformer_video.commands.status import EXIT_USER_ERROR
from uniformer_video.config.rows import SETTINGS
from uniformer_video.errors import UserError
from uniformer_video.words import duration, plural

if TYPE_CHECKING:
    from uniformer_video.data.lists.records import VideoRecord
    from uniformer_video.prepare.check import Check
    from uniformer_video.prepare.check_masks import MaskToCheck
    from uniformer_video.prepare.overlap import Overlap

_IGNORED = SETTINGS["SEGMENTATION.IGNORE_LABEL"]


def check_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "videos",
        nargs="+",
        metavar="LIST_OR_FOLDER",
        help="lists, or folders of videos, of frames, of images or of shards",
    )
    parser.add_argument(
        "--images",
        action="store_true",
        help="they are images, one picture a file, also where numbers and names are as those of frames",
    )
    parser.add_argument(
        "--out", default="bad.csv", metavar="FILE", help="the table (bad.csv, here)"
    )
    parser.add_argument(
        "--timeout", type=float, default=300, metavar="SECONDS", help="for one video (300)"
    )
    parser.add_argument(
        "--strict",
        action="store_true",
        help="also find damage that decoders hide; takes twice as long",
    )
    parser.add_argument(
        "--template",
        default="",
        metavar="NAME",
        help="the lists are of frame folders, with pictures of such names: img_{:05d}.jpg",
    )
    parser.add_argument(
        "--overlap",
        action="store_true",
        help="look for the same footage in several lists instead; see below",
    )
    parser.add_argument(
        "--classes",
        default="",
        metavar="FILE",
        help="of masks: the names of the classes (classes.txt beside the masks)",
    )
    parser.add_argument(
        "--ignore-label",
        type=int,
        default=_IGNORED.default,
        metavar="N",
        help=f"the value in masks of pixels that are not looked at ({_IGNORED.default})",
    )
    parser.add_argument(
        "--reduce-zero-label",
        action="store_true",
        help="of masks: 0 is no class, and 1 the first one; ADE20K's folders need not be told",
    )
    add_list_options(parser)
    add_workers(parser)


def check_step(args: Namespace) -> int:
    """Decode every frame of every video, or every image, and write a table of the bad ones.

    Its columns: path, reason, frames found (that decode) and frames declared (by the file's header, or by
    the list). A video that takes longer than --timeout is given up and named. The exit status is 2 if any is
    bad. Folders and lists of images with masks are known by their layout; both files of a pair are read, and
    a mask that is missing, of another size, or with values of no class makes it bad. Images are known by the
    names in lists and shards; folders of pictures that are numbered without gaps, in one size and called
    alike in each are frames of videos, unless --images says otherwise.

    --overlap looks for the same footage in several lists instead (train and test, say) by what the
    videos show, whatever their names: copies, also re-encoded, smaller, or cut by a tenth. A folder with
    train and val or test in it stands for these. Beside --out it writes overlap.csv (path, list,
    other path, other list, mean distance in bits of 64: pairs have 6 or less; first those between lists,
    then, once each, videos that repeat another of their list), not_compared.csv (what cannot be read, or is
    of one colour) and fingerprints.tsv, from which the next call goes on. The exit status is 2 if two
    lists share footage, if a single list has some twice, or if a video cannot be read.
    """
    from uniformer_video.data.decoding.decoders import PICTURES
    from uniformer_video.prepare.check import check_videos, records_to_check, to_check

    if args.timeout <= 0:
        raise UserError(f"--timeout is {args.timeout:g}; it takes more than 0 seconds")
    if args.overlap and args.strict:
        raise UserError("--strict looks at every frame, --overlap at a few; give one of them")
    if args.overlap:
        return _check_overlap(args)
    medium = _asked_medium(args)
    found = {
        source: records_to_check(source, args.prefix, args.template, args.separator, medium)
        for source in args.videos
    }
    records = [record for own in found.values() for record in own]
    noun = _noun(records)
    if args.strict and noun == "image":
        raise UserError(
            "--strict looks for damage that decoders of videos hide; leave it out for images"
        )
    if noun == "video" and all(os.path.isdir(record.path) for record in records):
        print(
            f"{plural(len(records), 'folder')} of pictures, taken for the frames of a video each; "
            "--images takes each picture for itself"
        )
    backend = PICTURES if noun == "image" else "auto"
    videos, check = _pairs(args, found) or (to_check(records), None)
    with progress_bar(noun) as show:
        checked, bad = check_videos(
            videos, args.out, args.workers, args.timeout, args.strict, show, backend, check
        )
    for path, reason, *_ in bad[:3]:
        print(f"{path}: {reason}")
    print(f"{plural(checked, noun)} checked, {len(bad)} bad" + (f": see {args.out}" if bad else ""))
    return EXIT_USER_ERROR if bad else 0


def _pairs(
    args: Namespace, found: "Mapping[str, Sequence[VideoRecord]]"
) -> "tuple[list[MaskToCheck], Check] | None":
    """The images with masks of all lists, and what looks at one; None where they have no masks."""
    from uniformer_video.prepare.check_masks import check_mask, masks_to_check

    masked = {source for source, own in found.items() if any(record.mask for record in own)}
    if not masked:
        return None
    if others := [source for source in found if source not in masked]:
        raise UserError(
            f"{others[0]} has no masks, and others of the lists have; give them to a command each"
        )
    pairs = []
    for source, records in found.items():
        own, note = masks_to_check(
            records, source, args.classes, args.reduce_zero_label, args.ignore_label
        )
        if note:
            print(note)
        pairs += own
    return pairs, check_mask


def _asked_medium(args: Namespace) -> str:
    """What the command line says that the lists hold; "" = they tell."""
    if args.images and args.template:
        raise UserError(
            "--template is for lists of frames of videos, --images for images; give one of them"
        )
    return "image" if args.images else ""


def _noun(records: "Sequence[VideoRecord]") -> str:
    """What messages call the records; `UserError` for images beside videos."""
    media = {record.medium for record in records}
    if len(media) > 1:
        raise UserError(
            "some of the lists hold images and others videos; give those of images and those of videos to a "
            "command each, or --images for all"
        )
    return next(iter(media), "video")


def _check_overlap(args: Namespace) -> int:
    """Look for the same footage in the lists of `args`, say what was found; the exit status."""
    from uniformer_video.prepare import overlap

    lists = overlap.lists_to_compare(
        args.videos, args.prefix, args.template, args.separator, _asked_medium(args)
    )
    noun = _noun([record for records in lists.values() for record in records])
    folder = os.path.dirname(args.out)
    with progress_bar(noun) as show:
        found = overlap.find_overlap(lists, folder, args.workers, args.timeout, show)
    _say_speed(found, noun)
    for path, name, other, other_name, distance in [*found.between, *found.within][:3]:
        print(f"{path} ({name}) shows what {other} ({other_name}) does: {distance} bits")
    for first, second in itertools.combinations(lists, 2):
        count = sum((row[1], row[3]) == (first, second) for row in found.between)
        print(f"{first} and {second}: {plural(count, 'pair')} of the same footage")
    for name in lists:
        if count := sum(row[1] == name for row in found.within):
            print(f"{name}: {plural(count, noun)} of the footage of another in it")
    left_out = [*found.unreadable, *found.plain]
    for path, name, reason in left_out[:3]:
        print(f"{path} ({name}) is not compared: {reason}")
    table = os.path.join(folder, overlap.OVERLAP_FILE)
    between, within = plural(len(found.between), "pair"), plural(len(found.within), "repeat")
    where = f": see {table}" if found.between or found.within else ""
    print(
        f"{plural(found.videos - len(left_out), noun)} compared, {between} between lists, {within} "
        f"inside a list{where}"
    )
    if left_out:
        print(
            f"{plural(len(left_out), noun)} not compared, {len(found.unreadable)} that cannot be read and "
            f"{len(found.plain)} that show too little: see "
            f"{os.path.join(folder, overlap.NOT_COMPARED_FILE)}"
        )
    leaks = found.between or (found.within and len(lists) == 1)
    return EXIT_USER_ERROR if leaks or found.unreadable else 0


def _say_speed(found: "Overlap", noun: str) -> None:
    rate = f", {found.hashed / found.hash_seconds:.1f} a second" if found.hashed else ""
    print(
        f"{plural(found.hashed, noun)} hashed in {duration(found.hash_seconds, 1)}{rate}; "
        f"{found.known} known from before; compared in {duration(found.compare_seconds, 1)}"
    )
