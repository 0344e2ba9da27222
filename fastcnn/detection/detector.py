"""Detector: a backbone with YOLO heads, from training to boxes in the pixels of the original image."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Self

import numpy as np

from fastcnn import ops
from fastcnn.callbacks import BackupAndRestore, Callback, CSVLogger, History
from fastcnn.data.image_files import image_size, read_image
from fastcnn.data.prefetch import prefetch
from fastcnn.detection.anchors import anchor_kmeans
from fastcnn.detection.augment import Augmentation, Window, as_image, letterbox_window
from fastcnn.detection.backbones import tiny_backbone
from fastcnn.detection.batches import DetectionBatches
from fastcnn.detection.boxes import areas, clip_boxes, scale_boxes
from fastcnn.detection.dataset import BoxDataset
from fastcnn.detection.grids import Grid, decode
from fastcnn.detection.head import YOLOHead
from fastcnn.detection.loss import YOLOLoss
from fastcnn.detection.metrics import COCO_THRESHOLDS, Evaluation, evaluate_detections
from fastcnn.detection.results import Detections
from fastcnn.errors import Error
from fastcnn.layers import arguments
from fastcnn.losses import Loss
from fastcnn.models import Model
from fastcnn.models.saving import load_model, read, save_model
from fastcnn.ops.detection import as_anchors
from fastcnn.optimizers import AdamW
from fastcnn.optimizers.schedules import CosineDecay
from fastcnn.utils.progress import Progbar

CANDIDATES = (
    3000  # boxes of an image that go into suppression, the surest; at least as many as any image has objects
)


Candidates = tuple[
    np.ndarray, np.ndarray, np.ndarray
]  # boxes in pixels of the network's input, scores, labels


class Detector:
    """Finds objects of some classes in images.

    backbone: a model (height, width, channels) -> one or more maps of features, the finest first; by default
    `tiny_backbone()`. classes: their names, or how many there are. anchors: (width, height) of each in pixels of the
    backbone's input, the same number for each map, the smallest go to the finest; "auto" takes them from the first
    data that `fit` sees, `anchors_per_grid` for each map.
    """

    def __init__(
        self,
        backbone: Model | None = None,
        classes: int | Sequence[str] = 1,
        anchors: Any = "auto",
        anchors_per_grid: int = 3,
        class_activation: str = "softmax",
        spread: float = 1.1,
    ):
        if isinstance(classes, str) or not isinstance(classes, int | Sequence):
            raise Error(f"Detector: classes are a list of names, or how many there are; got {classes!r}")
        self.class_names = tuple(map(str, range(classes) if isinstance(classes, int) else classes))
        if not self.class_names or len(set(self.class_names)) < len(self.class_names):
            raise Error(f"Detector: classes must be different names, at least one; got {classes!r}")
        if not isinstance(backbone, Model | None):
            raise Error(f"Detector: the backbone must be a Model or None, got {backbone!r}")
        self.backbone: Model | None = backbone or tiny_backbone()
        self.size = _input_size(self.backbone)
        self.anchors_per_grid = arguments.integer("Detector", "anchors_per_grid", anchors_per_grid)
        self.class_activation, self.spread = class_activation, spread
        self.model: Model | None = None
        self.anchors: np.ndarray | None = None
        if not isinstance(anchors, str):
            self.build(anchors)
        elif anchors != "auto":
            raise Error(f"Detector: anchors are 'auto' or (width, height) of each in pixels, got {anchors!r}")

    # --- the network -----------------------------------------------------------------------------------------

    def build(self, anchors: Any) -> None:
        """Put heads on the backbone. anchors: (width, height) of each in pixels, as many for each map of features."""
        assert self.backbone is not None
        found = as_anchors("Detector", anchors, "pixels")
        maps = self.backbone.outputs
        if len(found) < len(maps):
            raise Error(
                f"Detector: {len(maps)} maps of features need at least as many anchors, got {len(found)}"
            )
        self.anchors = found[np.argsort(found.prod(1), kind="stable")]
        heads = [
            self._head(x, part) for x, part in zip(maps, np.array_split(self.anchors, len(maps)), strict=True)
        ]
        self.model = Model(self.backbone.input, heads if len(heads) > 1 else heads[0], name="detector")

    def _head(self, features: Any, anchors: np.ndarray) -> Any:
        rows, columns = features.shape[1:3]
        cells = anchors * (columns, rows) / (self.size[1], self.size[0])
        head = YOLOHead(
            (rows, columns), cells.tolist(), len(self.class_names), self.class_activation, self.spread
        )
        return head(features)

    def _built(self) -> Model:
        if self.model is None:
            raise Error("Detector: there are no anchors yet; call fit, or give anchors when making it")
        return self.model

    @property
    def grids(self) -> list[Grid]:
        """The grids of predictions, the finest first."""
        heads = [y.node.operation for y in self._built().outputs if y.node is not None]
        return [head.grid_of((None, *head.grid, None)) for head in heads]

    def _anchors_from(self, dataset: BoxDataset) -> np.ndarray:
        """Typical sizes of the objects, in pixels of the network's input."""
        assert self.backbone is not None
        sizes = []
        for sample in dataset.samples:
            objects = sample.objects
            if len(objects):
                h, w = _size_of(sample.image)
                step = letterbox_window((h, w), self.size[:2]).row_step
                sizes.append((objects.boxes[:, 2:] - objects.boxes[:, :2]) / step)
        every = np.concatenate(sizes) if sizes else np.zeros((0, 2))
        every = every[(every > 0).all(1)]
        maps = len(self.backbone.outputs)
        found = anchor_kmeans(every, self.anchors_per_grid * maps, seed=0)
        while len(found) < maps:  # fewer different sizes than maps
            found = np.concatenate([found, found[-1:] * 2])
        return found

    # --- training --------------------------------------------------------------------------------------------

    def fit(
        self,
        dataset: BoxDataset,
        epochs: int = 100,
        batch_size: int = 16,
        validation_data: BoxDataset | None = None,
        validation_freq: int = 1,
        learning_rate: float = 2e-3,
        optimizer: Any = None,
        loss: YOLOLoss | None = None,
        augmentation: Augmentation | None = Augmentation(),  # noqa: B008
        folder: str | PathLike[str] | None = None,
        resume: bool = False,
        callbacks: Sequence[Callback] = (),
        seed: int = 0,
        verbose: Any = "auto",
    ) -> History:
        """Train, and return the History: loss, and where there is validation data every so many epochs val_map50.

        learning_rate: the largest, of AdamW; it rises over the first epochs and falls to 0 along a cosine. folder gets
        log.csv, last.safetensors and best.safetensors, by val_map50. resume: go on where training into that folder was
        interrupted, bit for bit as it would have gone; it begins where there is none. A folder in which training has
        ended is an `Error`.
        """
        epochs = arguments.integer("Detector.fit", "epochs", epochs)
        batch_size = arguments.integer("Detector.fit", "batch_size", batch_size)
        self._check_classes(dataset)
        if validation_data is not None:
            self._check_classes(validation_data)
        if not isinstance(augmentation, Augmentation | None):
            raise Error(f"Detector: augmentation must be an Augmentation or None, got {augmentation!r}")
        if not 0 < learning_rate < np.inf:
            raise Error(f"Detector: learning_rate must be positive and finite, got {learning_rate}")
        records = self._records(Path(folder), resume) if folder is not None else []
        if self.model is None:
            self.build(self._anchors_from(dataset))
        model = self._built()
        shown = verbose not in (0, False)
        batches = self._batches(
            DetectionBatches(
                dataset, self.grids, self.size, batch_size, augmentation, True, seed, verbose=shown
            )
        )
        steps = epochs * len(batches)
        warm = min(steps // 10 + 1, 3 * len(batches))
        rate = CosineDecay(1e-6, max(steps - warm, 1), warmup_target=learning_rate, warmup_steps=warm)
        chosen = optimizer or AdamW(rate, weight_decay=0.01, global_clipnorm=50.0)
        losses = self._losses(loss or YOLOLoss("ciou", box_weight=2.0, ignore_threshold=0.6))
        model.compile(chosen, losses if len(losses) > 1 else losses[0])
        follow: list[Callback] = [_Epochs(batches)]
        if validation_data is not None:
            follow.append(MapMonitor(self, validation_data, validation_freq, batch_size))
        return model.fit(
            batches, epochs=epochs, callbacks=[*follow, *records, *callbacks], verbose=verbose, shuffle=False
        )

    def _check_classes(self, dataset: BoxDataset) -> None:
        if not isinstance(dataset, BoxDataset):
            raise Error(
                f"Detector: the data must be a BoxDataset, got {type(dataset).__name__}; see BoxDataset.from_arrays, "
                "read_voc, read_coco and read_yolo"
            )
        if dataset.class_names != self.class_names:
            raise Error(
                f"Detector: it finds {', '.join(self.class_names)}, the data has {', '.join(dataset.class_names)}"
            )

    def _batches(self, batches: DetectionBatches) -> DetectionBatches:
        """What the network is trained on, from images with targets for grids."""
        return batches

    def _losses(self, loss: YOLOLoss) -> list[Loss]:
        """One an output."""
        return [loss] * len(self.grids)

    def _records(self, folder: Path, resume: bool) -> list[Callback]:
        """What writes into a folder. In it there is a folder `state` from the beginning of training to its end."""
        state, log = folder / "state", folder / "log.csv"
        if state.is_dir() and not resume:
            raise Error(
                f"{folder}: holds training that was interrupted; go on with resume=True, or use another folder"
            )
        if log.is_file() and not state.is_dir():
            raise Error(
                f"{folder}: holds training that has ended, {read_epochs(folder)} epochs; use another folder, or "
                "delete this one"
            )
        _make_folder(folder)
        return [_Log(log, append=resume), _Keeper(self, folder), BackupAndRestore(state)]

    # --- what it finds ---------------------------------------------------------------------------------------

    def predict(
        self,
        images: Any,
        score_threshold: float = 0.25,
        iou_threshold: float = 0.45,
        max_detections: int = 300,
        agnostic: bool = False,
        batch_size: int = 16,
        verbose: Any = 0,
    ) -> Any:
        """Detections in an image, or a list of them for a list of images.

        An image is a file, or an array (height, width, channels) of 0..255, of any size. Of boxes of one class (of all
        classes with `agnostic`) that overlap by more than `iou_threshold` the surest stays.
        """
        batch_size = arguments.integer("predict", "batch_size", batch_size)
        if not 0 <= score_threshold <= 1:
            raise Error(f"predict: score_threshold must lie in [0, 1], got {score_threshold}")
        single = not isinstance(images, list | tuple) and not (
            isinstance(images, np.ndarray) and images.ndim == 4
        )
        given = [images] if single else list(images)
        found: list[Detections] = []
        bar = Progbar(len(given), verbose=1 if verbose else 0, unit_name="image")
        starts = range(0, len(given), batch_size)
        batches = ([self._picture(image) for image in given[start : start + batch_size]] for start in starts)
        for pictures in prefetch(batches, 1) if len(starts) > 1 else batches:
            candidates = self._candidates(np.stack([picture for picture, _, _ in pictures]), score_threshold)
            for (_, window, size), (boxes, scores, labels) in zip(pictures, candidates, strict=True):
                kept = ops.nms(
                    boxes, scores, None if agnostic else labels, iou_threshold, max_boxes=max_detections
                )
                pixels = clip_boxes(window.boxes_out(boxes[kept]), size[1], size[0])
                inside = areas(pixels) > 0  # what lies in the border around the image is nothing
                kept = kept[inside]
                found.append(Detections.of(pixels[inside], scores[kept], labels[kept], self.class_names))
            bar.update(len(found))
        return found[0] if single else found

    def _picture(self, image: Any) -> tuple[np.ndarray, Window, tuple[int, int]]:
        """An image at the network's size in 0..1, how it got there, and its own (height, width)."""
        array = read_image(image, self.size[2]) if isinstance(image, str | PathLike) else image
        array = as_image("Detector", array, self.size[2])
        window = letterbox_window(array.shape[:2], self.size[:2])
        return window.cut(array) / np.float32(255), window, array.shape[:2]

    def _candidates(self, pictures: np.ndarray, score_threshold: float) -> list[Candidates]:
        """What suppression chooses from, of each picture (n, height, width, channels)."""
        outputs = self._built().predict_on_batch(pictures)
        grids = list(outputs) if isinstance(outputs, list | tuple) else [outputs]
        return [self._decode(values, score_threshold) for values in zip(*grids, strict=True)]

    def _decode(self, values: Sequence[np.ndarray], score_threshold: float) -> Candidates:
        """Of one picture, from the values of its grids."""
        parts = []
        for value, grid in zip(values, self.grids, strict=True):
            boxes, pc, shares = decode(value, grid)
            scores = pc * shares.max(1)
            chosen = np.flatnonzero(scores >= score_threshold)
            parts.append((boxes[chosen], scores[chosen], shares[chosen].argmax(1)))
        boxes, scores, labels = (np.concatenate(part) for part in zip(*parts, strict=True))
        best = np.argsort(-scores, kind="stable")[:CANDIDATES]
        return scale_boxes(boxes[best], self.size[1], self.size[0]), scores[best], labels[best]

    def evaluate(
        self,
        dataset: BoxDataset,
        iou_thresholds: Sequence[float] = COCO_THRESHOLDS,
        score_threshold: float = 0.001,
        iou_threshold: float = 0.5,
        max_detections: int = 100,
        batch_size: int = 16,
        verbose: Any = 0,
    ) -> Evaluation:
        """Average precision on a data set. iou_threshold: of the suppression; iou_thresholds: of hits."""
        self._check_classes(dataset)
        images = [sample.image for sample in dataset.samples]
        found = self.predict(
            images, score_threshold, iou_threshold, max_detections, batch_size=batch_size, verbose=verbose
        )
        truths = [sample.objects for sample in dataset.samples]
        return evaluate_detections(truths, found, self.class_names, iou_thresholds, max_detections)

    # --- files -----------------------------------------------------------------------------------------------

    def save(self, filepath: str | PathLike[str]) -> None:
        """Write everything to one safetensors file, atomically."""
        model = self._built()
        assert self.anchors is not None
        settings = {
            "class_names": list(self.class_names),
            "anchors": self.anchors.tolist(),
            "class_activation": self.class_activation,
            "spread": self.spread,
        }
        save_model(model, filepath, extra={"detector": {"kind": type(self).__name__, **settings}})

    @classmethod
    def load(cls, filepath: str | PathLike[str]) -> Self:
        """The detector that `save` wrote."""
        _, config = read(filepath)
        settings = config.get("detector")
        if not isinstance(settings, dict):
            raise Error(f"{filepath}: holds a model, but no detector; use fastcnn.models.load_model")
        if settings.get("kind") != cls.__name__:
            raise Error(
                f"{filepath}: holds a {settings.get('kind')}; use its load(), not that of {cls.__name__}"
            )
        detector = cls.__new__(cls)
        detector.model = load_model(filepath)
        detector.backbone = None
        detector.size = _input_size(detector.model)
        try:
            detector.class_names = tuple(map(str, settings["class_names"]))
            detector.anchors = np.array(settings["anchors"], np.float64)
            detector.class_activation = str(settings["class_activation"])
            detector.spread = float(settings["spread"])
        except (KeyError, TypeError, ValueError) as error:
            raise Error(f"{filepath}: its detector settings are damaged ({error})") from error
        detector.anchors_per_grid = len(detector.anchors) // len(detector.model.outputs)
        return detector


def _input_size(model: Model) -> tuple[int, int, int]:
    shape = model.inputs[0].shape[1:]
    sizes = [n for n in shape if n is not None]
    if len(shape) != 3 or len(sizes) != 3:
        raise Error(
            f"Detector: the backbone's input must be (height, width, channels), all known; got {shape}"
        )
    return sizes[0], sizes[1], sizes[2]


def _size_of(image: Any) -> tuple[int, int]:
    """(height, width) without reading all of a file."""
    if isinstance(image, np.ndarray):
        return image.shape[0], image.shape[1]
    width, height = image_size(image)
    return height, width


# --- what happens while it trains ------------------------------------------------------------------------------


class _Epochs(Callback):
    """Tells the batches which epoch it is, also when training goes on where it was."""

    def __init__(self, batches: DetectionBatches):
        super().__init__()
        self.batches = batches

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.batches.epoch = epoch


class MapMonitor(Callback):
    """Adds `val_map50` to the logs every `frequency` epochs, and in the last one."""

    def __init__(self, detector: Detector, dataset: BoxDataset, frequency: int = 1, batch_size: int = 16):
        super().__init__()
        self.detector, self.dataset = detector, dataset
        self.frequency = arguments.integer("MapMonitor", "frequency", frequency)
        self.batch_size = batch_size

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if (epoch + 1) % self.frequency and epoch + 1 < self.params.get("epochs", 0):
            return
        if getattr(self.model, "_interrupted", False):
            return  # Ctrl-C: the epoch is not complete, and whoever pressed it does not want to wait
        found = self.detector.evaluate(self.dataset, (0.5,), batch_size=self.batch_size)
        if logs is not None and found.map50 is not None:
            logs["val_map50"] = found.map50


class _Log(CSVLogger):
    """log.csv. An epoch that begins again, since it was interrupted, takes the place of its earlier row."""

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        rows = self._read()
        kept = [row for row in rows if int(row["epoch"]) < epoch]
        if len(kept) < len(rows):
            self._write(kept)


class _Keeper(Callback):
    """Keeps the latest and the best detector in a folder; without validation data the latest is the best."""

    def __init__(self, detector: Detector, folder: Path):
        super().__init__()
        self.detector, self.folder = detector, folder
        self.best = -1.0

    def on_train_begin(self, logs: Any = None) -> None:
        _make_folder(self.folder / "state")

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        values = [row.get("val_map50", "") for row in _rows(self.folder) if int(row["epoch"]) < epoch]
        self.best = max([float(value) for value in values if value not in ("", "NA")], default=-1.0)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.detector.save(self.folder / "last.safetensors")
        value = (logs or {}).get("val_map50")
        if value is None and self.best < 0 or value is not None and value > self.best:
            self.best = -1.0 if value is None else value
            self.detector.save(self.folder / "best.safetensors")


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError("it may only be read")
    except OSError as error:
        raise Error(
            f"{folder}: cannot be written into ({error}); give another folder to train into"
        ) from error


def _rows(folder: Path) -> list[dict[str, str]]:
    """What log.csv says of each epoch."""
    log = folder / "log.csv"
    if not log.is_file():
        return []
    with log.open(newline="") as file:
        return list(csv.DictReader(file))


def read_epochs(folder: Path) -> int:
    """How many epochs a folder has seen."""
    return len(_rows(folder))
