"""Eight float64 lanes: neighbouring pixels whose distances to a centre are wanted exactly.

Operators are those of ``cpu_simd``: plain IEEE arithmetic and comparisons, also with scalars.
"""

# mypy: disable-error-code="no-untyped-call"
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import models, register_model

from bayes_splat.rendering.cpu_compile import operation
from bayes_splat.rendering.cpu_simd import define_operators

WIDTH = 8
"""Lanes."""

_INT = ir.IntType(32)
_DOUBLES = ir.VectorType(ir.DoubleType(), WIDTH)
_TRUTH = ir.VectorType(ir.IntType(1), WIDTH)


class DoublesType(types.Type):
    """Eight float64 numbers."""

    def __init__(self) -> None:
        super().__init__(name="float64x8")


class TruthType(types.Type):
    """Eight truth values."""

    def __init__(self) -> None:
        super().__init__(name="mask8")


doubles = DoublesType()
truth = TruthType()


@register_model(DoublesType)
class _DoublesModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Any) -> None:
        super().__init__(dmm, fe_type, _DOUBLES)


@register_model(TruthType)
class _TruthModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Any) -> None:
        super().__init__(dmm, fe_type, _TRUTH)


def _widen(context: Any, builder: Any, kind: Any, value: Any) -> Any:
    """A scalar repeated in every lane; eight lanes as they are."""
    if kind == doubles:
        return value
    scalar = context.cast(builder, value, kind, types.float64)
    undefined = ir.Constant(_DOUBLES, ir.Undefined)
    one = builder.insert_element(undefined, scalar, ir.Constant(_INT, 0))
    return builder.shuffle_vector(one, undefined, ir.Constant(ir.VectorType(_INT, WIDTH), [0] * 8))


define_operators(doubles, truth, _widen)


def _pointer(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    """To eight neighbours, of the array's own type."""
    index = context.cast(builder, args[1], sig.args[1], types.intp)
    data = context.make_array(sig.args[0])(context, builder, value=args[0]).data
    place = builder.gep(data, [index])
    return builder.bitcast(place, ir.VectorType(place.type.pointee, WIDTH).as_pointer())


@operation
def store_doubles(typingctx: Any, array: Any, first: Any, value: Any) -> Any:
    """Write eight neighbours, rounded to the array's precision; whole numbers to integers."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointer, value = _pointer(context, builder, sig, args), args[2]
        if sig.args[0].dtype != types.float64:
            is_whole = isinstance(sig.args[0].dtype, types.Integer)
            convert = builder.fptosi if is_whole else builder.fptrunc
            value = convert(value, pointer.type.pointee)
        builder.store(value, pointer, align=4)
        return context.get_dummy_value()

    return types.void(array, first, value), codegen


@operation
def fused(typingctx: Any, a: Any, b: Any, c: Any) -> Any:
    """a * b + c, rounded once; scalars are repeated."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        wide = [_widen(context, builder, k, v) for k, v in zip(sig.args, args, strict=True)]
        kind = ir.FunctionType(_DOUBLES, [_DOUBLES] * 3)
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.fma.v8f64")
        return builder.call(function, wide)

    return doubles(a, b, c), codegen


@operation
def places(typingctx: Any) -> Any:
    """0, 1, ..., 7."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return ir.Constant(_DOUBLES, [float(lane) for lane in range(WIDTH)])

    return doubles(), codegen


def _of_bits(name: str, *more: Any) -> Any:
    """A function of the truth values as bits of a byte."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        byte = ir.IntType(WIDTH)
        kind = ir.FunctionType(byte, [byte, *(constant.type for constant in more)])
        function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.{name}.i{WIDTH}")
        found = builder.call(function, [builder.bitcast(args[0], byte), *more])
        return builder.zext(found, ir.IntType(64))

    return codegen


@operation
def count_lanes(typingctx: Any, condition: Any) -> Any:
    """In how many lanes the condition holds."""
    return types.int64(condition), _of_bits("ctpop")


@operation
def first_true(typingctx: Any, condition: Any) -> Any:
    """The first lane in which the condition holds, 8 if there is none."""
    return types.int64(condition), _of_bits("cttz", ir.Constant(ir.IntType(1), 0))
