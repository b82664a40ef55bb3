"""Options that several commands have."""

CONFIG_HELP = (
    "a YAML file, or a config that `uniformer-video configs` lists, such as k400/uniformer_s_16x4"
)


def add_overrides(parser):
    """`KEY VALUE ...`, settings in place of those of a config."""
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="KEY VALUE",
        help="settings in place of the file's",
    )


def add_separator(parser):
    """`--separator`, of csv lists of videos."""
    parser.add_argument(
        "--separator",
        default="auto",
        metavar="TEXT",
        help="between path and label (last , or blank)",
    )
