"""Options that several commands have."""


def add_separator(parser):
    """`--separator`, of csv lists of videos."""
    parser.add_argument(
        "--separator",
        default="auto",
        metavar="TEXT",
        help="between path and label (last , or blank)",
    )
