"""Weights files from one kind to another."""

from uniformer_video.errors import UserError


def inflate_arguments(parser):
    parser.add_argument("image", metavar="IMAGE.pth", help="2D ImageNet weights of a UniFormer")
    parser.add_argument(
        "--out", required=True, metavar="VIDEO.pth", help="the 3D checkpoint to write"
    )
    parser.add_argument(
        "--mode",
        choices=("average", "center"),
        default="average",
        help="spread over time (average)",
    )
    parser.add_argument(
        "--local-kernel", default="3,5,5", metavar="T,H,W", help="of the local blocks (3,5,5)"
    )
    parser.add_argument(
        "--model", metavar="NAME", help="video architecture (found by the file's shapes)"
    )


def inflate_command(args):
    """Inflate 2D ImageNet weights to a 3D checkpoint, and report what became of each part.

    Linear, norm and attention weights are copied, convolutions get a time axis: "average" repeats a
    kernel along time and divides by its length, "center" puts it in the middle step. The classifier
    is dropped.
    """
    from uniformer_video.models.convert import inflate_file

    try:
        kernel = tuple(int(side) for side in args.local_kernel.split(","))
    except ValueError:
        raise UserError(
            f"--local-kernel is {args.local_kernel!r}; it takes T,H,W such as 3,5,5"
        ) from None
    for line in inflate_file(args.image, args.out, args.mode, kernel, args.model):
        print(line)
