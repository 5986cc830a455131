"""Sixteen lanes in and out of memory, and among each other. No bounds are checked."""

# mypy: disable-error-code="no-untyped-call"
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types

from bayes_splat.rendering.cpu_compile import operation
from bayes_splat.rendering.cpu_simd import INT, INTEGERS, LANES, VECTOR, vector


def _address(context: Any, builder: Any, kind: Any, array: Any, index: Any) -> Any:
    data = context.make_array(kind)(context, builder, value=array).data
    return builder.gep(data, [index])


def _to_intp(context: Any, builder: Any, sig: Any, args: Any, position: int) -> Any:
    return context.cast(builder, args[position], sig.args[position], types.intp)


@operation
def load(typingctx: Any, array: Any, first: Any) -> Any:
    """Sixteen neighbours of a flat float32 array. No bounds are checked, here and below."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        index = _to_intp(context, builder, sig, args, 1)
        pointer = _address(context, builder, sig.args[0], args[0], index)
        return builder.load(builder.bitcast(pointer, VECTOR.as_pointer()), align=4)

    return vector(array, first), codegen


@operation
def store(typingctx: Any, array: Any, first: Any, value: Any) -> Any:
    """Write sixteen neighbours of a flat float32 array."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        index = _to_intp(context, builder, sig, args, 1)
        pointer = _address(context, builder, sig.args[0], args[0], index)
        builder.store(args[2], builder.bitcast(pointer, VECTOR.as_pointer()), align=4)
        return context.get_dummy_value()

    return types.void(array, first, value), codegen


@operation
def fetch(typingctx: Any, array: Any, index: Any) -> Any:
    """One element; unlike ``array[index]`` without the test for a negative index."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        at = _to_intp(context, builder, sig, args, 1)
        return builder.load(_address(context, builder, sig.args[0], args[0], at))

    return array.dtype(array, index), codegen


@operation
def load_strided(typingctx: Any, array: Any, first: Any, stride: Any, count: Any) -> Any:
    """array[first + lane * stride], with the last of ``count`` repeated in the lanes after it."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        start, step, size = (_to_intp(context, builder, sig, args, i) for i in (1, 2, 3))
        kind = start.type
        last = builder.sub(size, ir.Constant(kind, 1))
        result = ir.Constant(VECTOR, ir.Undefined)
        for lane in range(LANES):
            number = ir.Constant(kind, lane)
            number = builder.select(builder.icmp_signed("<", number, last), number, last)
            index = builder.add(start, builder.mul(number, step))
            value = builder.load(_address(context, builder, sig.args[0], args[0], index))
            result = builder.insert_element(result, value, ir.Constant(INT, lane))
        return result

    return vector(array, first, stride, count), codegen


@operation
def store_strided(
    typingctx: Any, array: Any, first: Any, stride: Any, count: Any, value: Any
) -> Any:
    """array[first + lane * stride] = value for the first ``count`` lanes."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        start, step, size = (_to_intp(context, builder, sig, args, i) for i in (1, 2, 3))
        kind = start.type
        for lane in range(LANES):
            number = ir.Constant(kind, lane)
            with builder.if_then(builder.icmp_signed("<", number, size)):
                index = builder.add(start, builder.mul(number, step))
                pointer = _address(context, builder, sig.args[0], args[0], index)
                builder.store(builder.extract_element(args[4], ir.Constant(INT, lane)), pointer)
        return context.get_dummy_value()

    return types.void(array, first, stride, count, value), codegen


@operation
def put(typingctx: Any, array: Any, index: Any, value: Any) -> Any:
    """Write one element; unlike ``array[index] = value`` without the test for a negative index."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        at = _to_intp(context, builder, sig, args, 1)
        number = context.cast(builder, args[2], sig.args[2], sig.args[0].dtype)
        builder.store(number, _address(context, builder, sig.args[0], args[0], at))
        return context.get_dummy_value()

    return types.void(array, index, value), codegen


@operation
def prefetch(typingctx: Any, array: Any, index: Any) -> Any:
    """Ask for the cache line of an element that is read soon."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        at = _to_intp(context, builder, sig, args, 1)
        pointer = builder.bitcast(
            _address(context, builder, sig.args[0], args[0], at), ir.IntType(8).as_pointer()
        )
        kind = ir.FunctionType(ir.VoidType(), [pointer.type, INT, INT, INT])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        builder.call(function, [pointer, *(ir.Constant(INT, n) for n in (0, 3, 1))])
        return context.get_dummy_value()

    return types.void(array, index), codegen


@operation
def gather(typingctx: Any, array: Any, rows: Any, offset: Any) -> Any:
    """array[rows[lane] + offset] with sixteen row starts in an integer array."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        shift = _to_intp(context, builder, sig, args, 2)
        starts = context.make_array(sig.args[1])(context, builder, value=args[1]).data
        result = ir.Constant(VECTOR, ir.Undefined)
        for lane in range(LANES):
            start = builder.load(builder.gep(starts, [ir.Constant(INT, lane)]))
            start = context.cast(builder, start, sig.args[1].dtype, types.intp)
            pointer = _address(context, builder, sig.args[0], args[0], builder.add(start, shift))
            value = builder.load(pointer)
            result = builder.insert_element(result, value, ir.Constant(INT, lane))
        return result

    return vector(array, rows, offset), codegen


def _swap(builder: Any, a: Any, b: Any, step: int) -> tuple[Any, Any]:
    """A round of a butterfly: exchange lanes of a with bit ``step`` for those of b without it."""
    low = [lane if not lane & step else LANES + lane - step for lane in range(LANES)]
    high = [lane + step if not lane & step else LANES + lane for lane in range(LANES)]
    return tuple(
        builder.shuffle_vector(a, b, ir.Constant(INTEGERS, lanes)) for lanes in (low, high)
    )


def _transposed(builder: Any, rows: list[Any]) -> list[Any]:
    rows = list(rows)
    for step in (1, 2, 4, 8):
        for number in range(LANES):
            if not number & step:
                rows[number], rows[number + step] = _swap(
                    builder, rows[number], rows[number + step], step
                )
    return rows


@operation
def transpose(typingctx: Any, rows: Any) -> Any:
    """A tuple of sixteen vectors as a matrix, transposed: 64 shuffles instead of 256 moves."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        columns = _transposed(builder, cgutils.unpack_tuple(builder, args[0], LANES))
        return context.make_tuple(builder, sig.return_type, columns)

    return rows(rows), codegen


def _pick(builder: Any, vectors: list[Any], places: list[int]) -> Any:
    """Lanes by their places in several vectors one behind the other."""
    result, *others = vectors
    lanes = [p % LANES for p in places]
    for number, other in enumerate(others, 1):
        lanes = [
            LANES + p % LANES if p // LANES == number else lane
            for p, lane in zip(places, lanes, strict=True)
        ]
        result = builder.shuffle_vector(result, other, ir.Constant(INTEGERS, lanes))
        lanes = list(range(LANES))
    return result


def _rearrange(place: Callable[[int, int, int], int]) -> Any:
    def emit(typingctx: Any, vectors: Any) -> Any:
        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            size = len(sig.args[0])
            given = cgutils.unpack_tuple(builder, args[0], size)
            picked = [
                _pick(builder, given, [place(size, k, lane) for lane in range(LANES)])
                for k in range(size)
            ]
            return context.make_tuple(builder, sig.return_type, picked)

        return vectors(vectors), codegen

    return emit


def _apart(size: int, k: int, lane: int) -> int:
    return size * lane + k


def _together(size: int, k: int, lane: int) -> int:
    number = LANES * k + lane
    return LANES * (number % size) + number // size


deinterleave = operation(_rearrange(_apart))
"""Of a tuple of n vectors, one behind the other: every n-th element, from each of the first n."""

interleave = operation(_rearrange(_together))
"""The inverse of :func:`deinterleave`."""


@operation
def lane_sums(typingctx: Any, rows: Any) -> Any:
    """Lane i of the result is the sum over the lanes of the i-th vector of a tuple (zeros beyond).

    The sums share one tree of additions, half as wide in every round: about three operations a
    vector, where adding up the lanes of each on its own takes eight.
    """

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        size = len(sig.args[0])
        zero = ir.Constant(VECTOR, [0.0] * LANES)
        level: list[Any] = cgutils.unpack_tuple(builder, args[0], size)
        level += [None] * (LANES - size)  # None: all zero, so nothing is emitted for it
        step = 1
        while len(level) > 1:
            merged: list[Any] = []
            for left, right in zip(level[::2], level[1::2], strict=True):
                if left is None:
                    merged.append(None)
                    continue
                low, high = _swap(builder, left, zero if right is None else right, step)
                merged.append(builder.fadd(low, high))
            level, step = merged, 2 * step
        return level[0]

    return vector(rows), codegen
