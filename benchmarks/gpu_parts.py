"""What `gpu_model.py` measures beside whole models: depthwise convolutions by layer, the real loader."""

import statistics

import torch
from gpu_measure import LATE, PRECISIONS, arithmetic, attempt, autocast, seconds

from uniformer_video.config.settings import load_config
from uniformer_video.data.loading.loader import resolve_workers
from uniformer_video.models.depthwise import depthwise_conv
from uniformer_video.models.depthwise_cpu import convolve
from uniformer_video.signals import Interrupted


def _in_plain_layout(tokens, weight, bias, kernel):
    return convolve(tokens.movedim(-1, 1).contiguous().movedim(1, -1), weight, bias, kernel)


# The ways to compute a depthwise convolution of channels-last tokens.
WAYS = {"auto": depthwise_conv, "torch": _in_plain_layout, "torch channels-last": convolve}
_MOST_SECONDS = 0.5  # of the calls of one way and layer


def layer_rows(layer, batch, precision, device, copy_rate, rounds):
    """One row a way: ms of a forward pass, and of that with both gradients, all ways in turn.

    layer: (channels, grid, kernel). copy_rate: bytes a second of `copy_row`, or None.
    """
    channels, grid, kernel = layer
    shape = (batch, *grid, channels)
    dtype = PRECISIONS[precision]
    tokens = torch.randn(shape, device=device).to(dtype).requires_grad_()
    weight = torch.randn(channels, 1, *kernel, device=device, requires_grad=True)
    bias = torch.randn(channels, device=device, requires_grad=True)
    gradient = torch.randn(shape, device=device).to(dtype)
    rows = {way: {"tokens": [*grid, channels], "kernel": kernel, "batch": batch} for way in WAYS}
    times = {way: ([], []) for way in WAYS}
    limits = {}

    def forward(way):
        with autocast(precision, device):
            return WAYS[way](tokens, weight, bias, kernel)

    def both(way):
        torch.autograd.grad(forward(way), (tokens, weight, bias), gradient)

    def measure(way, counts):
        with arithmetic(precision):
            found = seconds(lambda: forward(way), device), seconds(lambda: both(way), device)
        for each, taken in zip(times[way], found, strict=True):
            if counts:
                each.append(1000 * taken)
        return sum(found)

    for way, row in rows.items():
        row |= {"precision": precision, "by": way}
        if attempt(row, measure, way, False) and (second := attempt(row, measure, way, False)):
            limits[way] = max(2, _MOST_SECONDS / second)
    for number in range(rounds):
        for way, row in rows.items():
            if "note" not in row and number < limits[way]:
                attempt(row, measure, way, True)
    for way, row in rows.items():
        if "note" not in row:
            row["forward_ms"], row["both_ms"] = map(statistics.median, times[way])
            if copy_rate:
                due = 2000 * tokens.numel() * tokens.element_size() / copy_rate
                row["share_of_copy"] = due / row["forward_ms"]
    return list(rows.values())


def all_layers(scope, device, report, copy_rate):
    """The rows of every layer, added to `report` precision by precision."""
    for precision in scope.layer_precisions:
        for layer in scope.layers:
            row = {"tokens": [*layer[1], layer[0]], "kernel": layer[2], "precision": precision}
            if report.out_of_time():
                report.add("layers", [{**row, "note": LATE}])
                continue
            arguments = layer, scope.layer_batch, precision, device, copy_rate, scope.max_rounds
            report.add("layers", attempt(row, layer_rows, *arguments) or [row])


def loader_row(on_device, scope, device):
    """Training steps with the real loader and `AUG.ON_DEVICE` as given."""
    from uniformer_video.bench.run import measure as bench_run  # imports all that a run needs

    row = {"on_device": on_device, "batch": scope.loader_batch}

    def measure():
        words = ["AUG.ON_DEVICE", on_device, "TRAIN.BATCH_SIZE", str(scope.loader_batch)]
        words += ["NUM_GPUS", "1", "AUG.NUM_SAMPLE", "1", "DATA.PATH_TO_DATA_DIR", ""]
        cfg = load_config("k400/uniformer_s_16x4", [*words, *scope.loader_settings])
        row["workers"] = resolve_workers(cfg.DATA_LOADER.NUM_WORKERS)
        figures = bench_run(cfg, scope.loader_steps).figures
        ms = {name.removeprefix("train/"): each.median for name, each in figures.items()}
        row["loader_clips_per_s"] = ms["loader alone"]
        row["ms"] = ms["whole step"]
        row["waiting_ms"], row["transfer_ms"] = ms["waiting for data"], ms["transfer"]
        row["augment_ms"] = ms["augment and mix"]
        row["model_ms"] = ms["forward"] + ms["backward"]
        row["clips_per_s"] = 1000 * scope.loader_batch / row["ms"]

    attempt(row, measure, passed_on=Interrupted)
    return row
