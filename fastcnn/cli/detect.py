"""Train a detector on a data.yaml, measure it, or find objects in images."""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

from fastcnn.detection import Augmentation, Detector, read_yolo, tiny_backbone
from fastcnn.detection.data_yaml import read_data_yaml
from fastcnn.detection.detector import read_epochs
from fastcnn.detection.voc import EXTENSIONS
from fastcnn.errors import Error
from fastcnn.utils.files import atomic_write


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command: one of train, val, predict, and theirs."""
    actions = parser.add_subparsers(required=True, metavar="train|val|predict", dest="action")
    train = actions.add_parser("train", help="train into a folder of runs/")
    train.add_argument("data", help="a data.yaml")
    train.add_argument("--epochs", type=int, default=100)
    train.add_argument("--batch", type=int, default=16, help="images a step")
    train.add_argument("--size", type=int, nargs=2, default=(288, 384), metavar=("HEIGHT", "WIDTH"))
    train.add_argument("--channels", type=int, default=3, choices=(1, 3, 4))
    train.add_argument("--width", type=int, default=16, help="channels of the backbone's first stage")
    train.add_argument("--grids", type=int, default=1, choices=(1, 2))
    train.add_argument("--anchors", type=int, default=5, help="of each grid")
    train.add_argument("--rate", type=float, default=2e-3, help="largest learning rate")
    train.add_argument("--mosaic", type=float, default=0.3, help="chance of four images in one")
    train.add_argument("--flip-vertical", type=float, default=0.0, help="chance of images upside down")
    train.add_argument("--seed", type=int, default=0)
    train.add_argument("--name", help="folder of runs/; by default the next of detect1, detect2, ...")
    train.add_argument(
        "--skip", action="store_true", help="read all images first and leave out those that cannot be read"
    )
    train.add_argument("--resume", action="store_true", help="go on with the training in the folder --name")
    train.set_defaults(act=_train)
    val = actions.add_parser("val", help="average precision on a split")
    val.add_argument("model", help="a file that train has written")
    val.add_argument("data", help="a data.yaml")
    val.add_argument("--split", default="val")
    val.set_defaults(act=_validate)
    predict = actions.add_parser("predict", help="draw boxes into images, and write them as COCO's JSON")
    predict.add_argument("model", help="a file that train has written")
    predict.add_argument("images", nargs="+", help="files or folders")
    predict.add_argument("--score", type=float, default=0.25, help="detections below are dropped")
    predict.add_argument(
        "--iou", type=float, default=0.45, help="of boxes that overlap more the surest stays"
    )
    predict.add_argument("--name", help="folder of runs/; by default the next of predict1, predict2, ...")
    predict.set_defaults(act=_predict)


def run(arguments: argparse.Namespace) -> int:
    """Do one of them; returns the exit status."""
    return int(arguments.act(arguments))


def _train(arguments: argparse.Namespace) -> int:
    on_error = "skip" if arguments.skip else "raise"
    train = read_yolo(arguments.data, "train", on_error)
    splits = read_data_yaml(arguments.data).splits
    validation = read_yolo(arguments.data, "val", on_error) if "val" in splits else None
    for problem in train.problems[:10]:
        print(f"left out: {problem}")
    if len(train.problems) > 10:
        print(f"left out: {len(train.problems)} in all; python -m fastcnn check {arguments.data} lists them")
    if arguments.resume and not arguments.name:
        raise Error("detect train --resume: say which training with --name")
    folder = Path("runs", arguments.name) if arguments.name else _next_folder("detect")
    print(f"{train}; validating on {len(validation) if validation else 'no'} images; into {folder}")
    size = (*arguments.size, arguments.channels)
    detector = Detector(
        tiny_backbone(size, arguments.width, grids=arguments.grids),
        train.class_names,
        anchors_per_grid=arguments.anchors,
    )
    changes = Augmentation(flip_vertical=arguments.flip_vertical, mosaic=arguments.mosaic)
    detector.fit(
        train, arguments.epochs, arguments.batch, validation, learning_rate=arguments.rate, augmentation=changes,
        folder=folder, resume=arguments.resume, seed=arguments.seed,
    )  # fmt: skip
    best = folder / "best.safetensors"
    if validation is not None:
        print(Detector.load(best).evaluate(validation, verbose=1))
    print(f"{read_epochs(folder)} epochs; the best detector is {best}")
    return 0


def _validate(arguments: argparse.Namespace) -> int:
    dataset = read_yolo(arguments.data, arguments.split)
    print(dataset)
    print(Detector.load(arguments.model).evaluate(dataset, verbose=1))
    return 0


def _predict(arguments: argparse.Namespace) -> int:
    detector = Detector.load(arguments.model)
    paths = [path for place in arguments.images for path in _files(Path(place))]
    if not paths:
        raise Error(f"there is no image in {', '.join(arguments.images)}")
    found = detector.predict(paths, arguments.score, arguments.iou, verbose=1)
    folder = Path("runs", arguments.name) if arguments.name else _next_folder("predict")
    folder.mkdir(parents=True, exist_ok=True)
    records = []
    names, taken = [path.name for path in paths], set()
    for number, (path, detections) in enumerate(zip(paths, found, strict=True)):
        records += detections.to_coco(str(path) if names.count(path.name) > 1 else path.name)
        name = path.stem
        while name in taken:
            name = f"{number:06d}_{name}"
        taken.add(name)
        with atomic_write(folder / f"{name}.png") as file:
            detections.draw(path).save(file, "PNG")
        print(f"{path.name}: {len(detections)} found")
    with atomic_write(folder / "detections.json") as file:
        file.write(json.dumps(records).encode())
    print(f"pictures and detections.json are in {folder}")
    return 0


def _files(place: Path) -> Iterator[Path]:
    if place.is_dir():
        yield from sorted(path for path in place.iterdir() if path.suffix.lower() in EXTENSIONS)
    elif place.is_file():
        yield place
    else:
        raise Error(f"{place}: there is no such file or folder")


def _next_folder(stem: str) -> Path:
    """The first of runs/STEM1, runs/STEM2, ... that does not exist."""
    number = 1
    while Path("runs", f"{stem}{number}").exists():
        number += 1
    return Path("runs", f"{stem}{number}")
