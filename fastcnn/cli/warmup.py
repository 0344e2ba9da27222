"""Compile every kernel now, into the cache, instead of at first use."""

import argparse
import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from tqdm import tqdm

from fastcnn import activations, config, layers, losses, ops, optimizers
from fastcnn.graph import ancestors, gradients, variables_of
from fastcnn.ops.detection import BOX_LOSSES, CLASS_ACTIVATIONS, OVERLAPS
from fastcnn.ops.update import assign
from fastcnn.plan import Function
from fastcnn.tensor import Shape, TensorSpec, Variable

IMAGE = (2, 6, 6, 4)
FEW_CHANNELS, MANY_CHANNELS = (32, 8, 8, 1), (16, 16, 16, 64)
ROWS = (2, 4)
LABELS = (2,)

# What models are made of: a name, a function of tensors, and the shapes of those.
Work = tuple[str, Callable[..., Any], list[Shape]]


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("--double", action="store_true", help="compile the float64 variants too")


def run(arguments: argparse.Namespace) -> int:
    """Compile, show progress, say what there is; returns the exit status."""
    for dtype in ("float32", "float64") if arguments.double else ("float32",):
        ready = warmup(dtype, show=True)
        print(f"{len(ready)} kernels are ready for {dtype}; python -m fastcnn cache info shows where")
    return 0


def warmup(dtype: str = "float32", show: bool = False) -> set[str]:
    """Compile, or load from the cache, the kernels that models of this dtype use; returns their names."""
    ready: set[str] = set()
    bar = tqdm(list(all_work(dtype)), desc=f"compiling kernels ({dtype})", unit="plan", disable=not show)
    for name, function, shapes in bar:
        bar.set_postfix_str(name)
        ready |= _compile(function, [TensorSpec(shape, dtype) for shape in shapes])
    return ready | _suppress(dtype)


def with_gradients(function: Callable[..., Any]) -> Function:
    """A function of tensors, and its gradients for them and for weights, to be planned."""

    def body(*tensors: Any) -> Any:
        output = function(*tensors)
        if output.dtype not in config.FLOAT_TYPES:
            return output
        weights = [v for v in variables_of(ancestors([output])) if v.trainable]
        return [output, gradients(output, [*tensors, *weights])]

    return Function(body, training=True)


def _compile(function: Callable[..., Any], specs: list[TensorSpec]) -> set[str]:
    """Plan the function and its gradients, which compiles their kernels; returns the names of those."""
    plan, _ = with_gradients(function).plan(specs)
    return {launch.kernel.__name__ for _, launches in plan.steps for launch in launches}


def _suppress(dtype: str) -> set[str]:
    """Run suppression and segmentation, which no plan does, once by each of their kernels; returns the names."""
    boxes, scores = np.array([[0, 0, 1, 1]], dtype), np.ones(1, dtype)
    ops.nms(boxes, scores)
    for criterion in ("iou", "diou"):  # of more than a few
        ops.nms(np.repeat(boxes, 600, 0), np.repeat(scores, 600), criterion=criterion)
    for method in ("linear", "gaussian"):
        ops.soft_nms(boxes, scores, method=method)
    ops.weighted_box_fusion(boxes, scores)
    ops.segment_image(np.zeros((2, 2)))
    suppression = {"nms_few", "nms_greedy", "nms_distance", "nms_linear", "nms_gaussian", "fuse_boxes"}
    return suppression | {"segment_graph"}


def all_work(dtype: str) -> Iterator[Work]:
    """Layers, activations, losses, optimizers, and ops by themselves. An op need stand in one of them only."""
    yield from _layer_work(dtype)
    yield from _op_work()
    yield from _detection_work()
    yield from _picture_work()
    yield from _activation_work()
    yield from _loss_work()
    yield from _optimizer_work(dtype)


def _layer_work(dtype: str) -> Iterator[Work]:
    on_images = [
        layers.Conv2D(5, 3, padding="same", activation="relu"),
        layers.Conv2D(4, 3, strides=2, groups=2, use_bias=False),
        layers.Conv2DTranspose(5, 3, strides=2),
        layers.DepthwiseConv2D(3, depth_multiplier=2),
        layers.DepthwiseConv2D(3),
        layers.MaxPooling2D(),
        layers.AveragePooling2D(2),
        layers.GlobalAveragePooling2D(),
        layers.GlobalMaxPooling2D(),
        layers.BatchNormalization(),
        layers.BatchNormalization(trainable=False),
        layers.LayerNormalization(),
        layers.GroupNormalization(2),
        layers.UnitNormalization(),
        layers.PReLU(shared_axes=[1, 2]),
        layers.Dropout(0.5),
        layers.SpatialDropout2D(0.5),
        layers.AlphaDropout(0.5),
        layers.GaussianDropout(0.5),
        layers.GaussianNoise(0.5),
        layers.ZeroPadding2D(),
        layers.Cropping2D(),
        layers.UpSampling2D(),
        layers.UpSampling2D(interpolation="bilinear"),
        layers.Permute((2, 1, 3)),
    ]
    for layer in [*on_images, layers.Dense(3)]:
        layer.dtype = dtype
        yield layer.name, layer, [IMAGE if layer in on_images else ROWS]
    for filters, images in ((4, FEW_CHANNELS), (64, MANY_CHANNELS)):  # other algorithms
        yield "conv2d", layers.Conv2D(filters, 3, padding="same", dtype=dtype), [images]
    yield "conv2d", _implicit, [IMAGE, (3, 3, IMAGE[-1], 4)]
    channels = MANY_CHANNELS[-1]
    for convolve, filters in ((ops.conv2d, 8), (_implicit, 8), (ops.depthwise_conv2d, 1)):  # keeping moments
        weights = (filters,) if filters > 1 else (channels,)
        shapes: list[Shape] = [MANY_CHANNELS, (3, 3, channels, filters), weights, weights]
        yield "batch_normalization", functools.partial(_normalized, convolve), shapes
    if dtype == "float32":
        yield "conv2d", layers.Conv2D(256, 1, dtype="mixed_bfloat16"), [MANY_CHANNELS]
    yield "dot", lambda x, y: layers.Dot(axes=1)([x, y]), [ROWS, ROWS]


def _implicit(x: Any, kernel: Any) -> Any:
    return ops.conv2d(x, kernel, algorithm="implicit")


def _normalized(convolve: Callable[..., Any], x: Any, kernel: Any, scale: Any, offset: Any) -> Any:
    return ops.batch_normalization_training(convolve(x, kernel), scale, offset)[0]


def _op_work() -> Iterator[Work]:
    for unary in (
        ops.abs, ops.ceil, ops.cos, ops.erf, ops.erfinv, ops.exp, ops.expm1, ops.floor, ops.log, ops.log1p,
        ops.negative, ops.reciprocal, ops.round, ops.rsqrt, ops.sign, ops.sin, ops.sqrt, ops.square, ops.sum,
        ops.mean, ops.max, ops.min, ops.var, ops.std, ops.logsumexp, ops.argmax, ops.argmin, ops.sort, ops.flatten,
    ):  # fmt: skip
        yield unary.__name__, unary, [ROWS]
    for binary in (
        ops.add, ops.subtract, ops.multiply, ops.divide, ops.power, ops.maximum, ops.minimum, ops.greater,
        ops.greater_equal, ops.less, ops.less_equal, ops.equal, ops.not_equal, ops.arctan2, ops.mod,
    ):  # fmt: skip
        yield binary.__name__, binary, [ROWS, ROWS]
    yield "power", lambda x: ops.power(x, 3.0), [ROWS]
    yield "top_k", lambda x: ops.top_k(x, 1)[0], [ROWS]
    yield "clip", lambda x: ops.clip(x, 0.0, 1.0), [ROWS]
    yield "where", ops.where, [ROWS, ROWS, ROWS]
    yield "add", ops.add, [IMAGE, (4,)]
    yield "bias_add", ops.bias_add, [ROWS, (4,)]
    yield "cast", lambda x: ops.cast(ops.cast(x, "int32"), x.dtype), [ROWS]
    state = ops.RandomState(1)
    yield "random_uniform", lambda x: x + ops.random_uniform(x.shape, state, dtype=x.dtype), [ROWS]
    yield "random_normal", lambda x: x + ops.random_normal(x.shape, state, dtype=x.dtype), [ROWS]
    yield "matmul", ops.matmul, [ROWS, (4, 3)]
    yield "take", lambda x, i: ops.take(x, i, axis=0), [ROWS, LABELS]
    yield "one_hot", lambda x: ops.one_hot(x, 3), [LABELS]
    yield "slice", lambda x: x[:, 1:3], [ROWS]
    yield "concatenate", lambda x, y: ops.concatenate([x, y], -1), [IMAGE, IMAGE]


def _detection_work() -> Iterator[Work]:
    for overlap in OVERLAPS:
        yield "box_overlap", lambda a, b, kind=overlap: ops.box_overlap(a, b, kind), [ROWS, ROWS]
    grid, anchors = (1, 2, 2, 7), [(1.0, 1.0)]
    for classes in CLASS_ACTIVATIONS:
        yield "yolo", lambda x, c=classes: ops.yolo_activation(x, anchors, c), [grid]
        for box in BOX_LOSSES:
            work = functools.partial(_yolo_loss, anchors=anchors, classes=classes, box=box)
            yield "yolo_loss", work, [grid, grid]

    for pool in (ops.roi_align, ops.roi_pool):
        yield pool.__name__, functools.partial(pool, output_size=2), [IMAGE, (1, 5)]


def _yolo_loss(target: Any, raw: Any, anchors: Any, classes: str, box: str) -> Any:
    return ops.yolo_loss(target, raw, anchors, classes, box_loss=box)


def _picture_work() -> Iterator[Work]:
    pictures, maps, numbers = (2, 5, 6, 3), (2, 8), (2,)

    def on_bytes(x: Any, *others: Any) -> Any:
        return ops.affine_gather(ops.cast(x, "uint8"), *others)

    for method in ("nearest", "bilinear"):
        yield "affine_gather", lambda x, t, m=method: ops.affine_gather(x, t, None, m), [pictures, maps]
        yield "affine_gather", lambda x, t, m=method: on_bytes(x, t, None, m), [pictures, maps]
        yield "field_gather", lambda x, f, m=method: ops.field_gather(x, f, m), [pictures, (2, 4, 3, 2)]
    yield "color_matrix", ops.color_matrix, [pictures, (2, 3, 4)]
    yield "color_matrix", lambda x, m: ops.color_matrix(ops.cast(x, "uint8"), m), [pictures, (2, 3, 4)]
    yield "hue_saturation", ops.hue_saturation, [pictures, numbers, numbers]
    yield "equalize", ops.equalize, [pictures]
    yield "clahe", ops.clahe, [pictures]
    yield "policy_step", ops.policy_step, [pictures, numbers, maps]
    state = ops.RandomState(1)
    yield "random_log_gamma", lambda x: ops.random_log_gamma(x, state), [ROWS]


def _activation_work() -> Iterator[Work]:
    for name in (
        "relu", "relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "mish", "sigmoid", "hard_sigmoid",
        "hard_silu", "hard_tanh", "hard_shrink", "soft_shrink", "tanh", "tanh_shrink", "softplus", "softsign",
        "squareplus", "log_sigmoid", "exponential", "glu", "sparse_plus", "sparse_sigmoid", "softmax", "log_softmax",
    ):  # fmt: skip
        yield name, activations.get(name), [ROWS]
    yield "gelu", lambda x: ops.gelu(x, approximate=True), [ROWS]
    yield "relu", lambda x: ops.relu(x, negative_slope=0.1, max_value=6.0, threshold=0.5), [ROWS]


def _loss_work() -> Iterator[Work]:
    for by_label in (
        losses.SparseCategoricalCrossentropy(),
        losses.SparseCategoricalCrossentropy(from_logits=True),
    ):
        yield by_label.name, by_label, [LABELS, ROWS]
    for loss in (
        losses.CategoricalCrossentropy(), losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1),
        losses.BinaryCrossentropy(), losses.BinaryCrossentropy(from_logits=True), losses.BinaryFocalCrossentropy(),
        losses.CategoricalFocalCrossentropy(), losses.KLDivergence(), losses.MeanSquaredError(),
        losses.MeanAbsoluteError(), losses.MeanAbsolutePercentageError(), losses.MeanSquaredLogarithmicError(),
        losses.Huber(), losses.LogCosh(), losses.Poisson(), losses.CosineSimilarity(), losses.Hinge(),
        losses.SquaredHinge(), losses.CategoricalHinge(), losses.Dice(), losses.Tversky(),
    ):  # fmt: skip
        yield loss.name, loss, [ROWS, ROWS]


def _optimizer_work(dtype: str) -> Iterator[Work]:
    for optimizer in (
        optimizers.SGD(), optimizers.SGD(momentum=0.9, clipnorm=1.0), optimizers.SGD(momentum=0.9, nesterov=True),
        optimizers.RMSprop(clipvalue=1.0), optimizers.RMSprop(momentum=0.9), optimizers.RMSprop(centered=True),
        optimizers.Adam(global_clipnorm=1.0, use_ema=True), optimizers.Adam(amsgrad=True), optimizers.AdamW(),
        optimizers.Adamax(), optimizers.Nadam(), optimizers.Adagrad(), optimizers.Adadelta(), optimizers.Lion(),
        optimizers.SGD(gradient_accumulation_steps=2),
    ):  # fmt: skip
        yield optimizer.name, _train_step(optimizer, dtype), [ROWS]


def _train_step(optimizer: Any, dtype: str) -> Callable[..., Any]:
    """A function of one tensor that also updates a weight, and keeps what it was."""
    weight = Variable([[0.0]] * 4, dtype)
    copy = Variable([[0.0]] * 4, dtype, trainable=False)

    def step(x: Any) -> Any:
        y = ops.matmul(x, weight)
        assign(copy, weight)
        optimizer.build([weight])
        optimizer.apply(gradients(y, [weight]), [weight])
        return y

    return step
