"""From data to detections, and from one size of image to another."""

import json
from pathlib import Path

import numpy as np
import pytest

import fastcnn
from fastcnn import detection
from fastcnn.__main__ import main
from fastcnn.detection import Augmentation, BoxDataset, Detector, Objects
from fastcnn.detection.augment import Window, cut_objects, letterbox_window, mosaic
from fastcnn.errors import Error


def squares(count: int, size: tuple[int, int] = (32, 48), channels: int = 3) -> BoxDataset:
    """Light squares and dark bars on grey."""
    rng = np.random.default_rng(count)
    images, boxes, labels = [], [], []
    for _ in range(count):
        image = np.full((*size, channels), 128, np.uint8)
        left, top = rng.integers(0, 14, 2)
        kind = int(rng.integers(2))
        w, h = ((12, 12), (24, 6))[kind]
        image[top : top + h, left : left + w] = (250, 10)[kind]
        images.append(image)
        boxes.append([[left, top, left + w, top + h]])
        labels.append([kind])
    return BoxDataset.from_arrays(images, boxes, labels, ("square", "bar"))


def small_detector(size=(32, 48, 3), **options) -> Detector:
    return Detector(
        detection.tiny_backbone(size, 8, (0, 1, 0)), ("square", "bar"), anchors_per_grid=2, **options
    )


def trained(folder: Path | None = None, epochs: int = 25, **options) -> Detector:
    fastcnn.utils.set_random_seed(0)
    detector = small_detector()
    detector.fit(squares(64), epochs, 16, folder=folder, learning_rate=0.01, verbose=0, **options)
    return detector


@pytest.fixture(scope="module")
def detector() -> Detector:
    return trained(augmentation=Augmentation(flip_horizontal=0.5, mosaic=0.0, scale=(0.8, 1.2)))


def test_it_learns(detector: Detector) -> None:
    evaluation = detector.evaluate(squares(20))
    assert evaluation.map50 is not None and evaluation.map50 > 0.9
    data = squares(3)
    found = detector.predict([sample.image for sample in data.samples], 0.3)
    for detections, sample in zip(found, data.samples, strict=True):
        assert detections.labels[0] == sample.objects.labels[0]
        assert detection.iou(detections.boxes[:1], sample.objects.boxes)[0, 0] > 0.6


def test_any_size_of_image(detector: Detector) -> None:
    """Boxes are in the pixels of the image that was given."""
    sample = squares(1)[0]
    large = sample.image.repeat(3, 0).repeat(3, 1)
    tall = np.full((38, 48, 3), 128, np.uint8)
    tall[:32] = sample.image
    for image, scale in ((large, 3), (tall, 1)):
        found = detector.predict(image, 0.3)
        assert detection.iou(found.boxes[:1] / scale, sample.objects.boxes)[0, 0] > 0.5
    assert len(detector.predict(np.full((1, 1, 3), 128, np.uint8), 0.9)) == 0
    assert detector.predict([]) == []


def test_pictures_are_prepared_while_others_are_looked_at(detector: Detector) -> None:
    """Whatever the batches, and an error in a later one comes out."""
    images = [sample.image for sample in squares(5).samples]
    together = detector.predict(images, 0.3, batch_size=5)
    for found, expected in zip(detector.predict(images, 0.3, batch_size=2), together, strict=True):
        np.testing.assert_allclose(found.boxes, expected.boxes, atol=1e-3)
    with pytest.raises(Error, match="has 2 channels"):
        detector.predict([*images, np.zeros((8, 8, 2))], batch_size=2)


def test_files(detector: Detector, tmp_path: Path) -> None:
    detector.save(tmp_path / "detector.safetensors")
    again = Detector.load(tmp_path / "detector.safetensors")
    image = squares(1)[0].image
    for a, b in zip(detector.predict(image, 0.01), again.predict(image, 0.01), strict=True):
        assert a[0].tolist() == b[0].tolist() and a[1:] == b[1:]
    assert again.class_names == ("square", "bar") and again.grids == detector.grids
    fastcnn.Sequential([fastcnn.Input((3,)), fastcnn.layers.Dense(1)]).save(tmp_path / "other.safetensors")
    with pytest.raises(Error, match="holds a model, but no detector"):
        Detector.load(tmp_path / "other.safetensors")


def test_what_it_finds_can_be_shown(detector: Detector, tmp_path: Path) -> None:
    pytest.importorskip("PIL", reason="pictures are drawn by Pillow")
    image = squares(1)[0].image
    found = detector.predict(image, 0.3)
    picture = found.draw(image)
    assert picture.size == (48, 32) and (np.asarray(picture) != image).any()
    records = found.to_coco(7)
    assert json.loads(json.dumps(records)) == records
    box, score, label = next(iter(found))
    assert records[0]["image_id"] == 7 and records[0]["category_id"] == label + 1
    assert records[0]["bbox"] == pytest.approx([box[0], box[1], box[2] - box[0], box[3] - box[1]], abs=1e-3)
    assert str(found).startswith(found.class_names[label])
    assert len(found.above(1.1)) == 0 and str(found.above(1.1)) == "nothing found"


def test_training_goes_on_where_it_was(tmp_path: Path) -> None:
    class Stop(fastcnn.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs=None) -> None:
            if epoch == 2:
                raise KeyboardInterrupt

    whole = trained(tmp_path / "whole", 4, validation_data=squares(4))
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "parts", 4, validation_data=squares(4), callbacks=[Stop()])
    with pytest.raises(Error, match="go on with resume=True"):
        trained(tmp_path / "parts", 4)
    parts = trained(tmp_path / "parts", 4, validation_data=squares(4), resume=True)
    for a, b in zip(whole.model.get_weights(), parts.model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert (tmp_path / "whole" / "log.csv").read_text() == (tmp_path / "parts" / "log.csv").read_text()
    assert sorted(p.name for p in (tmp_path / "parts").iterdir()) == [
        "best.safetensors",
        "last.safetensors",
        "log.csv",
    ]


class CtrlC(fastcnn.callbacks.Callback):
    """Asks for a stop within an epoch, as the handler of the signal does."""

    def __init__(self, epoch: int):
        super().__init__()
        self.epoch = epoch

    def on_epoch_begin(self, epoch: int, logs=None) -> None:
        self.now = epoch == self.epoch

    def on_train_batch_end(self, batch: int, logs=None) -> None:
        if self.now and batch == 1:
            self.model._interrupted = self.model.stop_training = True


@pytest.mark.parametrize("epoch", [0, 2])
def test_an_epoch_that_was_cut_short_leaves_no_trace(tmp_path: Path, epoch: int) -> None:
    trained(tmp_path / "whole", 4, validation_data=squares(4))
    trained(tmp_path / "parts", 4, validation_data=squares(4), callbacks=[CtrlC(epoch)])
    assert (tmp_path / "parts" / "best.safetensors").is_file()
    trained(tmp_path / "parts", 4, validation_data=squares(4), resume=True)
    assert_equal_folders(tmp_path / "whole", tmp_path / "parts")


def assert_equal_folders(whole: Path, parts: Path) -> None:
    assert (whole / "log.csv").read_text() == (parts / "log.csv").read_text()
    for name in ("best.safetensors", "last.safetensors"):  # names of layers differ
        weights = [Detector.load(folder / name).model.get_weights() for folder in (whole, parts)]
        for a, b in zip(*weights, strict=True):
            np.testing.assert_array_equal(a, b, err_msg=name)


@pytest.mark.parametrize("resume", [False, True])
def test_training_that_has_ended_is_not_overwritten(tmp_path: Path, resume: bool) -> None:
    trained(tmp_path / "run", 1, resume=True)  # begins where there is none
    before = (tmp_path / "run" / "last.safetensors").read_bytes()
    with pytest.raises(Error, match="has ended, 1 epochs; use another folder"):
        trained(tmp_path / "run", 2, resume=resume)
    assert (tmp_path / "run" / "last.safetensors").read_bytes() == before


def test_a_folder_that_cannot_be_written_into(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for name in ("file", "file/run"):
        with pytest.raises(Error, match=r"file.*cannot be written into"):
            trained(tmp_path / name, 1)


def test_nothing_is_found_beside_the_image() -> None:
    """A tall image has wide borders at its sides, and this detector finds something everywhere."""
    detector = small_detector(anchors=[(6, 6), (9, 9)])
    detector.model.get_layer(index=-1).bias.assign(np.tile(np.float32([5, 0, 0, 0, 0, 2, 0]), 2))
    image = np.random.default_rng(0).integers(0, 256, (60, 9, 3)).astype(np.uint8)
    found = detector.predict(image, 0.1, 0.9)
    assert len(found) and (found.boxes[:, 2:] > found.boxes[:, :2]).all()


def test_two_grids_grey_images_and_given_anchors() -> None:
    fastcnn.utils.set_random_seed(0)
    backbone = detection.tiny_backbone((32, 48, 1), 8, (0, 0, 0), grids=2)
    detector = Detector(
        backbone, 2, anchors=[(24, 6), (12, 12), (40, 30), (6, 6)], class_activation="sigmoid"
    )
    assert [(g.rows, g.columns, len(g.anchors)) for g in detector.grids] == [(8, 12, 2), (4, 6, 2)]
    assert detector.grids[0].anchors[0] == (1.5, 1.5)  # 6 x 6 pixels, cells of 4 x 4
    data = squares(8, channels=1)
    data = BoxDataset(data.samples, ("0", "1"))
    detector.fit(data, 2, 4, augmentation=Augmentation(mosaic=1.0), verbose=0)
    assert detector.predict(data[0].image[..., 0], 0.0001).boxes.shape[1] == 4


def test_fewer_boxes_than_anchors() -> None:
    detector = Detector(detection.tiny_backbone((32, 48, 3), 8, (0, 0, 0), grids=2), ("square", "bar"))
    one = BoxDataset(squares(1).samples, ("square", "bar"))
    detector.fit(one, 1, 1, verbose=0)
    assert len(detector.anchors) == 2


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Detector(classes=()), "different names"),
        (lambda: Detector(classes=("a", "a")), "different names"),
        (lambda: small_detector(anchors="best"), "'auto' or"),
        (lambda: Detector(classes="cat"), "a list of names, or how many"),
        (lambda: Detector(classes=2.5), "a list of names, or how many"),
        (lambda: Detector("tiny"), "must be a Model or None"),
        (lambda: small_detector(anchors=[(1, -1)]), "positive and finite, in pixels"),
        (lambda: small_detector().predict(np.zeros((3, 3, 3))), "there are no anchors yet"),
        (lambda: small_detector(anchors=[(9, 9)]).predict(np.zeros((8, 8, 2))), "has 2 channels"),
        (lambda: small_detector(anchors=[(9, 9)]).predict(np.full((8, 8, 3), np.nan)), "holds NaN"),
        (lambda: small_detector(anchors=[(9, 9)]).predict(None), "expected an image"),
        (lambda: small_detector(anchors=[(9, 9)]).predict([], batch_size=0), "at least 1"),
        (lambda: small_detector(anchors=[(9, 9)]).predict([], score_threshold=np.nan), r"lie in \[0, 1\]"),
        (
            lambda: small_detector(anchors=[(9, 9)]).evaluate(BoxDataset([], ("bar", "square"))),
            "the data has bar",
        ),
        (lambda: small_detector().fit(np.zeros((2, 8, 8, 3))), "must be a BoxDataset"),
        (lambda: small_detector().fit(squares(2), validation_data=BoxDataset([], ("a",))), "the data has a"),
        (lambda: small_detector().fit(squares(2), augmentation=0.5), "must be an Augmentation"),
        (lambda: small_detector().fit(squares(2), learning_rate=-1), "learning_rate must be positive"),
        (
            lambda: small_detector().fit(squares(2), validation_data=squares(1), validation_freq=0),
            "frequency",
        ),
        (lambda: small_detector().fit(squares(2), 0), "epochs must be at least 1"),
        (lambda: small_detector().fit(squares(2), 1, 0), "batch_size must be at least 1"),
        (lambda: Augmentation(mosaic=2), r"mosaic must lie in \[0, 1\]"),
        (lambda: Augmentation(scale=(0, 1)), "both positive"),
        (lambda: Augmentation(stretch=0), "stretch at least 1"),
        (lambda: detection.letterbox(np.zeros((8, 8)), (0, 8)), "target must be at least 1"),
        (lambda: detection.letterbox(np.zeros((1, 8, 8, 3)), 8), "expected an image"),
        (lambda: BoxDataset.from_arrays([np.zeros((8, 8))], [], [], ("a",)), "1 images, boxes of 0"),
        (lambda: detection.Detections.of([], [], []).draw(None), "an image to draw on"),
        (lambda: detection.Detections.of([], [], []).draw(np.full((2, 2), np.nan)), "holds NaN"),
        (
            lambda: detection.Detections.of([], [], []).draw(np.zeros((2, 2)), scale=0),
            "scale must be at least 1",
        ),
        (lambda: detection.Detections.of([], [], []).draw(np.zeros((2, 2)), 1.5), "width must be an integer"),
        (lambda: detection.Detections.of([[0, 0, 1, 1]], [1], [1]).to_coco(0, [7]), "one for each class"),
        (lambda: detection.tiny_backbone((20, 48, 3), 8, (0, 0, 0), 2), "multiples of 8"),
        (lambda: small_detector().fit(BoxDataset([], ("a",))), "the data has a"),
        (lambda: small_detector().fit(BoxDataset([], ("square", "bar"))), "no boxes"),
        (lambda: Detector(detection.tiny_backbone((None, None, 3))), "all known"),
    ],
)
def test_wrong_arguments(call, message: str) -> None:
    with pytest.raises(Error, match=message):
        call()


def test_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("PIL", reason="images are read by Pillow")
    monkeypatch.chdir(tmp_path)
    detection.write_yolo(squares(8), "data")
    detection.write_yolo(squares(2), "data", "val")
    train = "detect train data/data.yaml --epochs 2 --batch 4 --size 32 48 --width 8 --anchors 2"
    assert main(train.split()) == 0
    assert "all classes" in capsys.readouterr().out
    assert (tmp_path / "runs" / "detect1" / "log.csv").is_file()
    model = "runs/detect1/best.safetensors"
    assert main(["detect", "val", model, "data/data.yaml"]) == 0
    assert "2 images with 2 objects" in capsys.readouterr().out
    assert main(["detect", "predict", model, "data/images/val", "--score", "0.001"]) == 0
    assert sorted(p.name for p in (tmp_path / "runs" / "predict1").iterdir()) == [
        "000000.png",
        "000001.png",
        "detections.json",
    ]
    assert (
        main(["detect", "predict", model, "data/images/val/000000.png", "data/images/train/000000.png"]) == 0
    )
    assert sorted(p.name for p in (tmp_path / "runs" / "predict2").iterdir()) == [
        "000000.png",
        "000001_000000.png",
        "detections.json",
    ]
    assert main(["detect", "predict", model, "nothing.png"]) == 1
    assert "no such file" in capsys.readouterr().err
    assert main([*train.split(), "--resume"]) == 1
    assert main([*train.split(), "--name", "file/x"]) == 0
    assert main(["detect", "predict", model, "data/images/val", "--name", "file/x/log.csv"]) == 1
    assert "log.csv: cannot be read or written" in capsys.readouterr().err


def test_training_from_the_command_line_is_interrupted_and_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("PIL", reason="images are read by Pillow")
    monkeypatch.chdir(tmp_path)
    detection.write_yolo(squares(8), "a b")
    detection.write_yolo(squares(2), "a b", "val")
    train = ["detect", "train", "a b/data.yaml", "--name"]
    options = "--epochs 3 --batch 4 --size 32 48 --width 8 --anchors 2 --seed 3".split()
    assert main([*train, "whole", *options]) == 0
    usual = Detector.fit
    with monkeypatch.context() as patch:
        patch.setattr(
            Detector, "fit", lambda *a, callbacks, **k: usual(*a, callbacks=[*callbacks, CtrlC(1)], **k)
        )
        assert main([*train, "parts", *options]) == 130
    assert "interrupted; to go on: python -m fastcnn detect train 'a b/data.yaml'" in capsys.readouterr().out
    assert main([*train, "parts", "--resume", "--epochs", "4"]) == 1
    assert "--epochs was 3 when the training in runs/parts began, not 4" in capsys.readouterr().err
    assert main([*train, "parts", "--resume"]) == 0
    assert_equal_folders(Path("runs", "whole"), Path("runs", "parts"))
    for name in ("parts", "nothing"):
        assert main([*train, name, "--resume"]) == 1
    assert "there is no interrupted training to resume" in capsys.readouterr().err


def test_commands_skip_bad_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for split in ("train", "val"):
        detection.write_yolo(squares(4), "data", split)
        with Path("data", "labels", split, "000002.txt").open("a") as file:
            file.write("7 0.5 0.5 0.2 0.2\n")
    options = "--epochs 1 --batch 4 --size 32 48 --width 8 --anchors 2 --name one".split()
    train = ["detect", "train", "data/data.yaml", *options]
    assert main(train) == 1
    shown = capsys.readouterr().err
    assert "000002.txt" in shown and "whole number from 0 to 1" in shown and "--skip) leaves it out" in shown
    assert main([*train, "--skip"]) == 0
    assert capsys.readouterr().out.count("left out: ") == 2
    val = ["detect", "val", "runs/one/best.safetensors", "data/data.yaml"]
    assert main(val) == 1 and "--skip) leaves it out" in capsys.readouterr().err
    assert main([*val, "--skip"]) == 0 and capsys.readouterr().out.count("left out: ") == 1


# --- windows ---------------------------------------------------------------------------------------------------


def test_letterbox_keeps_proportions() -> None:
    image = np.zeros((20, 40, 3), np.uint8)
    image[5:10, 10:30] = 255
    small, boxes, window = detection.letterbox(image, (16, 16), [[10, 5, 30, 10]])
    assert small.shape == (16, 16, 3)
    np.testing.assert_allclose(boxes, [[4, 6, 12, 8]])
    np.testing.assert_allclose(window.boxes_out(boxes), [[10, 5, 30, 10]], rtol=1e-6)
    np.testing.assert_allclose(small[:4], 114, atol=1e-3)
    assert small[6:8, 5:11].min() > 200 and small[9:11].max() < 60


def test_a_window_of_the_same_size_changes_nothing() -> None:
    image = np.random.default_rng(0).integers(0, 256, (7, 9, 5)).astype(np.uint8)
    np.testing.assert_array_equal(letterbox_window((7, 9), (7, 9)).cut(image), image)
    mirrored = Window(7, 0, -1, 1, 7, 9)
    np.testing.assert_array_equal(mirrored.cut(image), image[::-1])
    np.testing.assert_array_equal(mirrored.boxes_in(np.array([[1.0, 1, 3, 2]])), [[1, 5, 3, 6]])


@pytest.mark.parametrize("seed", range(6))
def test_boxes_go_with_their_objects(seed: int) -> None:
    """A bright rectangle is where its box is, whatever the window."""
    rng = np.random.default_rng(seed)
    image = np.full((60, 80, 1), 40, np.uint8)
    image[20:40, 30:55] = 200
    objects = Objects.of([[30, 20, 55, 40]], [0])
    how = Augmentation(flip_vertical=0.5, scale=(0.6, 1.2), translate=0.1, stretch=1.3)
    window = how.window(rng, (60, 80), (48, 50))
    moved = cut_objects(objects, window)
    bright = np.argwhere(window.cut(image)[..., 0] > 160)
    x1, y1, x2, y2 = moved.boxes[0]
    np.testing.assert_allclose(bright.min(0), [y1, x1], atol=1.5)
    np.testing.assert_allclose(bright.max(0) + 1, [y2, x2], atol=1.5)


def test_objects_out_of_sight_are_dropped() -> None:
    objects = Objects.of([[0, 0, 10, 10], [8, 8, 18, 18], [30, 30, 40, 40]], [0, 1, 2])
    seen = cut_objects(objects, Window(5, 5, 1, 1, 10, 10))
    assert seen.labels.tolist() == [0, 1] and seen.boxes.tolist() == [[0, 0, 5, 5], [3, 3, 10, 10]]


def test_mosaic() -> None:
    data = squares(4)
    pictures = [(sample.image, sample.objects) for sample in data.samples]
    still = Augmentation(0, 0, (1, 1), 0, 1, 1, 0, 0)
    image, objects = mosaic(np.random.default_rng(0), pictures, (64, 96), still)
    assert image.shape == (64, 96, 3) and len(objects) == 4
    for box, label in zip(np.rint(objects.boxes).astype(int), objects.labels, strict=True):
        x1, y1, x2, y2 = box
        middle = image[(y1 + y2) // 2, (x1 + x2) // 2, 0]
        assert (middle > 200) if label == 0 else (middle < 60)


def test_batches_are_functions_of_the_seed() -> None:
    grids = small_detector(anchors=[(9, 9), (20, 9)]).grids
    how = Augmentation(mosaic=0.5)
    batches = [
        detection.DetectionBatches(squares(10), grids, (32, 48, 3), 4, how, True, seed=3) for _ in range(2)
    ]
    for index in (2, 0):
        for a, b in zip(batches[0][index], batches[1][index], strict=True):
            np.testing.assert_array_equal(a, b)
    x, y = batches[0][0]
    assert x.shape == (4, 32, 48, 3) and y.shape == (4, *grids[0].shape) and 0 <= x.min() <= x.max() <= 1
    batches[0].on_epoch_end()
    assert (batches[0][0][0] != x).any() and len(batches[0]) == 3
    assert batches[0][2][0].shape[0] == 2
