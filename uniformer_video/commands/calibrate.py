"""A temperature for the scores of a checkpoint, and a threshold for "none of these"."""

from argparse import ArgumentParser, Namespace


def calibrate_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="folder of a finished run, or of a test")
    parser.add_argument(
        "--out", required=True, metavar="FILE", help="the checkpoint to write, a new file"
    )
    parser.add_argument(
        "--on",
        choices=("val", "half"),
        default="half",
        help="fit on the validation videos, or on a half of the test videos and report on the other (half)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="which half of the test videos (0)"
    )
    parser.add_argument(
        "--false-accepts",
        type=float,
        metavar="RATE",
        help='the threshold for "none of these": accept at most this share, such as 0.05, of the --unknown '
        "videos, or without them of the wrong answers",
    )
    parser.add_argument(
        "--unknown",
        metavar="VIDEOS",
        help="a folder or a list (csv) of videos of none of the classes",
    )
    parser.add_argument("--json", action="store_true", help="print data: what the file records")


def calibrate_command(args: Namespace) -> None:
    """Write a checkpoint whose scores are calibrated: with a temperature for the views of a test.

    RUN's own files stay as they are; --on val decodes the validation videos once and keeps their scores
    there, in val_scores.npz. The new file holds the tested weights, the protocol of the test, and the
    temperature, by which `predict` divides the logits of the same views. Reported are the negative
    log-likelihood and the expected calibration error before and after, of videos that the temperature was
    not fitted on.

    With --false-accepts RATE it also holds a threshold, below which `predict` answers "none of these".
    """
    import simplejson

    from uniformer_video.errors import ConfigError
    from uniformer_video.runs.calibrate import calibrate

    if args.seed < 0:
        raise ConfigError(f"--seed is {args.seed}; it is 0 or more")
    record, lines = calibrate(
        args.run, args.out, args.on, args.seed, args.false_accepts, args.unknown
    )
    if args.json:
        print(simplejson.dumps(record, ensure_ascii=False, ignore_nan=True))
        return
    for line in lines:
        print(line)
