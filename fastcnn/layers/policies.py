"""Policies: for every image, operations chosen at random out of a list, one pass an operation (`ops.policy_step`).

A *plan of steps* is, for each of s alternatives and t steps, the number of an operation and its eight numbers for
either sign of its strength. `RandAugment` and `AugMix` are Keras's; `AutoAugment` and `TrivialAugment` those of the
papers, with the operations of Cubuk et al. 2019.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastcnn import ops, random
from fastcnn.errors import Error, did_you_mean
from fastcnn.layers import arguments, boxes
from fastcnn.layers.augmentation import (
    ImageLayer,
    batch_shape,
    factor_range,
    floating,
    value_range_of,
)
from fastcnn.layers.geometric import INTERPOLATIONS, RandomRotation, RandomShear, RandomTranslation
from fastcnn.layers.photometric import (
    AutoContrast,
    Equalization,
    RandomBrightness,
    RandomColorDegeneration,
    RandomContrast,
    RandomPosterization,
    RandomSharpness,
    Solarization,
)
from fastcnn.ops.policy import OPERATIONS

CODE = {name: number for number, name in enumerate(OPERATIONS)}
SAME_PLACE = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0)
Step = tuple[Any, Any]  # operations (n,) and their numbers (n, 8)


class _Policy(ImageLayer):
    """Images through the steps `_steps(transformation)`, one after the other."""

    moves_pixels = True
    value_range = (0.0, 255.0)
    interpolation = "bilinear"
    fill_mode = "reflect"
    fill_value = 0.0

    def _steps(self, transformation: Any, n: int) -> list[Step]:
        raise Error(f"{type(self).__name__} does not say which operations it takes")

    def _applied(self, images: Any, steps: Sequence[Step]) -> Any:
        low, high = self.value_range
        for code, numbers in steps:
            images = ops.policy_step(
                images, code, numbers, low, high, self.interpolation, self.fill_mode, self.fill_value
            )
        return images

    def transform_images(self, images: Any, transformation: Any, training: bool = True) -> Any:
        """The images after the steps that were drawn."""
        images = floating(images, self.dtype)
        if not training:
            return images
        return self._applied(images, self._steps(transformation, batch_shape(images)[0]))

    def _maps(self, code: Any, numbers: Any) -> Any:
        """Where pixels come from in a step (n, 8)."""
        moves = ops.reshape(ops.cast(ops.equal(code, float(CODE["affine"])), self.dtype), (-1, 1))
        same = np.array(SAME_PLACE, self.dtype)
        return same + moves * (numbers - same)

    def _moved_masks(self, masks: Any, steps: Sequence[Step]) -> Any:
        for code, numbers in steps:
            masks = ops.affine_gather(masks, self._maps(code, numbers), None, "nearest", self.fill_mode)
        return masks

    def _moved_corners(self, corners: Any, steps: Sequence[Step]) -> Any:
        for code, numbers in steps:
            corners = boxes.along_map(corners, self._maps(code, numbers))
        return corners

    def _moved_points(self, points: Any, steps: Sequence[Step]) -> Any:
        for code, numbers in steps:
            points = boxes.points_along_map(points, self._maps(code, numbers))
        return points

    def transform_segmentation_masks(
        self, segmentation_masks: Any, transformation: Any, training: bool = True
    ) -> Any:
        """The masks after those of the steps that move pixels."""
        if not training:
            return segmentation_masks
        return self._moved_masks(
            segmentation_masks, self._steps(transformation, batch_shape(segmentation_masks)[0])
        )

    def transform_bounding_boxes(
        self, bounding_boxes: Any, transformation: Any, training: bool = True
    ) -> Any:
        """The boxes after those of the steps that move pixels."""
        if not training:
            return bounding_boxes
        n, h, w, _ = transformation["input_shape"]
        corners = boxes.to_corners(bounding_boxes["boxes"], str(self.bounding_box_format), h, w)
        labels = bounding_boxes["labels"]
        for code, numbers in self._steps(transformation, n):
            moved = boxes.along_map(corners, self._maps(code, numbers))
            corners, labels = boxes.clip_corners(moved, labels, h, w)
        return {"boxes": boxes.from_corners(corners, str(self.bounding_box_format), h, w), "labels": labels}

    def transform_keypoints(self, keypoints: Any, transformation: Any, training: bool = True) -> Any:
        """The points after those of the steps that move pixels."""
        if not training:
            return keypoints
        return self._moved_points(keypoints, self._steps(transformation, transformation["input_shape"][0]))


# --- Keras's ---------------------------------------------------------------------------------------------------

OF_AUGMIX = ("random_shear", "random_translation", "random_rotation", "random_posterization", "solarization",
             "auto_contrast", "equalization")  # fmt: skip
OF_RANDAUGMENT = (
    "random_shear", "random_translation", "random_rotation", "random_brightness", "random_color_degeneration",
    "random_contrast", "random_sharpness", "random_posterization", "solarization", "auto_contrast", "equalization",
)  # fmt: skip


def _layers(owner: Any, names: Sequence[str]) -> dict[str, ImageLayer]:
    """The layers that draw the strengths of operations, by name; factor is that of the policy."""
    factor, form = owner.factor, {"dtype": owner.dtype}
    values = {"value_range": owner.value_range, **form}
    makers: dict[str, Any] = {
        "random_shear": lambda: RandomShear(factor, factor, **form),
        "random_translation": lambda: RandomTranslation(factor, factor, **form),
        "random_rotation": lambda: RandomRotation(factor, **form),
        "random_brightness": lambda: RandomBrightness(factor, **values),
        "random_color_degeneration": lambda: RandomColorDegeneration(factor, **values),
        "random_contrast": lambda: RandomContrast(factor, **values),
        "random_sharpness": lambda: RandomSharpness(factor, **values),
        "random_posterization": lambda: RandomPosterization(max(1, int(8 * factor[1])), **values),
        "solarization": lambda: Solarization(factor, factor, **values),
        "auto_contrast": lambda: AutoContrast(**values),
        "equalization": lambda: Equalization(**values),
    }
    return {name: makers[name]() for name in names}


def _columns(n: int, dtype: str, *columns: Any) -> Any:
    """(n, 8) of up to eight columns of n numbers."""
    flat = [ops.reshape(ops.cast(column, dtype), (n, 1)) for column in columns]
    return ops.concatenate([*flat, np.zeros((n, 8 - len(flat)), dtype)], 1)


def _of_layer(name: str, layer: Any, drawn: Any, n: int, dtype: str) -> tuple[str, Any]:
    """The operation that does what a layer does with what it has drawn."""
    ones = np.ones(n, dtype)
    if name in ("random_shear", "random_translation", "random_rotation"):
        return "affine", layer._maps(drawn, *drawn["input_shape"][:3])
    if name == "random_brightness":
        return "linear", _columns(n, dtype, ones, drawn["rgb_delta"])
    if name == "random_color_degeneration":
        return "grey", _columns(n, dtype, 1.0 - drawn["factor"])
    if name == "random_contrast":
        return "contrast", _columns(n, dtype, drawn["contrast_factor"], ones)
    if name == "random_sharpness":
        return "sharpness", _columns(n, dtype, 2.0 * drawn["factor"], ones)
    if name == "random_posterization":
        return "posterize", _columns(n, dtype, 8.0 - ops.cast(drawn["shift_factor"], dtype))
    if name == "solarization":
        return "solarize", _columns(n, dtype, drawn["thresholds"], drawn["additions"])
    return "autocontrast" if name == "auto_contrast" else "equalize", np.zeros((n, 8), dtype)


class _OfLayers(_Policy):
    """Policies whose operations are those of layers, chosen for a whole batch."""

    def _choose(self, index: Any, strengths: dict[str, Any], n: int) -> Step:
        """The step of number `index` (a tensor) among the layers; beyond the last, none."""
        code, numbers = np.zeros(n, self.dtype), np.zeros((n, 8), self.dtype)
        for place, (name, drawn) in enumerate(strengths.items()):
            operation, its = _of_layer(name, self.operations[name], drawn, n, self.dtype)
            chosen = ops.reshape(ops.cast(ops.equal(index, float(place)), self.dtype), (1,))
            code = code + chosen * float(CODE[operation])
            numbers = numbers + chosen * its
        return code, numbers

    def _strengths(self, data: Any, seed: Any) -> dict[str, Any]:
        use = self.generator if seed is None else seed
        return {
            name: layer.get_random_transformation(data, True, use) for name, layer in self.operations.items()
        }

    operations: dict[str, Any]


class RandAugment(_OfLayers):
    """num_ops operations one after the other, each chosen out of eleven for the whole batch.

    factor: how strong they are, in [0, 1], a number standing for (0, number), as for the layers of their names
    (after Cubuk et al. 2020).
    """

    def __init__(
        self, value_range: Any = (0, 255), num_ops: int = 2, factor: Any = 0.5, interpolation: str = "bilinear",
        seed: int | None = None, data_format: str | None = None, bounding_box_format: str | None = None,
        **kwargs: Any,
    ):  # fmt: skip
        super().__init__(
            seed=seed, data_format=data_format, bounding_box_format=bounding_box_format, **kwargs
        )
        self.value_range = value_range_of("RandAugment", value_range)
        self.num_ops = arguments.integer("RandAugment", "num_ops", num_ops)
        self.factor = factor_range("RandAugment", "factor", factor, 0.0, 1.0)
        self.interpolation = arguments.choice("RandAugment", "interpolation", interpolation, INTERPOLATIONS)
        self.operations = _layers(self, OF_RANDAUGMENT)

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        """{"layer_idxes" (num_ops,), "transforms": what each layer draws}."""
        if not training:
            return None
        chosen = ops.floor(self.draw((self.num_ops,), 0.0, float(len(OF_RANDAUGMENT)), seed))
        strengths = self._strengths(data, seed)
        return {"layer_idxes": chosen, "transforms": strengths, "input_shape": batch_shape(data)}

    def _steps(self, transformation: Any, n: int) -> list[Step]:
        chosen = transformation["layer_idxes"]
        return [self._choose(chosen[i], transformation["transforms"], n) for i in range(self.num_ops)]


class AugMix(_OfLayers):
    """w x + (1 - w) (a mixture of chains of operations): num_chains chains of chain_depth operations, or fewer.

    w is beta(alpha, alpha), the shares of the chains are drawn from the Dirichlet distribution of alpha; factor as for
    RandAugment; all_ops: also brightness, colour, contrast, sharpness. Boxes, points and masks are moved along every
    chain, and the results mixed with the weights of the images: where an object is seen several times, its box is at
    the mean of these places. Hendrycks et al. 2020, AugMix.
    """

    def __init__(
        self, value_range: Any = (0, 255), num_chains: int = 3, chain_depth: int = 3, factor: Any = 0.3,
        alpha: float = 1.0, all_ops: bool = True, interpolation: str = "bilinear", seed: int | None = None,
        data_format: str | None = None, bounding_box_format: str | None = None, **kwargs: Any,
    ):  # fmt: skip
        super().__init__(
            seed=seed, data_format=data_format, bounding_box_format=bounding_box_format, **kwargs
        )
        self.value_range = value_range_of("AugMix", value_range)
        self.num_chains = arguments.integer("AugMix", "num_chains", num_chains)
        self.chain_depth = arguments.integer("AugMix", "chain_depth", chain_depth)
        self.factor = factor_range("AugMix", "factor", factor, 0.0, 1.0)
        self.alpha = arguments.number("AugMix", "alpha", alpha, 1e-6)
        self.all_ops = bool(all_ops)
        self.interpolation = arguments.choice("AugMix", "interpolation", interpolation, INTERPOLATIONS)
        self.operations = _layers(self, OF_RANDAUGMENT if all_ops else OF_AUGMIX)

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        """{"chain_mixing_weights" (num_chains,), "weight_sample" (1,), "chain_transforms": [[step]]}."""
        if not training:
            return None
        use = self.generator if seed is None else seed
        shares = random.dirichlet((self.num_chains,), self.alpha, dtype=self.dtype, seed=use)
        weight = random.beta((1,), self.alpha, self.alpha, dtype=self.dtype, seed=use)
        count = float(len(self.operations) + 1)  # the last stands for none
        chains = [
            [{"index": ops.floor(self.draw((1,), 0.0, count, seed)), "transforms": self._strengths(data, seed)}
             for _ in range(self.chain_depth)]
            for _ in range(self.num_chains)
        ]  # fmt: skip
        return {"chain_mixing_weights": shares, "weight_sample": weight, "chain_transforms": chains,
                "input_shape": batch_shape(data)}  # fmt: skip

    def transform_images(self, images: Any, transformation: Any, training: bool = True) -> Any:
        """The mixtures of images and chains."""
        images = floating(images, self.dtype)
        if not training:
            return images
        return ops.clip(self._mixed(images, transformation, self._applied), *self.value_range)

    def _mixed(self, x: Any, transformation: Any, apply_steps: Any) -> Any:
        """w x + (1 - w) (what becomes of x by each chain, mixed)."""
        n, mixture = transformation["input_shape"][0], x * 0.0
        for i, chain in enumerate(transformation["chain_transforms"]):
            steps = [self._choose(step["index"], step["transforms"], n) for step in chain]
            mixture = mixture + apply_steps(x, steps) * transformation["chain_mixing_weights"][i : i + 1]
        weight = transformation["weight_sample"]
        return weight * x + (1.0 - weight) * mixture

    def transform_segmentation_masks(
        self, segmentation_masks: Any, transformation: Any, training: bool = True
    ) -> Any:
        """Mixed as images are, so of one-hot classes."""
        if not training:
            return segmentation_masks
        return self._mixed(floating(segmentation_masks, self.dtype), transformation, self._moved_masks)

    def transform_bounding_boxes(
        self, bounding_boxes: Any, transformation: Any, training: bool = True
    ) -> Any:
        """The mean of the boxes along the chains, clipped to the image."""
        if not training:
            return bounding_boxes
        _, h, w, _ = transformation["input_shape"]
        corners = boxes.to_corners(bounding_boxes["boxes"], str(self.bounding_box_format), h, w)
        mixed = self._mixed(corners, transformation, self._moved_corners)
        clipped, labels = boxes.clip_corners(mixed, bounding_boxes["labels"], h, w)
        return {"boxes": boxes.from_corners(clipped, str(self.bounding_box_format), h, w), "labels": labels}

    def transform_keypoints(self, keypoints: Any, transformation: Any, training: bool = True) -> Any:
        """The mean of the points along the chains."""
        return self._mixed(keypoints, transformation, self._moved_points) if training else keypoints


# --- the papers' -----------------------------------------------------------------------------------------------

SIGNED = (
    "ShearX",
    "ShearY",
    "TranslateX",
    "TranslateY",
    "Rotate",
    "Brightness",
    "Color",
    "Contrast",
    "Sharpness",
)
UNLEVELLED = ("Identity", "AutoContrast", "Equalize", "Invert")
NAMES = (*SIGNED, *UNLEVELLED, "Posterize", "Solarize", "Cutout", "SamplePairing")
OF_TRIVIALAUGMENT = (*SIGNED, "Identity", "AutoContrast", "Equalize", "Posterize", "Solarize")


def operation(
    name: str, level: float, sign: int, h: int, w: int, high: float, wide: bool = False
) -> tuple[str, tuple[float, ...]]:
    """(operation, numbers) of a name of the papers with a strength from 0 to 1, on images h x w.

    At 1: a shear of 0.3 pixels a pixel, a shift of 150 / 331 of a side, a turn of 30 degrees, colours by 0.9, 4
    bits, a threshold of 0, a cutout of 60 / 331 of a side, a pair of weight 0.4. wide: 0.99 pixels, 32 pixels, 135
    degrees, 0.99, 2 bits (Mueller & Hutter 2021).
    """
    strength = level * sign
    shear, enhanced, angle = (0.99, 0.99, 135.0) if wide else (0.3, 0.9, 30.0)
    if name in ("ShearX", "ShearY"):
        s, x, y = strength * shear, (w - 1) / 2.0, (h - 1) / 2.0
        return "affine", (1, s, -s * y, 0, 1, 0) if name == "ShearX" else (1, 0, 0, s, 1, -s * x)
    if name in ("TranslateX", "TranslateY"):
        side = w if name == "TranslateX" else h
        shift = strength * (min(32.0, side / 2.0) if wide else 150.0 / 331.0 * side)
        return "affine", (1, 0, shift, 0, 1, 0) if name == "TranslateX" else (1, 0, 0, 0, 1, shift)
    if name == "Rotate":
        cos, sin = math.cos(math.radians(strength * angle)), math.sin(math.radians(strength * angle))
        x, y = (w - 1) / 2.0, (h - 1) / 2.0
        return "affine", (cos, -sin, x - cos * x + sin * y, sin, cos, y - sin * x - cos * y)
    if name in ("Brightness", "Color", "Contrast", "Sharpness"):
        kinds = {"Brightness": "linear", "Color": "grey", "Contrast": "contrast", "Sharpness": "sharpness"}
        return kinds[name], (1.0 + strength * enhanced,)
    if name == "Posterize":
        return "posterize", (8 - round(level * (6 if wide else 4)),)
    if name == "Solarize":
        return "solarize", (255.0 - level * 255.0,)
    if name == "Cutout":
        return "cutout", (0.0, 0.0, level * 30.0 / 331.0 * min(h, w))
    if name == "SamplePairing":
        return "pair", (0.0, 0.4 * level)
    plain = {
        "Identity": "identity",
        "AutoContrast": "autocontrast",
        "Equalize": "equalize",
        "Invert": "linear",
    }
    return plain[name], (-1.0, high) if name == "Invert" else ()


class _Listed(_Policy):
    """Policies of alternatives, each a list of steps (name, probability, strength in [0, 1])."""

    fill_mode = "constant"
    wide = False

    def _alternatives(self) -> Sequence[Sequence[tuple[str, float, float]]]:
        raise Error(f"{type(self).__name__} has no list of operations")

    def _tables(self, h: int, w: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Operations (s, t), their probabilities (s, t), their numbers by sign (s, t, 2, 8)."""
        steps = self._alternatives()
        code = np.zeros((len(steps), len(steps[0])), self.dtype)
        probability, numbers = np.zeros(code.shape, self.dtype), np.zeros((*code.shape, 2, 8), self.dtype)
        for (i, j), _ in np.ndenumerate(code):
            name, probability[i, j], level = steps[i][j]
            for k, sign in enumerate((-1, 1)):
                which, found = operation(name, level, sign, h, w, sum(self.value_range), self.wide)
                code[i, j], numbers[i, j, k, : len(found)] = CODE[which], found
        return code, probability, numbers

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        """{"steps": [(operations (n,), numbers (n, 8))]}."""
        if not training:
            return None
        shape = n, h, w, _ = batch_shape(data)
        code, probability, numbers = self._tables(h, w)
        count, depth = code.shape
        chosen = self._chosen(n, count, seed)
        steps = []
        for j in range(depth):
            happens = ops.cast(
                self.draw((n,), 0.0, 1.0, seed) < ops.take(probability[:, j], chosen, 0), self.dtype
            )
            sign = ops.floor(self.draw((n,), 0.0, 2.0, seed))
            which = ops.take(code[:, j], chosen, 0) * happens
            its = ops.take(numbers[:, j].reshape(2 * count, 8), 2.0 * chosen + sign, 0)
            steps.append((which, self._placed(which, its, shape, seed)))
        return {"steps": steps, "input_shape": shape}

    def _chosen(self, n: int, count: int, seed: Any) -> Any:
        return ops.floor(self.draw((n,), 0.0, float(count), seed))

    def _placed(self, which: Any, numbers: Any, shape: tuple[int, ...], seed: Any) -> Any:
        """Numbers with the middle of a cutout, and the other image of a pair, drawn too."""
        n, h, w, _ = shape
        drawn = self.draw((n, 2), 0.0, 1.0, seed)
        cut = ops.reshape(ops.cast(ops.equal(which, float(CODE["cutout"])), self.dtype), (n, 1))
        paired = ops.reshape(ops.cast(ops.equal(which, float(CODE["pair"])), self.dtype), (n, 1))
        rest = np.zeros((n, 6), self.dtype)
        middle = ops.concatenate([drawn * np.array([h, w], self.dtype), rest], 1)
        other = ops.concatenate([ops.floor(drawn[:, :1] * float(n)), np.zeros((n, 1), self.dtype), rest], 1)
        return numbers + cut * middle + paired * other

    def _steps(self, transformation: Any, n: int) -> list[Step]:
        return list(transformation["steps"])


class TrivialAugment(_Listed):
    """One of 14 operations with one of num_magnitude_bins strengths, for each image (Mueller & Hutter 2021, wide)."""

    wide = True

    def __init__(
        self, num_magnitude_bins: int = 31, value_range: Any = (0, 255), interpolation: str = "nearest",
        fill_value: float = 0.0, seed: int | None = None, data_format: str | None = None,
        bounding_box_format: str | None = None, **kwargs: Any,
    ):  # fmt: skip
        super().__init__(
            seed=seed, data_format=data_format, bounding_box_format=bounding_box_format, **kwargs
        )
        self.num_magnitude_bins = arguments.integer(
            "TrivialAugment", "num_magnitude_bins", num_magnitude_bins, 2
        )
        self.value_range = value_range_of("TrivialAugment", value_range)
        self.interpolation = arguments.choice(
            "TrivialAugment", "interpolation", interpolation, INTERPOLATIONS
        )
        self.fill_value = float(fill_value)

    def _alternatives(self) -> list[list[tuple[str, float, float]]]:
        levels = np.linspace(0.0, 1.0, self.num_magnitude_bins).tolist()
        return [[(name, 1.0, level)] for name in OF_TRIVIALAUGMENT for level in levels]


class AutoAugment(_Listed):
    """One of a policy's sub-policies for each image: operations one after the other, each with its probability.

    policy: "cifar10", "imagenet" or "svhn" (Cubuk et al. 2019), or a list of sub-policies [(name, probability,
    magnitude), ...] of equal lengths, magnitudes from 0 to 9. choose: a sub-policy for each "image", or for a "batch".
    """

    def __init__(
        self, policy: Any = "cifar10", value_range: Any = (0, 255), interpolation: str = "nearest",
        fill_value: float = 0.0, choose: str = "image", seed: int | None = None, data_format: str | None = None,
        bounding_box_format: str | None = None, **kwargs: Any,
    ):  # fmt: skip
        super().__init__(
            seed=seed, data_format=data_format, bounding_box_format=bounding_box_format, **kwargs
        )
        self.policy = policy
        self.value_range = value_range_of("AutoAugment", value_range)
        self.interpolation = arguments.choice("AutoAugment", "interpolation", interpolation, INTERPOLATIONS)
        self.fill_value = float(fill_value)
        self.choose = arguments.choice("AutoAugment", "choose", choose, ("image", "batch"))
        self._list = published(policy) if isinstance(policy, str) else _checked(policy)

    def _alternatives(self) -> list[list[tuple[str, float, float]]]:
        return [
            [(name, probability, magnitude / 9.0) for name, probability, magnitude in steps]
            for steps in self._list
        ]

    def _chosen(self, n: int, count: int, seed: Any) -> Any:
        if self.choose == "image":
            return super()._chosen(n, count, seed)
        return ops.floor(self.draw((1,), 0.0, float(count), seed)) + np.zeros(n, self.dtype)


Policy = list[list[tuple[str, float, float]]]


def _checked(policy: Any) -> Policy:
    """A policy in its normal form; an `Error` that says which step is wrong."""
    is_list = isinstance(policy, list | tuple) and all(isinstance(steps, list | tuple) for steps in policy)
    if not is_list or len({len(steps) for steps in policy}) != 1 or not policy[0]:
        raise Error("AutoAugment: a policy is a list of sub-policies, all with the same number of steps")
    found: Policy = []
    for i, steps in enumerate(policy):
        found.append([])
        for step in steps:
            if not isinstance(step, list | tuple) or len(step) != 3:
                raise Error(
                    f"AutoAugment: sub-policy {i}: a step is (name, probability, magnitude), got {step!r}"
                )
            name, probability, magnitude = step
            if name not in NAMES:
                raise Error(
                    f"AutoAugment: sub-policy {i}: no operation {name!r}{did_you_mean(str(name), NAMES)}"
                )
            where = f"sub-policy {i}: {name}: "
            share = arguments.number("AutoAugment", f"{where}probability", probability, 0.0, 1.0)
            level = arguments.number("AutoAugment", f"{where}magnitude", magnitude or 0, 0.0, 9.0)
            found[-1].append((name, share, level))
    return found


_SHORT = {
    "sx": "ShearX", "sy": "ShearY", "tx": "TranslateX", "ty": "TranslateY", "ro": "Rotate", "br": "Brightness",
    "co": "Color", "ct": "Contrast", "sh": "Sharpness", "ac": "AutoContrast", "eq": "Equalize", "in": "Invert",
    "po": "Posterize", "so": "Solarize",
}  # fmt: skip
_PUBLISHED = {  # operation, probability in tenths, magnitude
    "cifar10": """
        in1.0 ct2.6, ro7.2 tx3.9, sh8.1 sh9.3, sy5.8 ty7.9, ac5.0 eq9.0, sy2.7 po3.7, co4.3 br6.7, sh3.9 br7.9,
        eq6.0 eq5.0, ct6.7 sh6.5, co7.7 tx5.8, eq3.0 ac4.0, ty4.3 sh2.6, br9.6 co2.8, so5.2 in0.0, eq2.0 ac6.0,
        eq2.0 eq6.0, co9.9 eq6.0, ac8.0 so2.8, br1.3 co7.0, so4.5 ac9.0, ty9.9 ty7.9, ac9.0 so8.3, eq8.0 in1.0,
        ty7.9 ac9.0""",
    "imagenet": """
        po4.8 ro6.9, so6.5 ac6.0, eq8.0 eq6.0, po6.7 po6.6, eq4.0 so2.4, eq4.0 ro8.8, so6.3 eq6.0, po8.5 eq10.0,
        ro2.3 so6.8, eq6.0 po4.6, ro8.8 co4.0, ro4.9 eq6.0, eq0.0 eq8.0, in6.0 eq10.0, co6.4 ct10.8, ro8.8 co10.2,
        co8.8 so8.7, sh4.7 in6.0, sx6.5 eq10.0, co4.0 eq6.0, eq4.0 so2.4, so6.5 ac6.0, in6.0 eq10.0, co6.4 ct10.8,
        eq8.0 eq6.0""",
    "svhn": """
        sx9.4 in2.0, sy9.8 in7.0, eq6.0 so6.6, in9.0 eq6.0, eq6.0 ro9.3, sx9.4 ac8.0, sy9.8 in4.0, sy9.5 so2.6,
        in9.0 ac8.0, eq6.0 ro9.3, sx9.4 so3.3, sy8.8 in7.0, eq9.0 ty6.6, in9.0 eq6.0, ct3.3 ro8.4, in8.0 ty0.2,
        sy7.6 so4.8, in6.0 ro8.4, sy3.7 tx9.3, sx1.6 in6.0, so7.2 ty6.7, sy8.4 in8.0, sx7.9 ty8.3, sy8.5 ac7.0,
        sx7.2 in1.0""",
}


def published(name: str) -> Policy:
    """The 25 sub-policies that Cubuk et al. found on "cifar10", "imagenet" or "svhn"."""
    if name not in _PUBLISHED:
        raise Error(f"AutoAugment: no policy {name!r}{did_you_mean(name, _PUBLISHED)}")

    def step(text: str) -> tuple[str, float, float]:
        tenths, _, magnitude = text[2:].partition(".")
        return _SHORT[text[:2]], int(tenths) / 10, float(magnitude)

    return [[step(text) for text in pair.split()] for pair in _PUBLISHED[name].split(",")]
