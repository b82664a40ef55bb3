"""Commands about settings and what is shipped with the toolkit: configs, guides to datasets."""

import logging
from argparse import ArgumentParser, Namespace

from uniformer_video.commands.options import CONFIG_HELP, add_overrides
from uniformer_video.errors import ConfigError, UserError
from uniformer_video.program import command

log = logging.getLogger("uniformer_video")


def configs_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "pattern", nargs="?", default="*", metavar="PATTERN", help="such as k400, 'ssv*_k600', xxs"
    )


def configs_command(args: Namespace) -> None:
    """List the configs that come with the toolkit.

    `uniformer-video run --cfg NAME` takes such a name, with or without .yaml; a file of that path goes
    before it. A config of your own starts from one with `_BASE_: NAME`.
    """
    from uniformer_video.config.shipped import first_line, list_configs, shipped_folder

    names = list_configs(args.pattern)
    if not names:
        folders = sorted({name.partition("/")[0] for name in list_configs()})
        raise UserError(
            f"no shipped config's name fits {args.pattern!r}; they are in {', '.join(folders)}"
        )
    width = max(map(len, names))
    for name in names:
        print(f"{name:{width}}  {first_line(name)}")
    log.info("The files are in %s.", shipped_folder("configs"))


def config_arguments(parser: ArgumentParser) -> None:
    parser.usage = (
        "%(prog)s [--cfg FILE] [KEY VALUE ...]\n       %(prog)s diff A B\n       %(prog)s --keys"
    )
    parser.add_argument("--cfg", metavar="FILE", help=f"{CONFIG_HELP}; without it, the defaults")
    parser.add_argument(
        "--keys", action="store_true", help="list every key: default, meaning, what is allowed"
    )
    add_overrides(parser)


def config_command(args: Namespace) -> None:
    """Print the resolved config; what every key means; or in which settings two configs differ.

    `diff A B` takes files or names of shipped configs, and prints each setting that differs: its key, the
    value in A, the value in B. KEY VALUE pairs behind it hold for both.
    """
    from uniformer_video.config.recorded import config_text
    from uniformer_video.config.setting import TEST, TRAINING
    from uniformer_video.config.settings import describe, load_config, unmet_settings

    if args.keys:
        print(describe())
        return
    if args.overrides[:1] == ["diff"]:
        _diff(args)
        return
    from uniformer_video.runs.build_model import name_model
    from uniformer_video.runs.check import check_settings

    cfg = name_model(load_config(args.cfg, args.overrides))
    check_settings(cfg)
    for phase in (TRAINING, TEST):
        if unmet := unmet_settings(cfg, phase):
            log.warning("%s", unmet)
    print(config_text(cfg))


def _diff(args: Namespace) -> None:
    from uniformer_video.config.settings import differences, load_config

    _, *configs = args.overrides
    if args.cfg or len(configs) < 2:
        raise ConfigError(
            "config diff takes two configs, files or names: "
            f"{command('config diff k400/uniformer_s_16x4 mine.yaml')}"
        )
    first, second, *overrides = configs
    differ = differences(load_config(first, overrides), load_config(second, overrides))
    if not differ:
        print("No setting differs.")
        return
    rows = [("", first, second), *((key, str(a), str(b)) for key, (a, b) in differ.items())]
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    for key, one, other in rows:
        print(f"{key:{widths[0]}}  {one:{widths[1]}}  {other}".rstrip())


def guide_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "dataset", nargs="?", default="", metavar="DATASET", help="such as k400 (none: all formats)"
    )


def guide_command(args: Namespace) -> None:
    """Print how a dataset is got and prepared; without a name, the formats of lists and their settings."""
    from uniformer_video.config.shipped import list_guides, read_guide

    print(read_guide(args.dataset))
    if not args.dataset:
        log.info("Guides to single datasets: %s.", ", ".join(list_guides()))
