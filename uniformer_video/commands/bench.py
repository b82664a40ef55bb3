"""Measure the speed of parts on this machine, and what inflation is worth."""

import inspect
import math
import shlex
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path

from uniformer_video.commands.bench_run import (
    add_config,
    add_record,
    begin,
    measured,
    model,
    model_arguments,
    record,
    run,
    run_arguments,
    typed,
    whole_numbers,
)
from uniformer_video.commands.options import CONFIG_HELP, Command, add_overrides
from uniformer_video.commands.status import EXIT_INTERRUPTED
from uniformer_video.errors import ConfigError, UserError
from uniformer_video.program import run_again

_OF_ONE_RUN = (
    "MODEL.MODEL_NAME",
    "UNIFORMER.LOCAL_KERNEL",
    "DATA.PATH_TO_DATA_DIR",
    "TRAIN.DATASET",
    "TEST.DATASET",
)


def bench_arguments(parser: ArgumentParser) -> None:
    kinds = parser.add_subparsers(
        title="what to measure", required=True, metavar="WHAT", dest="what"
    )
    for name, (add_arguments, measure) in _BENCHES.items():
        summary = (measure.__doc__ or "").partition("\n")[0]
        kind = kinds.add_parser(name, help=summary, description=inspect.getdoc(measure))
        add_arguments(kind)
        kind.set_defaults(measure=measure)


def bench_command(args: Namespace) -> int | None:
    """Measure decoding, the training loader, models, whole runs, comparing videos, predictions, inflation.

    Decoding, loading and predictions are timed beside the other side of a comparison, in one run: times of
    one machine at one time mean little; compare the ratios.

    What is being measured is told on stderr. An interrupt (Ctrl-C, SIGTERM) prints what was complete by then,
    and writes it with --json, marked as interrupted, unless that file is there already.
    """
    return args.measure(args)


def _decode_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "videos",
        nargs="+",
        metavar="VIDEO",
        help="video files, folders of frames, or folders of them",
    )
    parser.add_argument("--repeat", type=int, default=9, metavar="N", help="rounds (9)")
    add_record(parser)


def _decode(args: Namespace) -> None:
    """Decoding of clips, one thread, opening included: against decord, torchcodec, pytorchvideo."""
    from uniformer_video.bench.decode import Decoded, run
    from uniformer_video.bench.figures import Measured
    from uniformer_video.inference.records import records_at

    whole_numbers(args, 1, "repeat")
    earlier = begin(args, "decode")
    videos = [Path(record.path) for record in records_at(args.videos)[0]]
    found, decoded = Measured("decode", {"videos": len(videos)}), Decoded()
    record(
        args,
        found,
        lambda: run(videos, args.repeat, found.figures, decoded),
        decoded.lines,
        earlier,
        ["decode", *args.videos, *typed(args, "repeat")],
    )


def _loader_arguments(parser: ArgumentParser) -> None:
    add_config(parser, "the defaults, generated videos")
    parser.add_argument("--clips", type=int, default=24, metavar="N", help="clips a round (24)")
    parser.add_argument("--repeat", type=int, default=3, metavar="N", help="rounds (3)")
    parser.add_argument(
        "--workers", default="0,1,2", metavar="N,N", help="numbers of workers to time (0,1,2)"
    )
    parser.add_argument(
        "--clips-per-second-needed",
        type=float,
        default=0.0,
        metavar="RATE",
        help="what the GPU takes; suggests a number of workers",
    )
    parser.add_argument(
        "--baseline", action="store_true", help="time the published loader's way too, in turn"
    )
    add_record(parser)
    add_overrides(parser)


def _loader(args: Namespace) -> None:
    """Training clips: the time of each step, clips a second by the number of workers."""
    from uniformer_video.bench import loader
    from uniformer_video.bench.figures import Measured
    from uniformer_video.bench.some_data import left_out
    from uniformer_video.config.settings import load_config, set_values

    counts = loader.worker_counts(args.workers)
    whole_numbers(args, 1, "clips", "repeat")
    if not 0 <= args.clips_per_second_needed < math.inf:
        raise UserError(
            f"--clips-per-second-needed is {args.clips_per_second_needed:g}; give a number from 0 on"
        )
    earlier = begin(args, "loader")
    cfg = load_config(args.cfg, args.overrides)
    found = Measured("loader", {**set_values(cfg), "clips": args.clips})
    found.notes = left_out(cfg)
    times = loader.LoaderTimes(figures=found.figures)
    words = typed(args, "cfg", "clips", "repeat", "workers", "baseline")
    record(
        args,
        found,
        lambda: loader.measure(cfg, args.clips, args.repeat, counts, args.baseline, times),
        lambda: [*loader.report(times, args.clips_per_second_needed), *found.notes],
        earlier,
        ["loader", *words, *args.overrides],
    )


def _overlap_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--videos", type=int, default=10_000, metavar="N", help="(10000)")
    parser.add_argument("--threads", type=int, default=0, metavar="N", help="(one a core)")


def _overlap(args: Namespace) -> None:
    """What `prepare check --overlap` does: hashing videos, comparing cached, made-up fingerprints."""
    from uniformer_video.bench.overlap import comparing, hashing

    whole_numbers(args, 1, "videos")
    whole_numbers(args, 0, "threads")
    lines: list[str] = []

    def measure() -> None:
        lines.extend(comparing(args.videos, args.threads))
        lines.extend(hashing())

    measured(args, measure, lambda: print("\n".join(lines)), lambda: lines)


def _predict_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("videos", nargs="+", metavar="VIDEO", help="as predict takes them")
    parser.add_argument("--checkpoint", required=True, metavar="FILE")
    parser.add_argument("--device", metavar="NAME", help="as of predict")
    parser.add_argument("--workers", type=int, default=-1, metavar="N", help="(one a core)")
    parser.add_argument("--repeat", type=int, default=3, metavar="N", help="rounds (3)")


def _predict(args: Namespace) -> None:
    """Predictions of many videos: one by one, against batches over videos with decoding workers."""
    from uniformer_video.bench.loader import MOST_WORKERS
    from uniformer_video.bench.predict import Rounds, lines, run
    from uniformer_video.inference.predictor import Predictor
    from uniformer_video.inference.records import records_at

    whole_numbers(args, 1, "repeat")
    if not -1 <= args.workers <= MOST_WORKERS:
        raise UserError(
            f"--workers is {args.workers}; it is 0 to {MOST_WORKERS}, or -1 for one a core"
        )
    predictor = Predictor.from_checkpoint(args.checkpoint, device=args.device)
    videos = [Path(record.path) for record in records_at(args.videos, predictor.medium)[0]]
    so_far = Rounds()
    measured(
        args,
        lambda: run(predictor, videos, args.workers, args.repeat, so_far),
        lambda: print("\n".join(lines(predictor, args.workers, so_far))),
        lambda: so_far.batched,
    )


def _inflation_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--cfg", metavar="FILE", required=True, help=f"of the video runs: {CONFIG_HELP}"
    )
    parser.add_argument(
        "--images",
        metavar="FILE",
        help="of the image run (that of --cfg with _images behind its name)",
    )
    parser.add_argument(
        "--target",
        type=float,
        default=90.0,
        metavar="PERCENT",
        help="of right answers in validation, to which steps are counted (90)",
    )
    add_overrides(parser)


def _inflation(args: Namespace) -> int | None:
    """What inflation is worth: a video model from scratch, and from a 2D model inflated in both ways.

    The four trainings of RNG_SEED are ordinary runs in OUTPUT_DIR/seedN; the same command goes on where it
    stopped. KEY VALUE pairs go to all of them. The table holds all seeds in OUTPUT_DIR.
    """
    from uniformer_video.signals import Interrupted, delay_interrupts

    with delay_interrupts():
        from uniformer_video.torch_internals import check_torch

        check_torch()
        from uniformer_video.config.settings import config_name, load_config
        from uniformer_video.runs.inflation import study_inflation

    images = args.images or f"{args.cfg.removesuffix('.yaml')}_images"
    if not args.images and args.cfg.endswith(".yaml"):
        images += ".yaml"
    _check_settings_of_both(args.overrides)
    video = load_config(args.cfg, args.overrides)
    try:
        image = load_config(images, args.overrides)
    except ConfigError as error:
        if args.images:
            raise
        raise ConfigError(f"{error}; --images names another config of the image run") from None
    given = ["--cfg", args.cfg, *(["--images", args.images] if args.images else [])]
    given += [] if args.target == 90 else ["--target", f"{args.target:g}"]
    again = shlex.join([*run_again("bench"), "inflation", *given, *args.overrides])
    names = (config_name(video), config_name(image))
    try:
        study_inflation(video, image, names, args.target / 100, again)
    except Interrupted:
        return EXIT_INTERRUPTED
    return 0


def _check_settings_of_both(overrides: Sequence[str]) -> None:
    """Raise `ConfigError` for settings in which a run of images and one of videos must differ."""
    for key in overrides[::2]:
        if key in _OF_ONE_RUN:
            raise ConfigError(
                f"{key} is another one for the images and for the videos, and KEY VALUE pairs go to all "
                "runs; set it in two configs of your own, with `_BASE_: demo/inflate` and `_BASE_: "
                "demo/inflate_images`, and give them by --cfg and --images"
            )


_BENCHES: dict[str, Command] = {
    "decode": (_decode_arguments, _decode),
    "loader": (_loader_arguments, _loader),
    "overlap": (_overlap_arguments, _overlap),
    "predict": (_predict_arguments, _predict),
    "model": (model_arguments, model),
    "run": (run_arguments, run),
    "inflation": (_inflation_arguments, _inflation),
}
