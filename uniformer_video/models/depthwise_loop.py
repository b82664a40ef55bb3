"""The gradient of a depthwise convolution for its weight, in vector instructions that numba compiles.

Each number that is read is good for a few products, so the sums must stay in registers: in memory, where they
are read and written for each product, all takes three times as long. The compiler does not do that of itself
for plain loops over places, taps and channels. So `add_row` writes the instructions of one row in LLVM's own
form, and plain loops are around it. bfloat16 is widened as it is read, for which two instructions do.

LLVM is the compiler below numba. `add_row` is an intrinsic: what is called in a function that numba compiles
puts LLVM's instructions there by a `builder`, each of whose methods adds one of them and returns its result
(not a number, but the name of one). A Python loop there writes its body several times; a loop in what is
compiled is `cgutils.for_range_slice`.

Imported where it is used, since numba is optional (the extra `fast`).
"""

import functools
import logging
import threading
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from uniformer_video.words import one_line

# Channels that are computed together: one register of AVX-512, two of AVX2. With five taps the sums find room
# in either, and are enough for one addition not to wait for another. 8 are slower, 32 no faster.
LANES = 16

log = logging.getLogger(__name__)


@intrinsic
def add_row(
    typingctx: Any,
    tokens: Any,
    token: Any,
    gradient: Any,
    place: Any,
    sums: Any,
    tap: Any,
    width: Any,
    channels: Any,
    shifts: Any,
) -> tuple[Any, Callable[..., Any]]:
    """Add to `sums` what a row of the gradient and one of the tokens make of a row of the kernel.

    For `LANES` channels, c, and with p = len(shifts) // 2, zeros outside of 0 .. width - 1:

        sums[tap + k * channels + c] +=
            sum over w of gradient[place + w * channels + c] * tokens[token + (w + k - p) * channels + c]

    tokens, gradient, sums: flat arrays; of type uint16 the first two hold the bits of bfloat16. token, place,
    tap: where the rows begin there. width: places of a row, at least 2 * p. shifts: a tuple as long as the
    kernel's row; its length, a part of its type, is known when this is compiled.
    """
    types_of_all = (tokens, token, gradient, place, sums, tap, width, channels, shifts)
    return types.void(*types_of_all), _row_in_instructions


def _row_in_instructions(context: Any, builder: Any, signature: Any, values: Any) -> Any:
    """What `add_row` becomes: written once for each place of the margins, as a loop for those between.

    context: numba's knowledge of how its types lie in memory. signature: the types of the `values`.
    """
    tokens_type, _, gradient_type, _, sums_type, *_, shifts_type = signature.args
    tokens, token, gradient, place, sums, tap, width, channels, _ = values
    taps, middle = len(shifts_type), len(shifts_type) // 2
    number = context.get_value_type(sums_type.dtype)
    vector = ir.VectorType(number, LANES)
    # A vector begins at any number of an array; without this LLVM would count on multiples of a whole vector.
    alignment = context.get_abi_sizeof(number)

    def address_in(array_type: Any, array: Any, first: Any) -> Any:
        """The address of the number `first` of a flat array."""
        numbers = context.make_array(array_type)(context, builder, array).data
        return builder.gep(numbers, [first])  # an address and how many numbers further on, added

    def vector_at(row: Any, index: Any, of: Any = vector) -> Any:
        """The address of the channels of the `index`-th place, or tap, of a row, as that of a vector."""
        first = builder.gep(row, [builder.mul(index, channels)])
        return builder.bitcast(first, of.as_pointer())

    def read(array_type: Any, row: Any, index: Any) -> Any:
        """The channels of the `index`-th place of a row, a vector in the type of the sums."""
        if array_type.dtype != types.uint16:
            return builder.load(vector_at(row, index), align=alignment)
        half, full = (ir.VectorType(ir.IntType(bits), LANES) for bits in (16, 32))
        upper = builder.load(vector_at(row, index, half), align=2)
        # bfloat16 is the upper half of a float32
        wide = builder.shl(builder.zext(upper, full), ir.Constant(full, [16] * LANES))
        return builder.bitcast(wide, vector)

    def constant(value: int) -> Any:
        return ir.Constant(channels.type, value)

    token_row = address_in(tokens_type, tokens, token)
    gradient_row = address_in(gradient_type, gradient, place)
    sums_row = address_in(sums_type, sums, tap)
    # A variable for each tap, that begins with its sum. LLVM keeps it in a register, as only loads and stores
    # know its address.
    totals = [
        cgutils.alloca_once_value(builder, read(sums_type, sums_row, constant(k)))
        for k in range(taps)
    ]

    def add_place(w: Any, inside: range) -> None:
        """The products of place `w` of the gradient with tokens of the row, those of the taps `inside`."""
        factor = read(gradient_type, gradient_row, w)
        for k in inside:
            other = read(tokens_type, token_row, builder.add(w, constant(k - middle)))
            # "contract" lets LLVM make one instruction of both, a product that is added.
            product = builder.fmul(factor, other, flags=["contract"])
            total = builder.fadd(builder.load(totals[k]), product, flags=["contract"])
            builder.store(total, totals[k])

    for w in range(middle):
        add_place(constant(w), range(middle - w, taps))
    last = builder.sub(width, constant(middle))
    between = (constant(middle), last, constant(1))
    with cgutils.for_range_slice(builder, *between, inc=True) as (w, _):
        add_place(w, range(taps))
    for behind in range(middle):
        add_place(builder.add(last, constant(behind)), range(taps - 1 - behind))
    for k, total in enumerate(totals):
        builder.store(builder.load(total), vector_at(sums_row, constant(k)), align=alignment)
    return context.get_dummy_value()  # None


def _add_rows(
    tokens: Any, gradient: Any, grid: Any, rows: Any, shifts: Any, of_frame: Any, sums: Any
) -> None:
    """Add to `sums` `[KT, KH, KW, C]`, float64, the products of some rows of a gradient with tokens.

    Only places inside of the grid are multiplied, none with a zero around it: what is not finite stays with
    its own taps.

    tokens, gradient: `[B, T, H, W, C]`, flat, as of `add_row`. C: a multiple of `LANES`. grid: (T, H, W).
    rows: the first of the B * T * H rows, and the one behind the last. shifts: a tuple of KW. of_frame: as
    `sums`, zeros; the sum of a frame, of the type in which products are made.
    """
    times, height, width = grid
    deep, high, taps, channels = sums.shape
    row, middle = width * channels, taps // 2
    flat, total = of_frame.reshape(-1), sums.reshape(-1)
    for r in range(rows[0], rows[1]):
        h, t = r % height, r // height % times
        for i in range(max(0, deep // 2 - t), min(deep, times + deep // 2 - t)):
            for j in range(max(0, high // 2 - h), min(high, height + high // 2 - h)):
                token = (r + (i - deep // 2) * height + j - high // 2) * row
                tap = (i * high + j) * taps * channels
                for c in range(0, channels, LANES):
                    if width >= 2 * middle:
                        add_row(
                            tokens,
                            token + c,
                            gradient,
                            r * row + c,
                            flat,
                            tap + c,
                            width,
                            channels,
                            shifts,
                        )
                        continue
                    for k in range(taps):  # each as a kernel of one tap, over the places it has
                        first, end = max(0, middle - k), min(width, width + middle - k)
                        if first < end:
                            add_row(
                                tokens,
                                token + (first + k - middle) * channels + c,
                                gradient,
                                r * row + first * channels + c,
                                flat,
                                tap + k * channels + c,
                                end - first,
                                channels,
                                (0,),
                            )
        if h == height - 1 or r == rows[1] - 1:
            for n in range(len(flat)):
                total[n] += flat[n]
                flat[n] = 0


def _compiled(function: Callable[..., None]) -> Callable[..., None]:
    """Compiled when first called, kept on the disk where that is possible; other threads run meanwhile.

    A folder that fails later, as on a full disk or with a torn file, costs a warning and another compilation.
    """
    compile_it = functools.partial(njit, nogil=True, error_model="numpy")
    unkept = compile_it(function)
    try:
        kept = compile_it(function, cache=True)
    except RuntimeError:  # no folder may be written
        return unkept
    lock, failed = threading.Lock(), threading.Event()

    def call(*arguments: Any) -> None:
        if not failed.is_set():
            try:
                return kept(*arguments)
            except (
                Exception
            ) as error:  # of files, of what they hold: many kinds; nothing was added yet
                cause = error
        unkept(*arguments)  # raises, too, where the folder is not the cause
        with lock:
            if not failed.is_set():
                failed.set()
                _say_unkept(kept.stats.cache_path, cause)

    return call


def _say_unkept(folder: str, error: Exception) -> None:
    log.warning(
        "Compiled loops cannot be kept in %s, and are compiled again by each process (%s); delete that "
        "folder, or name another one by NUMBA_CACHE_DIR.",
        folder,
        one_line(error),
    )


add_rows = _compiled(_add_rows)
