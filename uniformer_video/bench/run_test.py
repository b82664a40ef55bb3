"""Where the time of a multi-view test from files goes, by the loop of the tests themselves."""

import time
from collections.abc import Callable, Sequence

from fvcore.common.config import CfgNode

from uniformer_video.bench import limits
from uniformer_video.bench.clock import PartClock
from uniformer_video.bench.figures import Measured
from uniformer_video.bench.progress import of_rounds
from uniformer_video.data.lists.records import VideoRecord
from uniformer_video.data.loading.loader import resolve_workers
from uniformer_video.data.protocol import Protocol
from uniformer_video.distributed.ranks import Ranks
from uniformer_video.errors import ConfigError
from uniformer_video.evaluation.scoring import ViewScores, check_decoded
from uniformer_video.models.contract import RecognitionModel
from uniformer_video.models.inference_mode import lay_out, prepare_for_inference
from uniformer_video.runs.build_task import build_task
from uniformer_video.runs.score_views import score_records
from uniformer_video.runs.view_cost import counted_gflops
from uniformer_video.training.precision import choose_precision
from uniformer_video.words import name_some, plural


def time_test(
    cfg: CfgNode,
    model: RecognitionModel,
    records: Sequence[VideoRecord],
    ranks: Ranks,
    rounds: int,
    found: Measured,
    at: Callable[[str], None],
) -> None:
    """Add the figures of the config's test of these videos to `found`, by a model that nobody needs any more.

    Each of the `rounds` is a test from its beginning, workers included, after one of a few videos that does
    not count; `found` has those that are complete. at: is told what is begun. Raises `ConfigError` where
    pixels have classes, `DataError` where nothing can be decoded.
    """
    task = build_task(cfg)
    if task.scoring != "views":
        raise ConfigError(
            f"`bench run --test` times tests of whole videos and images, and the task {task.name} is tested "
            "on pixels; leave out --test"
        )
    protocol = Protocol.from_cfg(cfg)
    noun = protocol.medium
    gflops, notes = counted_gflops(model, protocol)
    ready = prepare_for_inference(model)
    precision = choose_precision(protocol.precision, ranks.device)
    lay_out(ready, ranks.device, precision)

    def score(some: Sequence[VideoRecord], clock: PartClock) -> tuple[ViewScores, float]:
        clock.lap()
        started = time.perf_counter()
        scores = score_records(cfg, ready, some, protocol, ranks, False, mark=clock.mark)
        return scores, time.perf_counter() - started

    rate = limits.rate_in(found, precision, ranks.device)
    clock = PartClock(ranks.device)
    at("test: warming up")
    score(records[: max(1, cfg.TEST.BATCH_SIZE // protocol.num_views)], clock)
    laps, wholes, reads = [], [], []
    count = len(records)

    def add(name: str, seconds: Sequence[float]) -> None:
        found.add_seconds({f"test/{name}": [each / count for each in seconds]})

    for number in range(1, rounds + 1):
        at(f"test: {of_rounds(number, rounds)}")
        scores, seconds = score(records, clock)
        check_decoded(scores.decoded, scores.failures, noun)
        laps.append(clock.lap())
        wholes.append(seconds)
        reads.append(scores.times.reads)
        for name in dict.fromkeys(name for lap in laps for name in lap):
            add(name, [lap.get(name, 0.0) for lap in laps])
        add(f"whole {noun}", wholes)
        add("processes: open and decode", [sum(r.decode_seconds for r in each) for each in reads])
        add("processes: scale and crop", [sum(r.crop_seconds for r in each) for each in reads])
    if gflops:
        operations = 2e9 * gflops["gflops_view"] * protocol.num_views * count
        add("limit: forward", [operations / (1e9 * rate.high)])
    found.notes += notes
    found.notes.append(
        f"Test: {plural(count, noun)}, {plural(protocol.num_views, 'view')} of each, {precision}, "
        f"{plural(resolve_workers(cfg.DATA_LOADER.NUM_WORKERS), 'worker')}; {plural(rounds, 'round')}, each "
        "with the start of the workers."
    )
    if scores.failures:
        named = name_some([*scores.failures.values()])
        found.notes.append(f"{plural(len(scores.failures), noun)} could not be decoded: {named}")
