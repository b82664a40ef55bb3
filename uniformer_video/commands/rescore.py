"""What is made of a stored test without decoding again: another score of it, its predictions as a table."""

import logging
from argparse import ArgumentParser, Namespace

log = logging.getLogger("uniformer_video")


def rescore_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("folder", metavar="RUN", help="holds results.json and scores.npz")
    parser.add_argument("--out", required=True, metavar="FOLDER", help="for the new results")
    parser.add_argument(
        "--score",
        metavar="RULE",
        help="what views are averaged as: logits, softmax; sigmoid of several labels",
    )
    parser.add_argument(
        "--clips",
        metavar="N|LIST",
        help="a number of evenly spread clips, or which ones, from 0: 0,2; also first, middle, last",
    )
    parser.add_argument(
        "--crops", metavar="N|LIST", help="centre, all, or which one, from 0 and with a comma: 2,"
    )
    parser.add_argument(
        "--classes",
        nargs="+",
        default=[],
        metavar="NAME|FILE",
        help="only these: names, also with commas between, or files of names, one a line; others are left "
        "out, as are their videos",
    )
    parser.add_argument(
        "--videos",
        nargs="+",
        default=[],
        metavar="PATTERN|FILE",
        help="only these: names, paths, shell patterns in quotes, or files that list them",
    )
    parser.add_argument(
        "--class-names",
        metavar="FILE",
        help="other names of all classes, one a line in their order, or a known order such as k400",
    )


def rescore_command(args: Namespace) -> None:
    """Score a stored test again, from the logits of its views: nothing is decoded.

    Another score rule, fewer views, a part of the classes or of the videos, other class names. FOLDER then
    holds results.json, scores.npz and report.html, which say from what they were made and what is left out;
    RUN stays as it is. Without options everything is computed again, so that a record of an earlier version
    gets what it lacks.
    """
    from uniformer_video.runs.rescore import Choice, rescore

    rescore(
        args.folder,
        args.out,
        Choice(args.score, args.clips, args.crops, args.classes, args.videos, args.class_names),
    )


def export_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("folder", metavar="RUN", help="holds results.json and scores.npz")
    parser.add_argument("--out", required=True, metavar="FILE", help="the new file")
    parser.add_argument(
        "--format",
        metavar="FORMAT",
        help="csv, parquet; ssv1, ssv2: for Something-Something's test (by the name of FILE: .csv, .parquet)",
    )
    parser.add_argument(
        "--all",
        action="store_true",
        help="the probability of every class, in place of the five best",
    )


def export_command(args: Namespace) -> None:
    """Write the predictions of a stored test as a table, or as a file for Something-Something's test.

    A row for each video: name, path, segment, label, answer, their probabilities, whether it is right, the
    five best classes, and why it failed, if it did.
    """
    from uniformer_video.runs.export_predictions import export_predictions

    for note in export_predictions(args.folder, args.out, args.format, args.all):
        log.warning(note)
    print(args.out)
