"""Four float64 lanes: what a pixel carries (light and three channels) in one register."""

# mypy: disable-error-code="no-untyped-call"
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import models, register_model

from bayes_splat.rendering.cpu_compile import operation

_INT = ir.IntType(32)
_DOUBLE = ir.DoubleType()
_QUAD = ir.VectorType(_DOUBLE, 4)
_SINGLES = ir.VectorType(ir.FloatType(), 4)


class QuadType(types.Type):
    """Four float64 numbers."""

    def __init__(self) -> None:
        super().__init__(name="float64x4")


quad = QuadType()


@register_model(QuadType)
class _QuadModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Any) -> None:
        super().__init__(dmm, fe_type, _QUAD)


def _widen(context: Any, builder: Any, kind: Any, value: Any) -> Any:
    """A scalar repeated in every lane; four lanes as they are."""
    if kind == quad:
        return value
    scalar = context.cast(builder, value, kind, types.float64)
    undefined = ir.Constant(_QUAD, ir.Undefined)
    one = builder.insert_element(undefined, scalar, ir.Constant(_INT, 0))
    return builder.shuffle_vector(one, undefined, ir.Constant(ir.VectorType(_INT, 4), [0] * 4))


def _pointer(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    index = context.cast(builder, args[1], sig.args[1], types.intp)
    data = context.make_array(sig.args[0])(context, builder, value=args[0]).data
    wide = _QUAD if sig.args[0].dtype == types.float64 else _SINGLES
    return builder.bitcast(builder.gep(data, [index]), wide.as_pointer())


@operation
def load_quad(typingctx: Any, array: Any, first: Any) -> Any:
    """Four neighbours of a flat array of float64 or float32. No bounds are checked."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        value = builder.load(_pointer(context, builder, sig, args), align=4)
        return value if value.type == _QUAD else builder.fpext(value, _QUAD)

    return quad(array, first), codegen


@operation
def store_quad(typingctx: Any, array: Any, first: Any, value: Any) -> Any:
    """Write four neighbours of a flat array, rounded to its precision."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointer = _pointer(context, builder, sig, args)
        value = args[2]
        if sig.args[0].dtype != types.float64:
            value = builder.fptrunc(value, _SINGLES)
        builder.store(value, pointer, align=4)
        return context.get_dummy_value()

    return types.void(array, first, value), codegen


@operation
def multiply_add(typingctx: Any, a: Any, b: Any, c: Any) -> Any:
    """a * b + c, rounded once; scalars are repeated."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        wide = [_widen(context, builder, k, v) for k, v in zip(sig.args, args, strict=True)]
        kind = ir.FunctionType(_QUAD, [_QUAD] * 3)
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.fma.v4f64")
        return builder.call(function, wide)

    return quad(a, b, c), codegen


@operation
def subtract(typingctx: Any, a: Any, b: Any) -> Any:
    """a - b."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        wide = [_widen(context, builder, k, v) for k, v in zip(sig.args, args, strict=True)]
        return builder.fsub(*wide)

    return quad(a, b), codegen


@operation
def times(typingctx: Any, a: Any, b: Any) -> Any:
    """a * b."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        wide = [_widen(context, builder, k, v) for k, v in zip(sig.args, args, strict=True)]
        return builder.fmul(*wide)

    return quad(a, b), codegen


@operation
def first_lane(typingctx: Any, a: Any) -> Any:
    """The number in the first lane."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.extract_element(args[0], ir.Constant(_INT, 0))

    return types.float64(a), codegen


@operation
def sum_of_channels(typingctx: Any, a: Any) -> Any:
    """The sum of all lanes but the first."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        one, two, three = (
            builder.extract_element(args[0], ir.Constant(_INT, lane)) for lane in (1, 2, 3)
        )
        return builder.fadd(builder.fadd(one, two), three)

    return types.float64(a), codegen
