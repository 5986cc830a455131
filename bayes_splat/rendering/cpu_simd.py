"""Sixteen float32 lanes as a number type of numba: the vector tricks of the CPU engine.

Why a type of our own: LLVM does not vectorise the backward loop by itself, because it cannot prove
that the running sums do not overlap the planes of a tile (measured: seven times slower). With
``<16 x float>`` as a type, kernels are written as if for one number. LLVM makes of an operation one
instruction with AVX-512, two with AVX2, four with SSE or NEON.

Arithmetic is plain IEEE: nothing is contracted or reordered behind the source. Where a fused
multiply-add is wanted it is written ``fma``.
"""

# mypy: disable-error-code="no-untyped-call, untyped-decorator"
import operator
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import lower_builtin, models, register_model

from bayes_splat.rendering.cpu_compile import operation

LANES = 16

_FLOAT = ir.FloatType()
INT = ir.IntType(32)
VECTOR = ir.VectorType(_FLOAT, LANES)
INTEGERS = ir.VectorType(INT, LANES)
_BITS = ir.VectorType(ir.IntType(1), LANES)


class VectorType(types.Type):
    """Sixteen float32 numbers."""

    def __init__(self) -> None:
        super().__init__(name="float32x16")


class MaskType(types.Type):
    """Sixteen truth values."""

    def __init__(self) -> None:
        super().__init__(name="mask16")


vector = VectorType()
mask = MaskType()


@register_model(VectorType)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Any) -> None:
        super().__init__(dmm, fe_type, VECTOR)


@register_model(MaskType)
class _MaskModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Any) -> None:
        super().__init__(dmm, fe_type, _BITS)


def _splat(builder: Any, scalar: Any) -> Any:
    kind = ir.VectorType(scalar.type, LANES)
    one = builder.insert_element(ir.Constant(kind, ir.Undefined), scalar, ir.Constant(INT, 0))
    return builder.shuffle_vector(
        one, ir.Constant(kind, ir.Undefined), ir.Constant(INTEGERS, [0] * LANES)
    )


def _widen(context: Any, builder: Any, kind: Any, value: Any) -> Any:
    """A scalar repeated in every lane; a vector as it is."""
    if kind == vector:
        return value
    return _splat(builder, context.cast(builder, value, kind, types.float32))


def _call(builder: Any, name: str, args: Any) -> Any:
    """An operation that LLVM has for vectors under the name of a function."""
    kind = ir.FunctionType(VECTOR, [VECTOR] * len(args))
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.{name}.v16f32")
    return builder.call(function, args)


def define_operators(kind: Any, truth: Any, widen: Any) -> None:
    """Teach numba arithmetic and comparisons of a type of lanes, also with scalars.

    Args:
        kind: the type of the lanes.
        truth: the type of as many truth values.
        widen: (context, builder, type, value) to lanes; repeats a scalar.
    """

    def define(python_operator: Any, result: Any, emit: Any) -> None:
        class Template(AbstractTemplate):
            key = python_operator

            def generic(self, args: Any, kws: Any) -> Any:
                is_mine = len(args) == 2 and kind in args
                if not is_mine or not all(a == kind or isinstance(a, types.Number) for a in args):
                    return None
                return signature(result, *args)

        infer_global(python_operator)(Template)

        def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            left, right = (
                widen(context, builder, k, v) for k, v in zip(sig.args, args, strict=True)
            )
            return emit(builder, left, right)

        own = type(kind)
        for pair in ((own, own), (own, types.Number), (types.Number, own)):
            lower_builtin(python_operator, *pair)(lower)

    def define_on_truth(python_operator: Any, emit: Any) -> None:
        class Template(AbstractTemplate):
            key = python_operator

            def generic(self, args: Any, kws: Any) -> Any:
                return signature(truth, truth, truth) if tuple(args) == (truth, truth) else None

        infer_global(python_operator)(Template)

        def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            return emit(builder, *args)

        lower_builtin(python_operator, type(truth), type(truth))(lower)

    class Negative(AbstractTemplate):
        key = operator.neg

        def generic(self, args: Any, kws: Any) -> Any:
            return signature(kind, kind) if tuple(args) == (kind,) else None

    def negate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.fneg(args[0])

    infer_global(operator.neg)(Negative)
    lower_builtin(operator.neg, type(kind))(negate)
    define(operator.add, kind, lambda b, x, y: b.fadd(x, y))
    define(operator.sub, kind, lambda b, x, y: b.fsub(x, y))
    define(operator.mul, kind, lambda b, x, y: b.fmul(x, y))
    define(operator.truediv, kind, lambda b, x, y: b.fdiv(x, y))
    define(operator.le, truth, lambda b, x, y: b.fcmp_ordered("<=", x, y))
    define(operator.lt, truth, lambda b, x, y: b.fcmp_ordered("<", x, y))
    define(operator.ge, truth, lambda b, x, y: b.fcmp_ordered(">=", x, y))
    define(operator.gt, truth, lambda b, x, y: b.fcmp_ordered(">", x, y))
    define_on_truth(operator.and_, lambda b, x, y: b.and_(x, y))
    define_on_truth(operator.or_, lambda b, x, y: b.or_(x, y))


define_operators(vector, mask, _widen)


@operation
def broadcast(typingctx: Any, value: Any) -> Any:
    """The same number in every lane."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _widen(context, builder, sig.args[0], args[0])

    return vector(value), codegen


@operation
def fma(typingctx: Any, a: Any, b: Any, c: Any) -> Any:
    """a * b + c, rounded once; scalars are repeated."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        wide = [_widen(context, builder, k, v) for k, v in zip(sig.args, args, strict=True)]
        return _call(builder, "fma", wide)

    return vector(a, b, c), codegen


@operation
def divide(typingctx: Any, a: Any, b: Any) -> Any:
    """a / b through an estimated reciprocal and one Newton step: a few units in the last place."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        wide = [_widen(context, builder, k, v) for k, v in zip(sig.args, args, strict=True)]
        return builder.fdiv(*wide, flags=("fast",))

    return vector(a, b), codegen


@operation
def minimum(typingctx: Any, a: Any, b: Any) -> Any:
    """a where a < b, else b: the second where either is NaN."""
    return vector(a, b), _choose("<")


@operation
def maximum(typingctx: Any, a: Any, b: Any) -> Any:
    """a where a > b, else b: the second where either is NaN."""
    return vector(a, b), _choose(">")


def _choose(comparison: str) -> Any:
    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        a, b = (_widen(context, builder, k, v) for k, v in zip(sig.args, args, strict=True))
        return builder.select(builder.fcmp_ordered(comparison, a, b), a, b)

    return codegen


@operation
def select(typingctx: Any, condition: Any, a: Any, b: Any) -> Any:
    """a where the condition holds, else b."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        _, left, right = (
            (k, v) if k == mask else _widen(context, builder, k, v)
            for k, v in zip(sig.args, args, strict=True)
        )
        return builder.select(args[0], left, right)

    return vector(condition, a, b), codegen


@operation
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


@operation
def square_root(typingctx: Any, a: Any) -> Any:
    return vector(a), _unary("sqrt")


@operation
def floor(typingctx: Any, a: Any) -> Any:
    return vector(a), _unary("floor")


@operation
def ceil(typingctx: Any, a: Any) -> Any:
    return vector(a), _unary("ceil")


@operation
def magnitude(typingctx: Any, a: Any) -> Any:
    return vector(a), _unary("fabs")


ROUNDER = 1.5 * 2.0**23
"""Added to a float of moderate size, it leaves the nearest whole number in the lowest bits."""


@operation
def times_power_of_two(typingctx: Any, a: Any, rounded: Any) -> Any:
    """a * 2**n where ``rounded`` is n + ROUNDER, by adding n to the exponent bits of a."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        bits = builder.bitcast(args[1], INTEGERS)
        shifted = builder.shl(bits, ir.Constant(INTEGERS, [23] * LANES))
        total = builder.add(builder.bitcast(args[0], INTEGERS), shifted)
        return builder.bitcast(total, VECTOR)

    return vector(a, rounded), codegen


@operation
def exponent_of(typingctx: Any, a: Any) -> Any:
    """The whole number n with 2**n <= a < 2**(n + 1), for normal positive numbers."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        bits = builder.lshr(builder.bitcast(args[0], INTEGERS), ir.Constant(INTEGERS, [23] * LANES))
        return builder.sitofp(builder.sub(bits, ir.Constant(INTEGERS, [127] * LANES)), VECTOR)

    return vector(a), codegen


@operation
def mantissa_of(typingctx: Any, a: Any) -> Any:
    """a / 2**exponent_of(a), in [1, 2)."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        bits = builder.bitcast(args[0], INTEGERS)
        kept = builder.and_(bits, ir.Constant(INTEGERS, [0x7FFFFF] * LANES))
        one = ir.Constant(INTEGERS, [0x3F800000] * LANES)
        return builder.bitcast(builder.or_(kept, one), VECTOR)

    return vector(a), codegen


def _constant(values: list[float]) -> Any:
    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return ir.Constant(VECTOR, values)

    return codegen


@operation
def lane_numbers(typingctx: Any) -> Any:
    """0, 1, 2, ..., 15."""
    return vector(), _constant([float(lane) for lane in range(LANES)])


@operation
def lane_columns(typingctx: Any) -> Any:
    """0, 0, 1, 1, ..., 7, 7: the column of a lane in a block of eight columns and two rows."""
    return vector(), _constant([float(lane // 2) for lane in range(LANES)])


@operation
def lane_rows(typingctx: Any) -> Any:
    """0, 1, 0, 1, ...: the row of a lane in a block of eight columns and two rows."""
    return vector(), _constant([float(lane % 2) for lane in range(LANES)])
