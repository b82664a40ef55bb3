"""Commands that make or change data."""

import logging

from uniformer_video.errors import UserError

log = logging.getLogger("uniformer_video")


def demo_arguments(parser):
    parser.add_argument("--out", default="datasets/demo", metavar="FOLDER", help="(datasets/demo)")
    parser.add_argument("--train", type=int, default=1600, help="training videos (1600)")
    parser.add_argument("--val", type=int, default=160, help="validation videos (160)")
    parser.add_argument("--test", type=int, default=480, help="test videos (480)")
    parser.add_argument("--seed", type=int, default=0, help="(0)")


def demo_command(args):
    """Generate the demo videos: eight motions, H.264, with train, val and test lists.

    The same seed gives the same videos; what an interrupted call has finished is kept.
    """
    from tqdm import tqdm

    from uniformer_video.data.demo import generate_demo

    if min(args.train, args.val, args.test) < 8 or args.seed < 0:
        raise UserError(
            "--train, --val and --test are at least 8, one a class; --seed is 0 or more"
        )
    total = args.train + args.val + args.test
    log.info("Making %d demo videos in %s.", total, args.out)
    with tqdm(
        total=total, unit="video", leave=False, disable=None
    ) as bar:  # None: not off a terminal
        made = generate_demo(
            args.out,
            args.train,
            args.val,
            args.test,
            args.seed,
            progress=lambda done, _: bar.update(done - bar.n),
        )
    log.info("%s: %d videos made, %d were there.", args.out, made, total - made)
