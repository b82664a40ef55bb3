"""Settings against what is registered: formats of lists and decoders.

`load_config` knows no names of either, since anybody may add one. This is light to import, so that a command
can check a config before it does anything else.
"""

from uniformer_video.data.decoding.decoders import find_decoder
from uniformer_video.data.lists.formats import find_format
from uniformer_video.errors import ConfigError


def check_data_settings(cfg) -> None:
    """Raise `ConfigError` for an unknown format or decoder, and for what these cannot do."""
    formats = [find_format(cfg.TRAIN.DATASET, "TRAIN.DATASET")]
    if cfg.TEST.DATASET:
        formats.append(find_format(cfg.TEST.DATASET, "TEST.DATASET"))
    decoder = find_decoder(cfg.DATA.DECODING_BACKEND)
    for used in formats:
        if cfg.DATA.TARGET_FPS and not used.times_known:
            raise ConfigError(
                f"DATA.TARGET_FPS {cfg.DATA.TARGET_FPS:g} needs the times of frames, and the format "
                f"{used.name} (TRAIN.DATASET or TEST.DATASET) knows none; set it to 0"
            )
        if used.in_shards and not decoder.reads_shards:
            raise ConfigError(
                f"DATA.DECODING_BACKEND {decoder.name} cannot read videos in shards (TRAIN.DATASET or "
                f"TEST.DATASET {used.name}); set it to auto"
            )
