"""Sixteen float32 lanes as a number type of numba: the vector tricks of the CPU engine.

Why a type of our own: LLVM does not vectorise the backward loop by itself, because it cannot prove
that the running sums do not overlap the planes of a tile (measured: seven times slower). With
``<16 x float>`` as a type, kernels are written as if for one number. A machine with AVX-512 runs one
instruction an operation, with AVX2 two, with SSE or NEON four; LLVM splits them.

Arithmetic is plain IEEE: nothing is contracted or reordered behind the source. Where a fused
multiply-add is wanted it is written ``fma``.
"""

import operator
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model

LANES = 16

_FLOAT = ir.FloatType()
_INT = ir.IntType(32)
_VECTOR = ir.VectorType(_FLOAT, LANES)
_INTEGERS = ir.VectorType(_INT, LANES)
_BITS = ir.VectorType(ir.IntType(1), LANES)


class VectorType(types.Type):  # type: ignore[misc]
    """Sixteen float32 numbers."""

    def __init__(self) -> None:
        super().__init__(name="float32x16")


class MaskType(types.Type):  # type: ignore[misc]
    """Sixteen truth values."""

    def __init__(self) -> None:
        super().__init__(name="mask16")


vector = VectorType()
mask = MaskType()


@register_model(VectorType)
class _VectorModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, dmm: Any, fe_type: Any) -> None:
        super().__init__(dmm, fe_type, _VECTOR)


@register_model(MaskType)
class _MaskModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, dmm: Any, fe_type: Any) -> None:
        super().__init__(dmm, fe_type, _BITS)


def _splat(builder: Any, scalar: Any) -> Any:
    kind = ir.VectorType(scalar.type, LANES)
    one = builder.insert_element(ir.Constant(kind, ir.Undefined), scalar, ir.Constant(_INT, 0))
    return builder.shuffle_vector(
        one, ir.Constant(kind, ir.Undefined), ir.Constant(_INTEGERS, [0] * LANES)
    )


def _widen(context: Any, builder: Any, kind: Any, value: Any) -> Any:
    """A scalar repeated in every lane; a vector as it is."""
    if kind == vector:
        return value
    return _splat(builder, context.cast(builder, value, kind, types.float32))


def _call(builder: Any, name: str, args: Any) -> Any:
    """An operation that LLVM has for vectors under the name of a function."""
    kind = ir.FunctionType(_VECTOR, [_VECTOR] * len(args))
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.{name}.v16f32")
    return builder.call(function, args)


def _is_lanewise(args: Any) -> bool:
    return vector in args and all(a == vector or isinstance(a, types.Number) for a in args)


_PAIRS = (
    (VectorType, VectorType),
    (VectorType, types.Number),
    (types.Number, VectorType),
)


def _define(python_operator: Any, result: Any, emit: Any) -> None:
    """Teach numba one binary operator on vectors, or on a vector and a scalar."""

    class Template(AbstractTemplate):  # type: ignore[misc]
        key = python_operator

        def generic(self, args: Any, kws: Any) -> Any:
            return signature(result, *args) if len(args) == 2 and _is_lanewise(args) else None

    infer_global(python_operator)(Template)

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        left, right = (_widen(context, builder, k, v) for k, v in zip(sig.args, args, strict=True))
        return emit(builder, left, right)

    for pair in _PAIRS:
        lower_builtin(python_operator, *pair)(lower)


_define(operator.add, vector, lambda b, x, y: b.fadd(x, y))
_define(operator.sub, vector, lambda b, x, y: b.fsub(x, y))
_define(operator.mul, vector, lambda b, x, y: b.fmul(x, y))
_define(operator.truediv, vector, lambda b, x, y: b.fdiv(x, y))
_define(operator.le, mask, lambda b, x, y: b.fcmp_ordered("<=", x, y))
_define(operator.lt, mask, lambda b, x, y: b.fcmp_ordered("<", x, y))
_define(operator.ge, mask, lambda b, x, y: b.fcmp_ordered(">=", x, y))
_define(operator.gt, mask, lambda b, x, y: b.fcmp_ordered(">", x, y))


def _define_on_masks(python_operator: Any, emit: Any) -> None:
    class Template(AbstractTemplate):  # type: ignore[misc]
        key = python_operator

        def generic(self, args: Any, kws: Any) -> Any:
            return signature(mask, mask, mask) if tuple(args) == (mask, mask) else None

    infer_global(python_operator)(Template)

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return emit(builder, *args)

    lower_builtin(python_operator, MaskType, MaskType)(lower)


_define_on_masks(operator.and_, lambda b, x, y: b.and_(x, y))
_define_on_masks(operator.or_, lambda b, x, y: b.or_(x, y))


@infer_global(operator.neg)
class _NegTemplate(AbstractTemplate):  # type: ignore[misc]
    def generic(self, args: Any, kws: Any) -> Any:
        return signature(vector, vector) if tuple(args) == (vector,) else None


@lower_builtin(operator.neg, VectorType)
def _neg(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return builder.fneg(args[0])


@intrinsic
def broadcast(typingctx: Any, value: Any) -> Any:
    """The same number in every lane."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _widen(context, builder, sig.args[0], args[0])

    return vector(value), codegen


@intrinsic
def fma(typingctx: Any, a: Any, b: Any, c: Any) -> Any:
    """a * b + c, rounded once; scalars are repeated."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        wide = [_widen(context, builder, k, v) for k, v in zip(sig.args, args, strict=True)]
        return _call(builder, "fma", wide)

    return vector(a, b, c), codegen


@intrinsic
def divide(typingctx: Any, a: Any, b: Any) -> Any:
    """a / b through an estimated reciprocal and one Newton step: a few units in the last place."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        wide = [_widen(context, builder, k, v) for k, v in zip(sig.args, args, strict=True)]
        return builder.fdiv(*wide, flags=("fast",))

    return vector(a, b), codegen


@intrinsic
def minimum(typingctx: Any, a: Any, b: Any) -> Any:
    """a where a < b, else b: the second where either is NaN."""
    return vector(a, b), _choose("<")


@intrinsic
def maximum(typingctx: Any, a: Any, b: Any) -> Any:
    """a where a > b, else b: the second where either is NaN."""
    return vector(a, b), _choose(">")


def _choose(comparison: str) -> Any:
    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        a, b = (_widen(context, builder, k, v) for k, v in zip(sig.args, args, strict=True))
        return builder.select(builder.fcmp_ordered(comparison, a, b), a, b)

    return codegen


@intrinsic
def select(typingctx: Any, condition: Any, a: Any, b: Any) -> Any:
    """a where the condition holds, else b."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        _, left, right = (
            (k, v) if k == mask else _widen(context, builder, k, v)
            for k, v in zip(sig.args, args, strict=True)
        )
        return builder.select(args[0], left, right)

    return vector(condition, a, b), codegen


@intrinsic
def any_lane(typingctx: Any, condition: Any) -> Any:
    """Whether the condition holds in some lane."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        bits = builder.bitcast(args[0], ir.IntType(LANES))
        return builder.icmp_unsigned("!=", bits, ir.Constant(ir.IntType(LANES), 0))

    return types.boolean(condition), codegen


def _unary(name: str) -> Any:
    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _call(builder, name, args)

    return codegen


@intrinsic
def square_root(typingctx: Any, a: Any) -> Any:
    return vector(a), _unary("sqrt")


@intrinsic
def floor(typingctx: Any, a: Any) -> Any:
    return vector(a), _unary("floor")


@intrinsic
def ceil(typingctx: Any, a: Any) -> Any:
    return vector(a), _unary("ceil")


@intrinsic
def magnitude(typingctx: Any, a: Any) -> Any:
    return vector(a), _unary("fabs")


ROUNDER = 1.5 * 2.0**23
"""Added to a float of moderate size, it leaves the nearest whole number in the lowest bits."""


@intrinsic
def times_power_of_two(typingctx: Any, a: Any, rounded: Any) -> Any:
    """a * 2**n where ``rounded`` is n + ROUNDER, by adding n to the exponent bits of a."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        bits = builder.bitcast(args[1], _INTEGERS)
        shifted = builder.shl(bits, ir.Constant(_INTEGERS, [23] * LANES))
        total = builder.add(builder.bitcast(args[0], _INTEGERS), shifted)
        return builder.bitcast(total, _VECTOR)

    return vector(a, rounded), codegen


def _constant(values: list[float]) -> Any:
    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return ir.Constant(_VECTOR, values)

    return codegen


@intrinsic
def lane_numbers(typingctx: Any) -> Any:
    """0, 1, 2, ..., 15."""
    return vector(), _constant([float(lane) for lane in range(LANES)])


@intrinsic
def lane_columns(typingctx: Any) -> Any:
    """0, 0, 1, 1, ..., 7, 7: the column of a lane in a block of eight columns and two rows."""
    return vector(), _constant([float(lane // 2) for lane in range(LANES)])


@intrinsic
def lane_rows(typingctx: Any) -> Any:
    """0, 1, 0, 1, ...: the row of a lane in a block of eight columns and two rows."""
    return vector(), _constant([float(lane % 2) for lane in range(LANES)])


def _address(context: Any, builder: Any, kind: Any, array: Any, index: Any) -> Any:
    data = context.make_array(kind)(context, builder, value=array).data
    return builder.gep(data, [index])


def _to_intp(context: Any, builder: Any, sig: Any, args: Any, position: int) -> Any:
    return context.cast(builder, args[position], sig.args[position], types.intp)


@intrinsic
def load(typingctx: Any, array: Any, first: Any) -> Any:
    """Sixteen neighbours of a flat float32 array. No bounds are checked, here and below."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        index = _to_intp(context, builder, sig, args, 1)
        pointer = _address(context, builder, sig.args[0], args[0], index)
        return builder.load(builder.bitcast(pointer, _VECTOR.as_pointer()), align=4)

    return vector(array, first), codegen


@intrinsic
def store(typingctx: Any, array: Any, first: Any, value: Any) -> Any:
    """Write sixteen neighbours of a flat float32 array."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        index = _to_intp(context, builder, sig, args, 1)
        pointer = _address(context, builder, sig.args[0], args[0], index)
        builder.store(args[2], builder.bitcast(pointer, _VECTOR.as_pointer()), align=4)
        return context.get_dummy_value()

    return types.void(array, first, value), codegen


@intrinsic
def fetch(typingctx: Any, array: Any, index: Any) -> Any:
    """One element; unlike ``array[index]`` without the test for a negative index."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        at = _to_intp(context, builder, sig, args, 1)
        return builder.load(_address(context, builder, sig.args[0], args[0], at))

    return array.dtype(array, index), codegen


@intrinsic
def load_strided(typingctx: Any, array: Any, first: Any, stride: Any, count: Any) -> Any:
    """array[first + lane * stride], with the last of ``count`` repeated in the lanes after it."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        start, step, size = (_to_intp(context, builder, sig, args, i) for i in (1, 2, 3))
        kind = start.type
        last = builder.sub(size, ir.Constant(kind, 1))
        result = ir.Constant(_VECTOR, ir.Undefined)
        for lane in range(LANES):
            number = ir.Constant(kind, lane)
            number = builder.select(builder.icmp_signed("<", number, last), number, last)
            index = builder.add(start, builder.mul(number, step))
            value = builder.load(_address(context, builder, sig.args[0], args[0], index))
            result = builder.insert_element(result, value, ir.Constant(_INT, lane))
        return result

    return vector(array, first, stride, count), codegen


@intrinsic
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
                builder.store(builder.extract_element(args[4], ir.Constant(_INT, lane)), pointer)
        return context.get_dummy_value()

    return types.void(array, first, stride, count, value), codegen


@intrinsic
def gather(typingctx: Any, array: Any, rows: Any, offset: Any) -> Any:
    """array[rows[lane] + offset] with sixteen row starts in an integer array."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        shift = _to_intp(context, builder, sig, args, 2)
        starts = context.make_array(sig.args[1])(context, builder, value=args[1]).data
        result = ir.Constant(_VECTOR, ir.Undefined)
        for lane in range(LANES):
            start = builder.load(builder.gep(starts, [ir.Constant(_INT, lane)]))
            start = context.cast(builder, start, sig.args[1].dtype, types.intp)
            pointer = _address(context, builder, sig.args[0], args[0], builder.add(start, shift))
            value = builder.load(pointer)
            result = builder.insert_element(result, value, ir.Constant(_INT, lane))
        return result

    return vector(array, rows, offset), codegen


def _swap(builder: Any, a: Any, b: Any, step: int) -> tuple[Any, Any]:
    """One round of a butterfly: exchange the lanes of a with bit ``step`` for those of b without."""
    low = [lane if not lane & step else LANES + lane - step for lane in range(LANES)]
    high = [lane + step if not lane & step else LANES + lane for lane in range(LANES)]
    return tuple(
        builder.shuffle_vector(a, b, ir.Constant(_INTEGERS, lanes)) for lanes in (low, high)
    )  # type: ignore[return-value]


def _transposed(builder: Any, rows: list[Any]) -> list[Any]:
    rows = list(rows)
    for step in (1, 2, 4, 8):
        for number in range(LANES):
            if not number & step:
                rows[number], rows[number + step] = _swap(
                    builder, rows[number], rows[number + step], step
                )
    return rows


@intrinsic
def transpose(typingctx: Any, rows: Any) -> Any:
    """A tuple of sixteen vectors as a matrix, transposed: 64 shuffles instead of 256 moves."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        columns = _transposed(builder, cgutils.unpack_tuple(builder, args[0], LANES))
        return context.make_tuple(builder, sig.return_type, columns)

    return rows(rows), codegen


@intrinsic
def lane_sums(typingctx: Any, rows: Any) -> Any:
    """Lane i of the result is the sum over the lanes of the i-th vector of a tuple (zeros beyond).

    The sums share one tree of additions, half as wide in every round: about three operations a
    vector, where adding up the lanes of each on its own takes eight.
    """

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        size = len(sig.args[0])
        zero = ir.Constant(_VECTOR, [0.0] * LANES)
        level: list[Any] = cgutils.unpack_tuple(builder, args[0], size)
        level += [None] * (LANES - size)  # None: all zero, so nothing is emitted for it
        step = 1
        while len(level) > 1:
            merged = []
            for left, right in zip(level[::2], level[1::2], strict=True):
                if left is None:
                    merged.append(None)
                    continue
                low, high = _swap(builder, left, zero if right is None else right, step)
                merged.append(builder.fadd(low, high))
            level, step = merged, 2 * step
        return level[0]

    return vector(rows), codegen
