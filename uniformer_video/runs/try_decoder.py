"""Whether the chosen decoder reads the videos of a run at all, before the run begins."""

import math
import multiprocessing
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection

from fvcore.common.config import CfgNode

from uniformer_video.data.decoding import open_video
from uniformer_video.data.decoding.decoders import find_decoder
from uniformer_video.data.lists.records import VideoRecord
from uniformer_video.errors import ConfigError, DecodeError, UserError
from uniformer_video.words import plural

_TRIED_VIDEOS = 4  # of each list
_PATIENCE = 60.0  # seconds for one of them


def try_decoder(cfg: CfgNode, splits: Mapping[str, Sequence[VideoRecord]]) -> None:
    """Raise `ConfigError` for a decoder that reads none of some videos of a list, where "auto" does.

    splits: the records of each list by its name. What a decoder cannot do, such as decord with small
    pictures, mostly holds for all videos of a dataset; a training would find out video by video.
    """
    name = cfg.DATA.DECODING_BACKEND
    if not find_decoder(name).refuses_some:
        return
    for split, records in splits.items():
        files = list(dict.fromkeys(each.path for each in records if not each.num_frames))
        tried = files[:: math.ceil(len(files) / _TRIED_VIDEOS) or 1]
        refusals = [reason for path in tried if (reason := _refusal(path, name)) is not None]
        if refusals and all(refusals):
            raise ConfigError(
                f"DATA.DECODING_BACKEND {name} reads none of {plural(len(refusals), 'video')} tried of the "
                f"split {split}, which auto reads; set it to auto. The first: {refusals[0]}"
            )


def _refusal(path: str, backend: str) -> str | None:
    """Why a decoder does not read a video that "auto" reads; "" where it does, None where nothing is known.

    Asked in a process of its own, as some damaged videos crash or hang decoders.
    """
    answers, theirs = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.Process(target=_answer, args=(theirs, path, backend), daemon=True)
    process.start()
    theirs.close()
    try:
        answer = answers.recv() if answers.poll(_PATIENCE) else None
    except EOFError:  # it crashed
        answer = None
    process.kill()
    process.join()
    if isinstance(answer, UserError):
        raise answer
    return answer


def _answer(pipe: Connection, path: str, backend: str) -> None:
    try:
        pipe.send(_compare(path, backend))
    except UserError as error:  # such as a library that is not installed
        pipe.send(error)


def _compare(path: str, backend: str) -> str | None:
    try:
        with open_video(path, backend):
            return ""
    except DecodeError as error:
        reason = str(error)
    try:
        with open_video(path):
            return reason
    except DecodeError:
        return None
