"""Batches for training a detector: images at one size, and targets for its grids."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from fastcnn.data import PyDataset
from fastcnn.data.batches import permutation
from fastcnn.detection.augment import Augmentation, as_image, cut_objects, fitted, mosaic
from fastcnn.detection.boxes import normalize_boxes
from fastcnn.detection.dataset import BoxDataset
from fastcnn.detection.grids import Grid, encode
from fastcnn.detection.results import Objects
from fastcnn.errors import Error

CACHE_BYTES = 1 << 30  # images are kept in memory up to this; others are read again when they are wanted


class DetectionBatches(PyDataset):
    """Batches (x, targets) of a data set.

    x (n, height, width, channels) float32 in 0..1; targets (n, rows, columns, anchors (5 + classes)) of each grid.
    Every image, and all chance in it, is a function of the seed, the epoch and its number.
    """

    def __init__(
        self,
        dataset: BoxDataset,
        grids: Sequence[Grid],
        size: tuple[int, int, int],
        batch_size: int,
        augmentation: Augmentation | None = None,
        shuffle: bool = False,
        seed: int = 0,
        ignore_threshold: float = 1.0,
        verbose: bool = False,
    ):
        super().__init__()
        if not len(dataset):
            raise Error("there is no image in the data set")
        if batch_size < 1:
            raise Error(f"batch_size must be at least 1, got {batch_size}")
        self.dataset, self.grids = dataset, list(grids)
        self.height, self.width, self.channels = size
        self.batch_size, self.augmentation = batch_size, augmentation
        self.shuffle, self.seed, self.ignore_threshold = shuffle, seed, ignore_threshold
        self.epoch = 0
        self._kept: dict[int, tuple[np.ndarray, Objects]] = {}
        self._keep(verbose)

    def _keep(self, verbose: bool) -> None:
        """Read images at their final size, as many as memory is meant for."""
        most = CACHE_BYTES // (self.height * self.width * self.channels)
        numbers = range(min(len(self.dataset), most))
        for number in tqdm(numbers, desc="reading images", unit="image", disable=None if verbose else True):
            self._kept[number] = self._read(number)

    def _read(self, number: int) -> tuple[np.ndarray, Objects]:
        sample = self.dataset[number]
        image = as_image(sample.name, sample.load(self.channels), self.channels)
        return fitted(image, sample.objects, (self.height, self.width))

    def picture(self, number: int) -> tuple[np.ndarray, Objects]:
        """An image at the size of the detector, 0..255, and its objects."""
        return self._kept[number] if number in self._kept else self._read(number)

    def __len__(self) -> int:
        return math.ceil(len(self.dataset) / self.batch_size)

    def pictures(self, index: int) -> list[tuple[np.ndarray, Objects]]:
        """The images of a batch, 0..255, changed at random, and their objects."""
        n = len(self.dataset)
        order = permutation(n, self.seed, self.epoch) if self.shuffle else np.arange(n)
        chosen = order[index * self.batch_size : (index + 1) * self.batch_size]
        return [self._changed(int(number)) for number in chosen]

    def __getitem__(self, index: int) -> Any:
        pictures = self.pictures(index)
        x = np.stack([image for image, _ in pictures]).astype(np.float32)
        x /= 255
        targets = [self._targets(objects) for _, objects in pictures]
        stacked = tuple(np.stack([target[g] for target in targets]) for g in range(len(self.grids)))
        return x, stacked if len(stacked) > 1 else stacked[0]

    def on_epoch_end(self) -> None:
        self.epoch += 1

    def _changed(self, number: int) -> tuple[np.ndarray, Objects]:
        how = self.augmentation
        if how is None:
            return self.picture(number)
        key = np.array([self.seed % 2**64, (self.epoch << 32) + number], np.uint64)
        rng = np.random.Generator(np.random.Philox(key=key))
        target = self.height, self.width
        if rng.random() < how.mosaic:
            others = rng.integers(len(self.dataset), size=3)
            image, objects = mosaic(rng, [self.picture(int(i)) for i in (number, *others)], target, how)
        else:
            source, known = self.picture(number)
            window = how.window(rng, source.shape[:2], target)
            image, objects = window.cut(source), cut_objects(known, window)
        return how.colour(rng, image), objects

    def _targets(self, objects: Objects) -> list[np.ndarray]:
        """Crowds are no targets."""
        single = objects.select(~objects.crowd)
        boxes = normalize_boxes(single.boxes, self.width, self.height)
        return encode(boxes, single.labels, self.grids, self.ignore_threshold)
