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
        help="by gradients at a layer, by what is lost where parts are hidden, or by what attention draws on "
        "(gradcam)",
    )
    parser.add_argument(
        "--stage",
        type=int,
        metavar="N",
        help="for gradcam, from 1 (the deepest with a map of 12 places a side)",
    )
    parser.add_argument("--layer", metavar="NAME", help="of any model, for gradcam")
    parser.add_argument(
        "--clips",
        type=int,
        default=1,
        metavar="N",
        help="of the video, as a test of N has them (1)",
    )
    parser.add_argument("--fps", type=float, metavar="RATE", help="of a video that holds no times")
    add_device(parser)


def explain_command(args: Namespace) -> int:
    """Show which places and times of a video speak for a class.

    By the centre crop of the centre clip, or of several. Into the folder go NAME_heat.npz (the heat of each
    pixel, frames, times), NAME_heat.png (frames above, their heat below, clip by clip) and NAME_heat.mp4.
    """
    from uniformer_video.explain.drawing import claim_files, write_files
    from uniformer_video.explain.explainer import Explainer
    from uniformer_video.inference.predictor import Predictor

    predictor = Predictor.from_checkpoint(
        args.checkpoint, device=args.device, precision=args.precision, fold=False
    )
    explainer = Explainer(predictor)
    asked = (args.class_name, args.method, args.stage, args.layer)
    explainer.check(*asked, clips=args.clips, fps=args.fps)
    places = claim_files(args.out, args.video)
    found = explainer(args.video, *asked, fps=args.fps, clips=args.clips)
    write_files(found, places)
    where = f", {found.layer}" if found.layer else ""
    print(f"{found.class_name}  {found.score:.1%}  ({found.method}{where})")
    if found.decisive:
        begins, ends, fall = found.decisive
        print(
            f"decisive: {begins:.2f} to {ends:.2f} s, without which its logit falls by {fall:.2f}"
        )
    elif found.method == "occlusion":
        log.warning("No stretch of the video lowers the logit of %s.", found.class_name)
    for note in found.notes:
        log.warning("%s.", note)
    if not found.heat.any():
        log.warning("No part of the clip speaks for %s by %s.", found.class_name, found.method)
    for place in places.values():
        log.info("Written: %s", place)
    return 0
