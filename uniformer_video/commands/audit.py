"""Which labels are likely wrong, and which videos show nearly the same."""

import logging
from argparse import ArgumentParser, Namespace

from uniformer_video.commands.options import add_overrides, add_workers, progress_bar
from uniformer_video.errors import ConfigError, UserError
from uniformer_video.words import plural

log = logging.getLogger("uniformer_video")


def audit_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "data", metavar="DATA", help="a folder of class folders or lists, or a list"
    )
    parser.add_argument("--out", required=True, metavar="FOLDER", help="for the page and tables")
    parser.add_argument(
        "--features",
        metavar="FILE",
        help="features of the videos, that `features` or an earlier audit wrote",
    )
    parser.add_argument(
        "--checkpoint",
        metavar="FILE",
        help="a model that makes the features, in place of --features",
    )
    parser.add_argument(
        "--split",
        default="all",
        metavar="NAME",
        help="train, val, test or all that are there (all)",
    )
    parser.add_argument(
        "--show", type=int, default=60, metavar="N", help="suspects, and pairs, with frames (60)"
    )
    parser.add_argument(
        "--alike",
        type=float,
        metavar="COSINE",
        help="also list pairs whose features are that alike, such as 0.99 (only the same footage)",
    )
    parser.add_argument(
        "--quick", action="store_true", help="do not open all videos to look for the same footage"
    )
    parser.add_argument("--device", metavar="NAME", help="of --checkpoint: cpu, cuda, cuda:1, mps")
    add_workers(parser)
    add_overrides(parser)


def audit_command(args: Namespace) -> int:
    """Look for wrong labels and near-duplicates in a data set.

    Every label is judged by a linear probe on the features of the other videos, and videos that show the same
    footage are paired. Into the folder go audit.html, labels.csv (all videos, the most suspicious first),
    duplicates.csv, features.npz (of --checkpoint) and fingerprints.tsv, from which the next call goes on.
    DATA is what a run reads; TRAIN.DATASET NAME behind it says a format that cannot be told.
    """
    _check(args)
    from uniformer_video.audit.run import audit_data

    with progress_bar("video") as show:
        found, page = audit_data(
            args.data,
            args.out,
            features=args.features,
            checkpoint=args.checkpoint,
            split=args.split,
            show=args.show,
            alike=args.alike,
            footage=not args.quick,
            device=args.device,
            workers=args.workers,
            settings=args.overrides,
            progress=show,
        )
    from uniformer_video.audit.shown import all_notes

    for note in all_notes(found):
        log.warning("%s", note)
    suggested = found.suspicions.suggested.tolist()
    seems = dict(zip(found.judged.tolist(), [found.class_names[k] for k in suggested], strict=True))
    for place in found.likely_wrong[:3].tolist():
        video = found.videos[place]
        print(f"{video.name}: {found.class_names[video.label]}? It seems {seems[place]}.")
    print(
        f"{plural(len(found.judged), 'label')} judged, {len(found.likely_wrong)} likely wrong "
        f"(estimated noise {found.suspicions.noise:.1%}); {plural(len(found.pairs), 'pair')} of "
        f"near-duplicates, {len(found.leaks)} across lists, the labels of {len(found.disagreeing)} differ"
        + ("" if found.footage else " (footage was not compared: --quick)")
    )
    print(f"Page: {page}")
    return 0


def _check(args: Namespace) -> None:
    if bool(args.features) == bool(args.checkpoint):
        raise UserError(
            "an audit takes --features FILE or --checkpoint FILE, one of them; the second makes the features"
        )
    if args.device and args.features:
        raise UserError("--device is of --checkpoint; leave it out beside --features")
    if args.show < 0:
        raise ConfigError(f"--show is {args.show}; it takes 0 or more")
    if args.workers < 0:
        raise UserError(f"--workers is {args.workers}; it takes 1 or more, or 0 for one a core")
    if args.alike is not None and not 0 < args.alike <= 1:
        raise ConfigError(f"--alike is {args.alike:g}; it takes a cosine above 0, at most 1")
