"""What a model sees in videos, as a file of features, and which of them are alike."""

import json
import logging
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uniformer_video.commands.options import add_batch_size, add_device, add_views, progress_bar
from uniformer_video.commands.status import EXIT_USER_ERROR
from uniformer_video.errors import DataError, UserError
from uniformer_video.words import name_some, plural

if TYPE_CHECKING:
    import numpy as np

    from uniformer_video.features.table import FeatureTable

log = logging.getLogger("uniformer_video")


def features_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "videos",
        nargs="+",
        metavar="VIDEO",
        help="video files, folders of frames, folders of either, lists (csv, txt), shards; pictures for a "
        "model of images",
    )
    parser.add_argument("--checkpoint", required=True, metavar="FILE", help="such as run/best.pt")
    parser.add_argument(
        "--out",
        required=True,
        metavar="FILE",
        help=".npz, .safetensors or .parquet; the same command goes on with a file that is begun",
    )
    parser.add_argument(
        "--layer", metavar="NAME", help="whose output is taken (what the classifier reads)"
    )
    parser.add_argument(
        "--maps",
        action="store_true",
        help="keep whole maps of --layer, not their means over places",
    )
    parser.add_argument(
        "--per",
        choices=("video", "view"),
        default="video",
        help="a row a video, or window: the mean of its views; or a row a view (video)",
    )
    parser.add_argument("--window", type=float, metavar="SECONDS", help="a row for each window")
    parser.add_argument(
        "--stride", type=float, metavar="SECONDS", help="between windows (half a window)"
    )
    add_views(parser)
    add_device(parser)
    add_batch_size(parser)
    parser.add_argument(
        "--workers", type=int, default=-1, metavar="N", help="decoding processes (one a core)"
    )


def features_command(args: Namespace) -> int:
    """Write what a layer of a model gives of videos, or images, into a file.

    One row a video: the mean over the places of the layer's map and over the test's views. A run that is
    killed goes on where it was; a finished file takes more videos of the same model and layer. A video that
    cannot be decoded is named, the others are taken, and the exit status is 2.
    """
    from uniformer_video.features.extract import extract_features
    from uniformer_video.inference.records import check_is_here

    for place in args.videos:
        check_is_here(place)
    with progress_bar("video" if args.window is None else "window") as show:
        table = extract_features(
            args.checkpoint,
            args.videos,
            args.out,
            layer=args.layer,
            maps=args.maps,
            one_a_view=args.per == "view",
            window=args.window,
            stride=args.stride,
            num_clips=args.clips,
            num_crops=args.crops,
            batch_size=args.batch_size,
            device=args.device,
            precision=args.precision,
            workers=args.workers,
            progress=show,
        )
    shape = " x ".join(map(str, table.vectors.shape[1:]))
    log.info("%s: %s of %s numbers.", args.out, plural(len(table), "row"), shape)
    if table.failed:
        noun = "video" if args.window is None else "window"
        log.error(
            "error: %s no features: %s",
            plural(len(table.failed), f"{noun} has", f"{noun}s have"),
            name_some([*dict.fromkeys(table.failed.values())], 20),
        )
    return EXIT_USER_ERROR if table.failed else 0


def neighbours_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("features", metavar="FEATURES", help="a file that `features` wrote")
    parser.add_argument(
        "query",
        metavar="VIDEO",
        help="one of its videos, the number of a row (from 0), or a new video with --checkpoint",
    )
    parser.add_argument(
        "--at",
        type=float,
        metavar="SECONDS",
        help="of a video with windows: the one at this second",
    )
    parser.add_argument("-k", type=int, default=10, metavar="N", help="neighbours shown (10)")
    parser.add_argument(
        "--checkpoint", metavar="FILE", help="the model of the features, for a video that is new"
    )
    parser.add_argument("--json", action="store_true", help="print data: one JSON object a row")
    add_device(parser)


def neighbours_command(args: Namespace) -> int:
    """Find the videos, or windows, that are most alike to one, by the cosine of their features.

    What overlaps the query itself in time is left out. Several rows of a query, as its views, are averaged.
    """
    from uniformer_video.features.neighbours import nearest, rows_of, rows_of_path
    from uniformer_video.features.table import read_features

    if args.k < 1:
        raise UserError(f"-k is {args.k}; it must be 1 or more")
    table = read_features(args.features, mapped=True)
    if args.checkpoint:
        query = _features_of_new(args, table)
        own = rows_of_path(table, args.query)  # it may be known all the same, and is no find then
    else:
        own = rows_of(table, args.query, args.at)
        query = table.flat()[own].mean(0)
    neighbours = nearest(table, query, args.k, own)
    if not neighbours:
        raise DataError(
            f"{args.query} has no neighbours: all {plural(len(table), 'row')} of {args.features} show what "
            "it shows, or are no numbers; add videos to the file by `features`"
        )
    for found in neighbours:
        if args.json:
            start, end = float(table.starts[found.row]), float(table.ends[found.row])
            entry = {
                "row": found.row,
                "video": table.paths[found.row],
                "start": None if start != start else start,
                "end": None if end != end else end,
                "view": int(table.views[found.row]),
                "similarity": round(found.similarity, 6),
            }
            print(json.dumps(entry, ensure_ascii=False))
        else:
            print(f"{found.similarity:7.4f}  {table.name_of(found.row)}")
    return 0


def _features_of_new(args: Namespace, table: "FeatureTable") -> "np.ndarray":
    """The mean features of the views of a video that is not in the table, by the model that made it."""
    from uniformer_video.data.protocol import Protocol
    from uniformer_video.features.predictor import HEAD, FeaturePredictor, difference
    from uniformer_video.weights.checkpoint import file_sha256
    from uniformer_video.zoo.published import local_file

    if args.at is not None:
        raise UserError("--at is of a video among the features; leave out --checkpoint, or --at")
    made_by = dict(table.made_by)
    wanted = Protocol.from_dict(made_by["protocol"], args.features)
    extractor = FeaturePredictor.from_checkpoint(
        args.checkpoint,
        wanted.num_clips,
        wanted.views.num_crops,
        device=args.device,
        precision=args.precision,
        fold=made_by.get("layer") == HEAD,
    )
    layer = made_by.get("layer")
    extractor.take(None if layer == HEAD else layer)
    own = {"checkpoint": file_sha256(local_file(args.checkpoint)), "layer": layer}
    if differs := difference(made_by, own):
        raise UserError(
            f"{Path(args.features).name} was made with another {' and another '.join(differs)}; give the "
            f"checkpoint that made it, or make features of {args.checkpoint}"
        )
    found: Any = extractor(args.query)  # which a `Predictor` says is a prediction
    return found.mean(0)
