"""Train a detector on a data.yaml, measure it, or find objects in images."""

import argparse
import functools
import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fastcnn.callbacks import Callback
from fastcnn.config import set_random_seed
from fastcnn.detection import Augmentation, BoxDataset, Detector, read_yolo, tiny_backbone
from fastcnn.detection.data_yaml import read_data_yaml
from fastcnn.detection.detector import read_epochs
from fastcnn.detection.voc import EXTENSIONS
from fastcnn.errors import Error
from fastcnn.utils.files import atomic_write

OPTIONS = "options.json"  # of a training, in its folder
SKIP: Any = {
    "action": "store_true",
    "help": "read all images first and leave out those that cannot be read, and labels that are wrong",
}
DEFAULTS = {
    "epochs": 100,
    "batch": 16,
    "size": [288, 384],
    "channels": 3,
    "width": 16,
    "grids": 1,
    "anchors": 5,
    "rate": 2e-3,
    "mosaic": 0.3,
    "flip_vertical": 0.0,
    "seed": 0,
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command: one of train, val, predict, and theirs."""
    actions = parser.add_subparsers(required=True, metavar="train|val|predict", dest="action")
    train = actions.add_parser("train", help="train into a folder of runs/")
    train.add_argument("data", help="a data.yaml")
    option = functools.partial(train.add_argument, default=argparse.SUPPRESS)
    option("--epochs", type=int)
    option("--batch", type=int, help="images a step")
    option("--size", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"))
    option("--channels", type=int, choices=(1, 3, 4))
    option("--width", type=int, help="channels of the backbone's first stage")
    option("--grids", type=int, choices=(1, 2))
    option("--anchors", type=int, help="of each grid")
    option("--rate", type=float, help="largest learning rate")
    option("--mosaic", type=float, help="chance of four images in one")
    option("--flip-vertical", type=float, help="chance of images upside down")
    option("--seed", type=int)
    train.add_argument("--name", help="folder of runs/; by default the next of detect1, detect2, ...")
    train.add_argument("--skip", **SKIP)
    train.add_argument(
        "--resume", action="store_true",
        help="go on with the interrupted training in the folder --name, with the options that it was begun with",
    )  # fmt: skip
    train.set_defaults(act=_train)
    val = actions.add_parser("val", help="average precision on a split")
    val.add_argument("model", help="a file that train has written")
    val.add_argument("data", help="a data.yaml")
    val.add_argument("--split", default="val")
    val.add_argument("--skip", **SKIP)
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
    if arguments.resume and not arguments.name:
        raise Error("detect train --resume: say which training with --name")
    folder = Path("runs", arguments.name) if arguments.name else _next_folder("detect")
    options = _options(arguments, folder)
    train = _read(arguments, "train")
    validation = _read(arguments, "val") if "val" in read_data_yaml(arguments.data).splits else None
    print(f"{train}; validating on {len(validation) if validation else 'no'} images; into {folder}")
    set_random_seed(options["seed"])
    detector = Detector(
        tiny_backbone((*options["size"], options["channels"]), options["width"], grids=options["grids"]),
        train.class_names,
        anchors_per_grid=options["anchors"],
    )
    changes = Augmentation(flip_vertical=options["flip_vertical"], mosaic=options["mosaic"])
    state = folder / "state"
    try:
        detector.fit(
            train, options["epochs"], options["batch"], validation, learning_rate=options["rate"],
            augmentation=changes, folder=folder, resume=arguments.resume, seed=options["seed"],
            callbacks=[_Written(folder / OPTIONS, options)],
        )  # fmt: skip
    except KeyboardInterrupt:  # the second Ctrl-C
        if not state.is_dir():
            raise
    if state.is_dir():
        go_on = [
            "python",
            "-m",
            "fastcnn",
            "detect",
            "train",
            arguments.data,
            "--resume",
            "--name",
            arguments.name or folder.name,
            *(["--skip"] if arguments.skip else []),
        ]
        print(f"interrupted; to go on: {shlex.join(go_on)}")
        return 130
    best = folder / "best.safetensors"
    if validation is not None:
        print(Detector.load(best).evaluate(validation, verbose=1))
    print(f"{read_epochs(folder)} epochs; the best detector is {best}")
    return 0


def _read(arguments: argparse.Namespace, split: str) -> BoxDataset:
    """A split of the data; what is left out is printed."""
    dataset = read_yolo(arguments.data, split, "skip" if arguments.skip else "raise")
    for problem in dataset.problems[:10]:
        print(f"left out: {problem}")
    if len(dataset.problems) > 10:
        print(
            f"left out: {len(dataset.problems)} in all; python -m fastcnn check {arguments.data} lists them"
        )
    return dataset


def _options(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """What to train with: given options, before those that interrupted training was begun with, before defaults."""
    given = {name: value for name, value in vars(arguments).items() if name in DEFAULTS}
    if not arguments.resume:
        return {**DEFAULTS, **given}
    path = folder / OPTIONS
    try:
        begun = json.loads(path.read_text())
        options = {name: begun[name] for name in DEFAULTS}
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise Error(f"{folder}: there is no interrupted training to resume ({path.name}: {error})") from error
    for name, value in given.items():
        if value != options[name]:
            raise Error(
                f"detect train --resume: --{name.replace('_', '-')} was {options[name]} when the training in {folder} "
                f"began, not {value}; leave the option out, or train into another folder"
            )
    return options


class _Written(Callback):
    """Writes the options of the training beside its results."""

    def __init__(self, path: Path, options: dict[str, Any]):
        super().__init__()
        self.path, self.options = path, options

    def on_train_begin(self, logs: Any = None) -> None:
        with atomic_write(self.path) as file:
            file.write(json.dumps(self.options).encode())


def _validate(arguments: argparse.Namespace) -> int:
    dataset = _read(arguments, arguments.split)
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
