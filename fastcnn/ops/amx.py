"""Convolutions on the matrix tiles of a processor (Intel AMX), and their gradients.

Tiles multiply bfloat16 numbers. A float32 number is taken as a sum of such: of three, which is as good as a plain sum
in float32, or of two, which leaves an error of some 5e-6 of the largest result. `plan/algorithms.py` puts these ops in
where the processor has tiles and they are faster, those of two with `config.set_precision("faster")`. With one number
each the operands are rounded to bfloat16: that is what layers of the dtype policy "mixed_bfloat16" ask for.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from fastcnn_kernels import tile_geometry
from fastcnn_kernels.conv import ConvGeometry
from fastcnn_kernels.tile_products import products_available, tiles_available

from fastcnn.errors import Error
from fastcnn.graph import Op, operation
from fastcnn.ops.conv import Conv, ConvInputGrad, ConvKernelGrad, ConvTranspose, Transposed
from fastcnn.ops.cost import IMPOSSIBLE, Cost, amx_cost, amx_gradient_cost
from fastcnn.ops.epilogue import bias_and_residual, floor_of, moments_of, moments_or_none
from fastcnn.ops.matmul import Dense, MatMul
from fastcnn.ops.shape import known
from fastcnn.tensor import TensorSpec

__all__: list[str] = []  # chosen by plans, not called


def suits(tensors: Sequence[Any], terms: int) -> bool:
    """Whether numbers of this dtype can be multiplied so, here. Without tiles several terms take longer than one."""
    available = products_available() if terms == 1 else tiles_available()
    return tensors[0].dtype == "float32" and available


def weight_pitches(shape: Sequence[int], groups: int, transposed: bool) -> tuple[int, int, int, int]:
    """Of a kernel (kh, kw, c, f) by tap, channel, column and group; transposed: its filters are the channels."""
    *_, c, f = shape
    return (c * f, 1, f, f // groups) if transposed else (c * f, f, 1, f // groups)


class _Passes:
    """What forward and backward passes share: a list of passes, one after the other."""

    terms = 2
    lower: float | None  # of the op that this is mixed into

    def passes(
        self, inputs: Sequence[Any], outputs: Sequence[Any]
    ) -> list[tuple[tile_geometry.Pass, np.ndarray]]:
        """The passes with their taps."""
        raise Error(f"{type(self).__name__} defines no passes")

    def plans(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> list[tile_geometry.Plan]:
        return [tile_geometry.plan_of(p, self.terms) for p, _ in self.passes(inputs, outputs)]

    def cost(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], ready: bool) -> Cost:
        if not suits(inputs, self.terms):
            return IMPOSSIBLE
        return sum(amx_cost(plan, self.terms, ready) for plan in self.plans(inputs, outputs))

    def prepared(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> list[TensorSpec]:
        plans = self.plans(inputs, outputs)
        return [
            TensorSpec((max(1, tile_geometry.packed_size(plan, self.terms)),), "uint16") for plan in plans
        ]

    def workspace(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> TensorSpec:
        size = max(tile_geometry.workspace_size(plan, self.terms) for plan in self.plans(inputs, outputs))
        return TensorSpec((size,), "uint16")

    def prepare(self, k: Any, inputs: Any, outputs: Any, prepared: Any) -> list:
        kernel, launches = inputs[1], []
        for (p, taps), packed in zip(self.passes(inputs, outputs), prepared, strict=True):
            shape = (1, 1, *kernel.shape)[-4:]  # of a matrix: as a kernel of one tap
            pitches = weight_pitches(shape, p.groups, isinstance(self, Transposed))
            plan = tile_geometry.plan_of(p, self.terms)
            launches.append(
                k.amx_pack_weights.bind(
                    kernel, packed, taps, plan, tile_geometry.run_of(p), pitches, self.terms
                )
            )
        return launches

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        x, y, passes, launches = inputs[0], outputs[0], self.passes(inputs, outputs), []
        prepared, (*moments, work) = scratch[: len(passes)], scratch[len(passes) :]
        more = *bias_and_residual(self, inputs, y), moments_or_none(moments)
        for (p, taps), packed in zip(passes, prepared, strict=True):
            plan, tables = tile_geometry.plan_of(p, self.terms), tile_geometry.tables_of(p, taps, self.terms)
            rest = floor_of(self.lower), tables.runs, tables.offsets, tables.places, plan, self.terms
            launches.append(k.amx_forward.bind(x, packed, *more, y, work, *rest))
        return [*launches, *moments_of(k, moments, outputs)]


@operation
class AmxConv(_Passes, Conv):
    """`Conv` on matrix tiles, of two parts each number."""

    rounding = 2

    def moment_parts(self, k: Any, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> int:
        (plan,) = self.plans(inputs, outputs)
        return tile_geometry.forward_parts(plan)

    def passes(
        self, inputs: Sequence[Any], outputs: Sequence[Any]
    ) -> list[tuple[tile_geometry.Pass, np.ndarray]]:
        return [tile_geometry.forward_pass(self.geometry_of(inputs, outputs))]


@operation
class AmxConvInputGrad(_Passes, ConvInputGrad):
    """`ConvInputGrad` on matrix tiles: a pass for each residue of pixels by the strides."""

    rounding = 2

    def passes(
        self, inputs: Sequence[Any], outputs: Sequence[Any]
    ) -> list[tuple[tile_geometry.Pass, np.ndarray]]:
        return tile_geometry.backward_passes(self.geometry_of(inputs))


@operation
class AmxConvTranspose(_Passes, ConvTranspose):
    """`ConvTranspose` on matrix tiles, as `AmxConvInputGrad` does it."""

    rounding = 2

    def passes(
        self, inputs: Sequence[Any], outputs: Sequence[Any]
    ) -> list[tuple[tile_geometry.Pass, np.ndarray]]:
        return tile_geometry.backward_passes(self.geometry_of(inputs))


@operation
class AmxConvKernelGrad(ConvKernelGrad):
    """`ConvKernelGrad` on matrix tiles."""

    rounding = 2
    terms = 2

    def plan(self, inputs: Sequence[Any]) -> tile_geometry.GradientPlan:
        """How it is cut."""
        return tile_geometry.gradient_plan_of(self.forward(inputs), self.terms)

    def forward(self, inputs: Sequence[Any]) -> tile_geometry.Pass:
        """The forward pass."""
        return tile_geometry.forward_pass(self.geometry_of(inputs))[0]

    def cost(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], ready: bool) -> Cost:
        return amx_gradient_cost(self.plan(inputs), self.terms) if suits(inputs, self.terms) else IMPOSSIBLE

    def scratch(self, k: Any, inputs: Sequence[TensorSpec], outputs: Any) -> list[TensorSpec]:
        return [TensorSpec(tile_geometry.partial_sums_shape(self.plan(inputs)), "float32")]

    def workspace(self, inputs: Sequence[TensorSpec], outputs: Any) -> TensorSpec:
        return TensorSpec((tile_geometry.gradient_workspace_size(self.plan(inputs), self.terms),), "float32")

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        (x, dy), (dkernel,), (sums, work), plan = inputs, outputs, scratch, self.plan(inputs)
        tables = tile_geometry.gradient_tables_of(self.forward(inputs), self.terms)
        pieces = tile_geometry.gradient_pieces(plan)
        return [
            k.amx_backward_weights.bind(x, dy, sums, work, *tables, plan, pieces, self.terms),
            k.amx_add_gradients.bind(sums, dkernel, plan),
        ]


@operation
class ExactAmxConv(AmxConv):
    """`Conv` on matrix tiles, of three parts each number."""

    rounding, terms = 0, 3


@operation
class ExactAmxConvInputGrad(AmxConvInputGrad):
    """`ConvInputGrad` on matrix tiles, of three parts each number."""

    rounding, terms = 0, 3


@operation
class ExactAmxConvTranspose(AmxConvTranspose):
    """`ConvTranspose` on matrix tiles, of three parts each number."""

    rounding, terms = 0, 3


@operation
class ExactAmxConvKernelGrad(AmxConvKernelGrad):
    """`ConvKernelGrad` on matrix tiles, of three parts each number."""

    rounding, terms = 0, 3


# --- operands rounded to bfloat16 ------------------------------------------------------------------------------


@operation
class Bfloat16Conv(AmxConv):
    """`Conv` with operands rounded to bfloat16, added up in float32."""

    mixed, terms = True, 1


@operation
class Bfloat16ConvInputGrad(AmxConvInputGrad):
    """`ConvInputGrad` with operands rounded to bfloat16, added up in float32."""

    mixed, terms = True, 1


@operation
class Bfloat16ConvTranspose(AmxConvTranspose):
    """`ConvTranspose` with operands rounded to bfloat16, added up in float32."""

    mixed, terms = True, 1


@operation
class Bfloat16ConvKernelGrad(AmxConvKernelGrad):
    """`ConvKernelGrad` with operands rounded to bfloat16, added up in float32."""

    mixed, terms = True, 1


def of_rows(rows: int, k: int, n: int) -> ConvGeometry:
    """The product of `rows` x k by k x n numbers, as a convolution of images of one pixel."""
    return ConvGeometry(rows, 1, 1, k, 1, 1, 1, 1, 1, 1, 0, 0, 1, 1, n, 1)


@operation
class Bfloat16Dense(_Passes, Dense):
    """`Dense` with operands rounded to bfloat16, added up in float32."""

    mixed, terms = True, 1
    weights: ClassVar[tuple[int, ...]] = (1,)

    def passes(
        self, inputs: Sequence[Any], outputs: Sequence[Any]
    ) -> list[tuple[tile_geometry.Pass, np.ndarray]]:
        k, n = known(inputs[1].shape)
        return [tile_geometry.forward_pass(of_rows(outputs[0].size // n, k, n))]


@operation
class Bfloat16MatMul(MatMul):
    """`MatMul` of two matrices with operands rounded to bfloat16, added up in float32."""

    mixed = True

    def as_convolution(self, inputs: Sequence[Any]) -> Op | None:
        """What does it to images of one pixel: the forward pass, or a gradient; None if nothing does."""
        window = (1, 1), ((0, 0), (0, 0)), (1, 1)
        a, b = inputs[0].shape, inputs[1].shape
        if len(a) != 2:
            return None
        match self.transpose_a, self.transpose_b:
            case False, False:
                return Bfloat16Conv(*window)
            case False, True:
                return Bfloat16ConvInputGrad(*window, (1, 1, b[0]))
            case True, False:
                return Bfloat16ConvKernelGrad(*window, (1, 1, a[1], b[1]))
        return None

    def lifted(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> tuple[Op, list, list]:
        """(the convolution, its inputs and outputs: specs or arrays of four dimensions)."""
        op = self.as_convolution(inputs)
        assert op is not None
        a, b = inputs
        if isinstance(op, Bfloat16ConvKernelGrad):
            return op, [_as_pixels(a), _as_pixels(b)], [_as_kernel(outputs[0])]
        return op, [_as_pixels(a), _as_kernel(b)], [_as_pixels(outputs[0])]

    def cost(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], ready: bool) -> Cost:
        if self.as_convolution(inputs) is None:
            return IMPOSSIBLE
        op, given, found = self.lifted(inputs, outputs)
        return op.cost(given, found, False)

    def scratch(
        self, k: Any, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
    ) -> list[TensorSpec]:
        op, given, found = self.lifted(inputs, outputs)
        return [*op.prepared(given, found), *op.scratch(k, given, found)]

    def workspace(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> TensorSpec | None:
        op, given, found = self.lifted(inputs, outputs)
        return op.workspace(given, found)

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        op, given, found = self.lifted(inputs, outputs)
        prepared = scratch[:1] if isinstance(op, _Passes) else []
        return [*op.prepare(k, given, found, prepared), *op.launch(k, given, found, scratch)]


def _as_pixels(matrix: Any) -> Any:
    """(m, n) as m images of one pixel."""
    m, n = known(matrix.shape)
    return (
        matrix.reshape(m, 1, 1, n)
        if isinstance(matrix, np.ndarray)
        else TensorSpec((m, 1, 1, n), matrix.dtype)
    )


def _as_kernel(matrix: Any) -> Any:
    """(m, n) as a kernel of one tap."""
    m, n = known(matrix.shape)
    return (
        matrix.reshape(1, 1, m, n)
        if isinstance(matrix, np.ndarray)
        else TensorSpec((1, 1, m, n), matrix.dtype)
    )


for plain, found in (
    (Conv, (AmxConv, ExactAmxConv, Bfloat16Conv)),
    (ConvInputGrad, (AmxConvInputGrad, ExactAmxConvInputGrad, Bfloat16ConvInputGrad)),
    (ConvTranspose, (AmxConvTranspose, ExactAmxConvTranspose, Bfloat16ConvTranspose)),
    (ConvKernelGrad, (AmxConvKernelGrad, ExactAmxConvKernelGrad, Bfloat16ConvKernelGrad)),
):
    plain.alternatives = plain.alternatives | dict(zip(("amx", "amx3", "bfloat16"), found, strict=True))
Dense.alternatives = Dense.alternatives | {"bfloat16": Bfloat16Dense}
MatMul.alternatives = MatMul.alternatives | {"bfloat16": Bfloat16MatMul}
