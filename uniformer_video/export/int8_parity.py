"""Whether an int8 file says what its model says, and which of its layers are to blame where it does not."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from uniformer_video.errors import DataError
from uniformer_video.export.formats import ONNX
from uniformer_video.export.int8 import FloatGraph, Quantization
from uniformer_video.export.parity import BATCH, LEAST_AGREEMENT, Run
from uniformer_video.export.sessions import open_session
from uniformer_video.words import name_some, plural

MEASURED = 8  # clips on which each layer is tried alone
_TIMED = 8  # views, by all three in turn


@dataclass(frozen=True)
class Int8Parity:
    """What an int8 file and its model say of the same inputs.

    views: how many inputs. agreement: in the class with the largest output, a share of the views.
    difference: the largest of any output. scale: the largest output of the model. batch_difference: the
    largest between the file's answers to several views at once and one by one; None where there was one
    view alone. seconds: medians of one view by the model, by the float32 file and by this one, in turn.
    sizes: of the two files, in bytes. finite: whether the file gave numbers alone. rounds: (how many layers
    were left in float, the agreement) of each try, in their order; this file's is one of them.
    """

    views: int
    agreement: float
    difference: float
    scale: float
    batch_difference: float | None
    seconds: tuple[float, float, float]
    sizes: tuple[int, int]
    finite: bool
    quantization: Quantization
    rounds: tuple[tuple[int, float], ...]

    def fault(self) -> str:
        """Why the file is not good enough, in words; "" where it is."""
        if not self.finite:
            return "in int8 it gives values that are no numbers"
        if self.agreement >= LEAST_AGREEMENT:
            return ""
        left = self.quantization.float_layers
        tried = f", even with {plural(len(left), 'layer')} left in float" if left else ""
        return (
            f"in int8 it names the same class for {self.agreement:.1%} of the views{tried}, and at least "
            f"{LEAST_AGREEMENT:.0%} are asked for"
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain types, with whether the file passed, without what the file says of itself."""
        own = asdict(self)
        del own["quantization"]
        model, plain, file = own.pop("seconds")
        float_bytes, file_bytes = own.pop("sizes")
        rounds = [{"float_layers": count, "agreement": share} for count, share in self.rounds]
        return {
            **own,
            "model_seconds": model,
            "float_file_seconds": plain,
            "file_seconds": file,
            "float_file_bytes": float_bytes,
            "file_bytes": file_bytes,
            "rounds": rounds,
            "passed": not self.fault(),
        }

    def lines(self, source: str) -> list[str]:
        """The table for people. source: where the views are from, in words."""
        quantized = self.quantization
        model, plain, file = self.seconds
        before, after = self.sizes
        together = "not tried" if self.batch_difference is None else f"{self.batch_difference:.2e}"
        left = quantized.float_layers
        lines = [
            f"int8, {quantized.method}, checked on {plural(self.views, 'view')} of {source}",
            f"  {'same best class':<24}{self.agreement:.1%}  (at least {LEAST_AGREEMENT:.0%})",
            f"  {'largest difference':<24}{self.difference:.2e}  (largest output {self.scale:.3g})",
            f"  {f'alone or {BATCH} at once':<24}{together}",
            f"  {'layers in int8':<24}{quantized.layers} of {quantized.layers + len(left)}",
        ]
        if left:
            lines.append(f"  {'left in float':<24}{', '.join(left)}  (the worst first)")
        if quantized.passed_over:
            lines.append(
                f"  {'in float anyway':<24}{plural(quantized.passed_over, 'layer')}, as {quantized.method} "
                "int8 takes no convolutions and no products of two activations"
            )
        if quantized.ranges:
            lines.append(
                f"  {'ranges':<24}{quantized.ranges}, on {plural(quantized.clips, 'clip')} of "
                f"{plural(quantized.videos, 'file')} of {quantized.source}"
            )
        if len(self.rounds) > 1:
            tries = ", ".join(f"{count}: {share:.1%}" for count, share in self.rounds)
            lines.append(f"  {'by layers left in float':<24}{tries}")
        return [
            *lines,
            f"  {'a view, eager':<24}{1000 * model:.2f} ms",
            f"  {'a view, ONNX in float32':<24}{1000 * plain:.2f} ms",
            f"  {'a view, ONNX in int8':<24}{1000 * file:.2f} ms  ({plain / file:.2f} times as fast as in "
            f"float32, {model / file:.2f} times as eager)",
            f"  {'size':<24}{after / 1e6:.2f} MB, in float32 {before / 1e6:.2f} MB",
        ]


def write_int8(
    graph: FloatGraph,
    path: Path,
    inputs: Callable[[], Iterable[np.ndarray]],
    measured: Callable[[], Iterable[np.ndarray]] | None,
    model: Run,
    plain_path: Path,
    describe: Callable[[tuple[str, ...]], Quantization],
    say: Callable[[str], None],
) -> Int8Parity:
    """Write `path` with as many layers of `graph` in int8 as it takes to agree with the model.

    First all of them; where that does not do, some of those that hurt the answers most when they alone are in
    int8 are left in float, as few as `_search` finds. Where nothing does, the last try is there.

    Args:
        inputs: gives the views that decide, `[...]` each, each time the same ones.
        measured: gives others, on which the layers are ranked; None = none are at hand, and one try is all.
        model, plain_path: the model in float32, and its float32 file.
        describe: what is said of a file with these layers in float.
        say: takes lines on how it goes.

    Raises `DataError` without inputs.
    """
    expected = np.array([model(view[None])[0] for view in inputs()])
    if not len(expected):
        raise DataError("there is no clip to check the file on")
    rounds: list[tuple[int, float]] = []

    def write(left: tuple[str, ...]) -> None:
        graph.write(path, [name for name in graph.layers if name not in left])

    def attempt(left: tuple[str, ...]) -> _Try:
        write(left)
        run = open_session(path, ONNX.name)
        answers = np.array([run(view[None])[0] for view in inputs()])
        agreement = float((expected.argmax(1) == answers.argmax(1)).mean())
        tried = _Try(left, answers, agreement, bool(np.isfinite(answers).all()))
        rounds.append((len(left), agreement))
        if left or not tried.does:
            say(f"with {plural(len(left), 'layer')} left in float: {agreement:.1%} agree")
        return tried

    found = attempt(())
    if not found.does and measured is not None:
        worst = _worst_first(graph, path.with_name("layer.onnx"), measured, plain_path, say)
        found = _search(lambda count: attempt(worst[:count]), len(worst), found, say)
    if rounds[-1][0] != len(found.left):
        write(found.left)
    run = open_session(path, ONNX.name)
    some = list(islice(inputs(), _TIMED))
    alike = [view for view in some if view.shape == some[0].shape][:BATCH]
    together = None
    if len(alike) > 1:
        alone = np.concatenate([run(view[None]) for view in alike])
        together = float(np.abs(run(np.stack(alike)) - alone).max())
    return Int8Parity(
        len(expected),
        found.agreement,
        float(np.abs(expected - found.answers).max()),
        float(np.abs(expected).max()),
        together,
        _seconds_in_turn([model, open_session(plain_path, ONNX.name), run], some),
        (plain_path.stat().st_size, path.stat().st_size),
        found.finite,
        describe(found.left),
        tuple(rounds),
    )


@dataclass(frozen=True)
class _Try:
    """A file with the layers `left` in float: its answers `[N, K]`, and the share of views that agree."""

    left: tuple[str, ...]
    answers: np.ndarray
    agreement: float
    finite: bool

    @property
    def does(self) -> bool:
        return self.finite and self.agreement >= LEAST_AGREEMENT


def _search(
    attempt: Callable[[int], _Try], layers: int, found: _Try, say: Callable[[str], None]
) -> _Try:
    """The try with the fewest of the ranked layers in float that does; where none does, the last one.

    1, 2, 4, 8, ... are tried until one does, all but one at the last; then half-way between that and the one
    before, again and again. That is 2 log2(layers) tries at the most. More layers in float need not agree
    better, so a smaller number that was not tried could do by chance.

    attempt: tries so many layers. found: the try with none, which did not do.
    """
    fails = 0
    while not found.does:
        if fails >= layers - 1:
            return found
        enough = min(max(2 * fails, 1), layers - 1)
        found = attempt(enough)
        if not found.does:
            fails = enough
    if enough - fails > 1:
        say(f"fewer are looked for, between {fails} and {enough}")
    while enough - fails > 1:
        middle = (fails + enough) // 2
        tried = attempt(middle)
        if tried.does:
            found, enough = tried, middle
        else:
            fails = middle
    return found


def _worst_first(
    graph: FloatGraph,
    path: Path,
    measured: Callable[[], Iterable[np.ndarray]],
    plain_path: Path,
    say: Callable[[str], None],
) -> tuple[str, ...]:
    """The layers by how much they hurt the answers, the worst first; path: for files of single layers."""
    clips = [view[None] for view in islice(measured(), MEASURED)]
    say(
        f"each of {plural(len(graph.layers), 'layer')} alone in int8, on {plural(len(clips), 'clip')}"
    )
    plain = open_session(plain_path, ONNX.name)
    damage = layer_damage(graph, path, clips, [plain(clip) for clip in clips])
    worst = sorted(damage, key=lambda name: -damage[name])
    say(f"the answers are hurt most by {name_some(worst)}")
    return tuple(worst)


def layer_damage(
    graph: FloatGraph, path: Path, clips: Sequence[np.ndarray], expected: Sequence[np.ndarray]
) -> dict[str, float]:
    """{layer: root mean square of the change of the outputs on `clips` when it alone is in int8}.

    path: for the file of a layer, which is written over. expected: what the float32 file gives for `clips`.
    """
    damage = {}
    for name in graph.layers:
        graph.write(path, [name])
        run = open_session(path, ONNX.name)
        changes = [run(clip) - own for clip, own in zip(clips, expected, strict=True)]
        damage[name] = float(np.sqrt(np.mean(np.square(changes))))
    return damage


def _seconds_in_turn(runs: Sequence[Run], views: Sequence[np.ndarray]) -> Any:
    """The median time of one view by each of the `runs`, which take turns."""
    times: list[list[float]] = [[] for _ in runs]
    for view in views:
        for run, taken in zip(runs, times, strict=True):
            run(view[None])  # the threads of the one before still spin for a while
            begin = time.perf_counter()
            run(view[None])
            taken.append(time.perf_counter() - begin)
    return tuple(median(taken) for taken in times)
