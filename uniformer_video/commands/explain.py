"""Which places and times of a video speak for a class."""

import logging
from argparse import ArgumentParser, Namespace

from uniformer_video.commands.options import add_device
from uniformer_video.explain.methods import METHODS

log = logging.getLogger("uniformer_video")


def explain_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("video", metavar="VIDEO", help="a video file, or a folder of frames")
    parser.add_argument(
        "--checkpoint", required=True, metavar="FILE", help="of a video model, such as run/best.pt"
    )
    parser.add_argument("--out", required=True, metavar="FOLDER", help="for data, strip and video")
    parser.add_argument(
        "--class", dest="class_name", metavar="NAME", help="to explain (the most probable one)"
    )
    parser.add_argument(
        "--method",
        default="gradcam",
        choices=METHODS,
        help="by gradients at a layer, or by what is lost where parts are hidden (gradcam)",
    )
    parser.add_argument(
        "--stage", type=int, metavar="N", help="of a UniFormer, 1 to 4, for gradcam (4)"
    )
    parser.add_argument("--layer", metavar="NAME", help="of any model, for gradcam")
    add_device(parser)


def explain_command(args: Namespace) -> int:
    """Show which places and times of a video speak for a class.

    By the centre crop of the centre clip. Into the folder go NAME_heat.npz (the heat of each pixel, frames,
    times), NAME_heat.png (frames above, their heat below) and NAME_heat.mp4.
    """
    from uniformer_video.explain.drawing import claim_files, write_files
    from uniformer_video.explain.explainer import Explainer
    from uniformer_video.inference.predictor import Predictor

    predictor = Predictor.from_checkpoint(
        args.checkpoint, device=args.device, precision=args.precision, fold=False
    )
    explainer = Explainer(predictor)
    explainer.check(args.class_name, args.method, args.stage, args.layer)
    places = claim_files(args.out, args.video)
    found = explainer(args.video, args.class_name, args.method, args.stage, args.layer)
    write_files(found, places)
    print(f"{found.class_name}  {found.score:.1%}")
    if not found.heat.any():
        log.warning("No part of the clip speaks for %s by %s.", found.class_name, found.method)
    for place in places.values():
        log.info("Written: %s", place)
    return 0
