"""Commands that prepare a dataset for training."""

import inspect
import logging
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from typing import TYPE_CHECKING

from uniformer_video.commands.check import check_arguments, check_step
from uniformer_video.commands.options import Command, add_list_options, add_workers, progress_bar
from uniformer_video.commands.status import EXIT_USER_ERROR
from uniformer_video.config.rows import SETTINGS
from uniformer_video.errors import UserError
from uniformer_video.words import plural

if TYPE_CHECKING:
    from uniformer_video.prepare.summary import Summary

log = logging.getLogger("uniformer_video")

_DATASETS = ("k400", "k600", "ssv1", "ssv2", "ucf101", "hmdb51", "imagenet")
_SPLIT = SETTINGS["DATA.SPLIT_NUMBER"]
_PRESETS = (
    "ultrafast",
    "superfast",
    "veryfast",
    "faster",
    "fast",
    "medium",
    "slow",
    "slower",
    "veryslow",
)


def prepare_arguments(parser: ArgumentParser) -> None:
    steps = parser.add_subparsers(title="steps", required=True, metavar="STEP", dest="step")
    for name, (add_arguments, action) in _STEPS.items():
        step = steps.add_parser(
            name,
            help=(action.__doc__ or "").partition("\n")[0],
            description=inspect.getdoc(action),
            formatter_class=RawDescriptionHelpFormatter,
        )
        add_arguments(step)
        step.set_defaults(action=action)


def prepare_command(args: Namespace) -> int | None:
    """Get a dataset ready: lists, smaller videos, frames, shards, label maps, a check of every file.

    The steps that make files keep what an interrupted or killed call has finished: the same command goes on
    from there. `uniformer-video guide DATASET` says which steps a dataset takes. `STEP --help` explains a
    step.
    """
    if getattr(args, "workers", 1) < 0:
        raise UserError(f"--workers is {args.workers}; it takes 1 or more, or 0 for one a core")
    return args.action(args)


def _lists_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("dataset", choices=_DATASETS, metavar="DATASET", help=", ".join(_DATASETS))
    parser.add_argument(
        "--annotations",
        required=True,
        metavar="FOLDER",
        help="the official annotation files; of imagenet, the labels of the validation: "
        "LOC_val_solution.csv, the ground truth of the development kit, or one synset a line",
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--videos", metavar="FOLDER", help="the videos, in folders of any depth")
    source.add_argument(
        "--frames",
        metavar="FOLDER",
        help="folders of frames instead, such as the step frames makes",
    )
    source.add_argument(
        "--images",
        metavar="FOLDER",
        help="of imagenet: the folder that holds train and val, or the validation images themselves",
    )
    parser.add_argument("--out", required=True, metavar="FOLDER", help="where the lists go")
    parser.add_argument(
        "--split",
        type=int,
        choices=_SPLIT.choices,
        default=_SPLIT.default,
        help=f"of UCF101 and HMDB51 ({_SPLIT.default})",
    )
    parser.add_argument(
        "--template", metavar="NAME", help="names of the frames (img_{:05d}.jpg; ssv1: {:05d}.jpg)"
    )
    parser.add_argument(
        "--with-test", action="store_true", help="Kinetics: a list of the test part too"
    )


def _lists(args: Namespace) -> None:
    """Write a dataset's lists from its official annotations, of the videos that are there.

    Writes train.csv, val.csv (and test.csv) of lines `path,label`; with --frames, lists of lines
    `folder num_frames label` under the names that the recipes read. classes.txt names the classes in the
    dataset's usual order. Videos that are annotated and not there are counted and named in missing.csv.
    The lists of imagenet are of images, for TRAIN.DATASET image-csv; val.csv is of the validation images,
    which lie in one folder, and train.csv of the folder train, where it is there.
    """
    from uniformer_video.prepare.image_lists import make_image_lists
    from uniformer_video.prepare.lists import MISSING_FILE, make_lists

    if args.with_test and args.dataset not in ("k400", "k600"):
        raise UserError(
            f"--with-test is for k400 and k600; {args.dataset} has no labelled test part"
        )
    of_images = args.dataset == "imagenet"
    if of_images != bool(args.images):
        takes = "--images" if of_images else "--videos or --frames"
        raise UserError(f"the lists of {args.dataset} are made of a folder that {takes} names")
    if of_images:
        summaries = make_image_lists(args.annotations, args.images, args.out)
    else:
        summaries = make_lists(
            args.dataset,
            args.annotations,
            args.out,
            videos=args.videos,
            frames=args.frames,
            template=args.template,
            split=args.split,
            with_test=args.with_test,
        )
    for summary in summaries:
        noun = "images" if of_images else "videos"
        missing = f", {len(summary.missing)} of the annotated missing" if summary.missing else ""
        again = f", {summary.repeated} annotations repeat others" if summary.repeated else ""
        print(f"{args.out}/{summary.file}: {summary.videos} {noun}{missing}{again}")
    names = [name for summary in summaries for name, _ in summary.missing]
    if names:
        more = ", ..." if len(names) > 3 else ""
        print(f"Missing: {', '.join(names[:3])}{more}; all are in {args.out}/{MISSING_FILE}")


def _resize_arguments(parser: ArgumentParser) -> None:
    _add_folders(parser)
    parser.add_argument(
        "--short-side",
        type=int,
        default=320,
        metavar="PIXELS",
        help="even, such as 320 or 256 (320)",
    )
    parser.add_argument(
        "--crf", type=int, default=23, help="quality: 0 lossless, 18 fine, 28 coarse (23)"
    )
    parser.add_argument(
        "--preset",
        choices=_PRESETS,
        default="veryfast",
        help="slower makes smaller files (veryfast)",
    )
    parser.add_argument(
        "--gop",
        type=int,
        default=60,
        metavar="N",
        help="frames between key frames: fewer seek faster (60)",
    )
    add_workers(parser)


def _resize(args: Namespace) -> int:
    """Make smaller copies of videos, H.264 in .mp4, with all frames at their times.

    Folders and names are kept. Rotated videos come out upright, sound is left out. A video whose short
    side is small enough is hard-linked, or copied, as it is. What is there from before is kept, unless
    its video is newer. A video that cannot be read to its end is left out and named in failed.csv; then
    the exit status is 2.
    """
    from uniformer_video.prepare.resize import Encoding, resize_folder

    if args.short_side < 16 or args.short_side % 2:
        raise UserError(f"--short-side is {args.short_side}; it takes an even number from 16")
    if not 0 <= args.crf <= 51:
        raise UserError(f"--crf is {args.crf}; it takes 0 to 51")
    if args.gop < 1:
        raise UserError(f"--gop is {args.gop}; it takes 1 or more")
    encoding = Encoding(args.short_side, args.crf, args.preset, args.gop)
    with progress_bar("video") as show:
        summary = resize_folder(args.videos, args.out, encoding, args.workers, show)
    return _finish(summary, args.out)


def _frames_arguments(parser: ArgumentParser) -> None:
    _add_folders(parser)
    parser.add_argument(
        "--short-side",
        type=int,
        default=0,
        metavar="PIXELS",
        help="of the pictures, at most (as it is)",
    )
    parser.add_argument("--quality", type=int, default=95, help="of JPEG, 1 to 100 (95)")
    parser.add_argument(
        "--template",
        default="img_{:05d}.jpg",
        metavar="NAME",
        help="of the pictures (img_{:05d}.jpg)",
    )
    add_workers(parser)


def _frames(args: Namespace) -> int:
    """Take videos apart into folders of pictures, one folder a video, numbered from 1.

    A folder appears when it is complete, and is made again when its video is newer. frames.csv lists the
    folders and their numbers of frames. A video that cannot be read to its end is left out and named in
    failed.csv; then the exit status is 2. Pictures are as stored: videos whose pixels are not square are
    named in not_square.csv.
    """
    from uniformer_video.prepare.frames import FORMS_FILE, Pictures, extract_folder

    if args.short_side < 0 or not 1 <= args.quality <= 100:
        raise UserError("--short-side takes 0 (as it is) or more, --quality 1 to 100")
    pictures = Pictures(args.template, args.quality, args.short_side)
    with progress_bar("video") as show:
        summary = extract_folder(args.videos, args.out, pictures, args.workers, show)
    if summary.remarks:
        folder, form = summary.remarks[0]
        print(
            f"{plural(len(summary.remarks), 'video')} with pixels that are not square: their pictures are as "
            f"stored, wider or narrower than players show them; the first is {folder} ({form}), all are in "
            f"{args.out}/{FORMS_FILE}"
        )
    return _finish(summary, args.out)


def _shards_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "list",
        metavar="LIST.csv",
        help="one path and label a line; or a folder with one sub-folder of images a class",
    )
    parser.add_argument("--out", required=True, metavar="FOLDER", help="where the shards go")
    parser.add_argument(
        "--shard-size", type=int, default=500, metavar="MB", help="of a shard, about (500)"
    )
    add_list_options(parser)
    add_workers(parser)


def _shards(args: Namespace) -> int:
    """Pack the videos or images of a list into tar shards (WebDataset's layout) with an index to seek by.

    A video becomes two members, KEY.mp4 and KEY.json, which holds its label and its name in the list.
    index.csv says where in which shard each video lies: key, shard, offset, length, label, name, and start,
    end and weight where the list has them. It is written when all shards are there. The same list and
    files give the same shards. TRAIN.DATASET shards, or image-shards, trains from them: see
    `uniformer-video guide`.
    """
    from uniformer_video.prepare.shards import make_shards

    if args.shard_size < 1:
        raise UserError(f"--shard-size is {args.shard_size}; it takes 1 (million bytes) or more")
    with progress_bar("shard") as show:
        summary = make_shards(
            args.list, args.out, args.shard_size, args.prefix, args.separator, args.workers, show
        )
    return _finish(summary, args.out, "shard")


def _token_labels_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "pictures",
        metavar="PICTURES",
        help="a folder of pictures, a csv list, or a folder of shards",
    )
    parser.add_argument(
        "--weights",
        required=True,
        metavar="FILE",
        help="a model of images: a checkpoint, an address or a published name",
    )
    parser.add_argument("--out", required=True, metavar="FOLDER", help="where the maps go")
    parser.add_argument(
        "--size",
        type=int,
        default=0,
        metavar="PIXELS",
        help="of the crop: 32 a place of the map (the model's own)",
    )
    parser.add_argument(
        "--batch-size", type=int, default=32, metavar="N", help="pictures of a forward pass (32)"
    )
    add_workers(parser)


def _token_labels(args: Namespace) -> int:
    """Make label maps of pictures by a model of images, for token labelling (TOKEN_LABELS.PATH).

    The map of CLASS/NAME.JPEG is CLASS/NAME.pt: the five highest classes, logits and numbers, at each place
    of the model's last map for the crop that a test sees. token_labels.json names the model and its classes.
    A map is made again when its picture is newer. A picture that cannot be read is left out and named in
    failed.csv; then the exit status is 2.
    """
    from uniformer_video.inference.token_labels import make_token_labels

    if args.batch_size < 1 or args.size < 0:
        raise UserError("--batch-size takes 1 or more, --size 0 (the model's own) or more")
    with progress_bar("picture") as show:
        summary = make_token_labels(
            args.weights,
            args.pictures,
            args.out,
            args.size,
            args.batch_size,
            args.workers or -1,
            show,
        )
    return _finish(summary, args.out)


_STEPS: dict[str, Command] = {
    "lists": (_lists_arguments, _lists),
    "resize": (_resize_arguments, _resize),
    "frames": (_frames_arguments, _frames),
    "shards": (_shards_arguments, _shards),
    "token-labels": (_token_labels_arguments, _token_labels),
    "check": (check_arguments, check_step),
}


def _add_folders(parser: ArgumentParser) -> None:
    parser.add_argument(
        "videos", metavar="VIDEOS", help="a folder of videos, in folders of any depth"
    )
    parser.add_argument("--out", required=True, metavar="FOLDER", help="where the results go")


def _finish(summary: "Summary", out: str, unit: str = "") -> int:
    """Say what a run came to, with the word for what it counts; returns the exit status."""
    from uniformer_video.prepare.summary import FAILED_FILE

    done = []
    for kind, count in sorted(summary.done.items()):
        done.append(f"{plural(count, unit) if unit else count} {kind}")
    done += [f"{summary.kept} there before"] if summary.kept else []
    done += [f"{len(summary.failed)} failed"] if summary.failed else []
    print(f"{out}: {', '.join(done)}")
    for path, reason in summary.failed[:3]:
        print(f"{path}: {reason}")
    if not summary.failed:
        return 0
    print(f"All that failed are in {out}/{FAILED_FILE}.")
    return EXIT_USER_ERROR
