"""Where a training step's time goes on the device: by kind of operation, and to depthwise convolutions."""

import statistics
from collections import Counter, defaultdict

from gpu_measure import arithmetic, seconds
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from uniformer_video.training.turns import wait_for

PASSES = ("forward", "backward", "optimiser")
# The kind of an operator is the first that has a part of its name; depthwise convolutions are told before.
KINDS = {
    "optimiser": ("adam", "Adam", "foreach"),
    "copies and casts": ("copy", "clone", "contiguous", "aten::cat", "aten::to"),
    "attention": ("attention",),
    "norms": ("norm",),
    "GELU": ("gelu",),
    "other convolutions": ("conv",),
    "matrix products": ("mm", "linear", "matmul"),
    "sums and factors": ("aten::add", "aten::mul", "aten::div", "aten::sub", "aten::sum", "mean"),
}
DEPTHWISE, OTHER, IDLE = "depthwise convolutions", "other", "the device waits"
_NAMED = 3  # operators that a row names


def by_kind(work, repeats):
    """Rows of each pass of a training step and kind of operation, the longest first.

    ms: of the kernels (on a CPU, of the operators), medians of `repeats`; share: of all kernels of that pass;
    launches: of kernels; operators: those that take most. The last row of a pass is what its time by the
    clock, measured without the profiler and waiting for the device before and behind it, has more than its
    kernels: the device waits for the host.
    """
    work()
    work()
    clocks = [_in_passes(work, lambda run: _timed(run, work.device)) for _ in range(repeats)]
    profiles = [_in_passes(work, lambda run: _profiled(run, work.device)) for _ in range(repeats)]
    own = f"self_{_clock(work.device)}"
    rows = []
    for name in PASSES:
        found = [_kinds(measured[name], own) for measured in profiles]
        ms = {kind: statistics.median(one[0][kind] for one in found) for kind in found[-1][0]}
        whole = sum(ms.values())
        for kind in sorted(ms, key=ms.get, reverse=True):
            row = {"pass": name, "kind": kind, "ms": ms[kind], "share": ms[kind] / whole}
            row["launches"] = found[-1][1][kind]
            top = found[-1][2][kind].most_common(_NAMED)
            rows.append({**row, "operators": ", ".join(operator for operator, _ in top)})
        clock = 1000 * statistics.median(measured[name] for measured in clocks)
        rows.append({"pass": name, "kind": IDLE, "ms": max(0.0, clock - whole)})
    return rows


def _in_passes(work, measure):
    """{pass: what `measure(run)` found}; it returns that behind what `run()` returned."""
    with arithmetic(work.precision):
        loss, forward = measure(work.forward)
        _, backward = measure(lambda: work.backward(loss))
        _, optimiser = measure(work.update)
    return dict(zip(PASSES, (forward, backward, optimiser), strict=True))


def _timed(run, device):
    wait_for(device)
    results = []
    taken = seconds(lambda: results.append(run()), device)
    return results[0], taken


def _kinds(events, own):
    """({kind: ms}, {kind: launches}, {kind: {operator: ms}}) of the operators of a pass.

    own: the attribute that has their time without that of operators inside them.
    """
    ms, launches, operators = Counter(), Counter(), defaultdict(Counter)
    for event in events:
        if taken := getattr(event, own) / 1000:
            kind = kind_of(event)
            ms[kind] += taken
            launches[kind] += len(event.kernels)
            operators[kind][event.name.removeprefix("aten::")] += taken
    return ms, launches, operators


def kind_of(event):
    """The kind of an operator by its name, or by that of the convolution that it is part of."""
    found = next(
        (kind for kind, parts in KINDS.items() if any(part in event.name for part in parts)), OTHER
    )
    if found == "copies and casts":  # also inside of a convolution
        return found
    outer = event
    while outer is not None:
        if _depthwise(outer):
            return DEPTHWISE
        outer = outer.cpu_parent
    return found


def depthwise_share(work, embed_dims, repeats):
    """Which part of a training step's forward and backward pass depthwise convolutions take.

    Times are those of the kernels (on a CPU, of the operators), in milliseconds and as medians of
    `repeats`: the operators `convolution` and `convolution_backward` whose weight is `[C, 1, ...]`, or
    our kernels, against all operators of that pass. Copies into another memory layout or type beside
    them, and the optimiser, are left out. Stages are told by their channels, `embed_dims`.
    """
    work()
    work()
    passes = {"forward": [], "backward": []}
    for _ in range(repeats):
        measured = _in_passes(work, lambda run: _profiled(run, work.device))
        for name, found in passes.items():
            found.append(_depthwise_times(measured[name], _clock(work.device)))
    row, parts = {}, []
    for name, measured in passes.items():
        totals, found = [total for total, _, _ in measured], [part for _, part, _ in measured]
        row[f"{name}_ms"] = statistics.median(totals)
        kernels = measured[-1][2]
        for (channels, sides), _ in sorted(found[0].items()):
            part = {"pass": name, "stage": list(embed_dims).index(channels) + 1}
            part |= {"kernel": sides, "launches": kernels[channels, sides]}
            part["ms"] = statistics.median(times[channels, sides] for times in found)
            parts.append(part)
        taken = sum(part["ms"] for part in parts if part["pass"] == name)
        row |= {f"{name}_depthwise_ms": taken, f"{name}_share": taken / row[f"{name}_ms"]}
    taken = row["forward_depthwise_ms"] + row["backward_depthwise_ms"]
    row["share"] = taken / (row["forward_ms"] + row["backward_ms"])
    for stage in range(1, 5):
        of_stage = sum(part["ms"] for part in parts if part["stage"] == stage)
        row[f"stage{stage}_of_depthwise"] = of_stage / taken
    return {**row, "parts": parts}


def _profiled(run, device):
    """What `run()` returns, and its operators; kernels count with the operator that launched them."""
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (device.type == "cuda")
    with profile(activities=activities, record_shapes=True) as profiler:
        result = run()
        wait_for(device)
    return result, [each for each in profiler.events() if each.device_type == DeviceType.CPU]


def _clock(device):
    return "device_time_total" if device.type == "cuda" else "cpu_time_total"


def _depthwise_times(events, clock):
    """The ms of all operators, `{(C, kernel): ms}` and kernel names of the depthwise convolutions."""
    total, parts, kernels = 0.0, Counter(), defaultdict(set)
    for event in events:
        total += getattr(event, f"self_{clock}") / 1000
        if key := _depthwise(event):
            parts[key] += getattr(event, clock) / 1000
            kernels[key] |= _launched(event)
    if not total or not parts:
        raise RuntimeError("the profiler saw no time in depthwise convolutions on this device")
    return total, parts, {key: sorted(names) for key, names in kernels.items()}


def _depthwise(event):
    """(channels, kernel) of an operator that is a depthwise convolution or its gradients; else None."""
    # Our kernels' backward pass sees no weight, so kernels of all sizes count as one.
    if event.name == "DepthwiseBackward":
        return event.input_shapes[0][-1], "all"
    position = {"aten::convolution": 1, "aten::convolution_backward": 2, "Depthwise": 1}
    index = position.get(event.name)
    weight = event.input_shapes[index] if index else ()
    if len(weight) == 5 and weight[0] > 1 and weight[1] == 1:
        return weight[0], "x".join(str(side) for side in weight[2:])
    return None


def _launched(event):
    """The names of the device kernels that an operator and those inside it launched."""
    own = {kernel.name for kernel in event.kernels}
    return own.union(*(_launched(child) for child in event.cpu_children))
