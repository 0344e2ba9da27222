"""Readers and writers: what is written comes back, and what is wrong is named by file and line."""

import json
from pathlib import Path

import numpy as np
import pytest

from fastcnn import detection, layers
from fastcnn.__main__ import main
from fastcnn.detection import BoxDataset, Objects, Sample, letterbox
from fastcnn.errors import Error

Image = pytest.importorskip("PIL.Image", reason="images are read by Pillow")
NAMES = ("cat", "dog & owl", "c: cow's #1")


def dataset(images: int = 3) -> BoxDataset:
    """Images of different sizes, one of them background."""
    rng = np.random.default_rng(0)
    pictures, boxes, labels = [], [], []
    for number in range(images):
        width, height = 40 + 8 * number, 32 + 4 * number
        pictures.append(rng.integers(0, 256, (height, width, 3)).astype(np.uint8))
        count = number and 3
        first = rng.integers(0, 20, (count, 2))
        boxes.append(np.concatenate([first, first + rng.integers(2, 12, (count, 2))], 1).astype(np.float32))
        labels.append(np.arange(count))
    return BoxDataset.from_arrays(pictures, boxes, labels, NAMES)


def same(a: BoxDataset, b: BoxDataset) -> None:
    assert a.class_names == b.class_names and len(a) == len(b) and not b.problems
    for one, other in zip(a.samples, b.samples, strict=True):
        np.testing.assert_array_equal(one.load(), other.load())
        np.testing.assert_allclose(one.objects.boxes, other.objects.boxes, atol=1e-4)
        np.testing.assert_array_equal(one.objects.labels, other.objects.labels)


def test_voc(tmp_path: Path) -> None:
    detection.write_voc(dataset(), tmp_path, "val")
    same(dataset(), detection.read_voc(tmp_path, "val", NAMES))
    assert detection.read_voc(tmp_path).class_names == tuple(sorted(NAMES))
    back = detection.read_voc(tmp_path, "val", NAMES, one_based=True)
    assert (back[1].objects.boxes - dataset()[1].objects.boxes).tolist()[0] in ([-1, -1, 0, 0], [0, 0, 0, 0])


def test_coco(tmp_path: Path) -> None:
    detection.write_coco(dataset(), tmp_path / "marks.json", tmp_path / "images")
    same(dataset(), detection.read_coco(tmp_path / "marks.json", tmp_path / "images"))


def test_yolo(tmp_path: Path) -> None:
    detection.write_yolo(dataset(), tmp_path)
    detection.write_yolo(dataset(2), tmp_path, "val")
    same(dataset(), detection.read_yolo(tmp_path / "data.yaml"))
    same(dataset(2), detection.read_yolo(tmp_path / "data.yaml", "val"))
    problems, summary = detection.check_yolo(tmp_path / "data.yaml")
    assert problems == [] and summary[0].startswith(
        "train: 3 images, 1 of them background, 6 objects (cat 2,"
    )


def test_files_are_copied(tmp_path: Path) -> None:
    detection.write_voc(dataset(), tmp_path / "voc")
    again = detection.read_voc(tmp_path / "voc", class_names=NAMES)
    detection.write_yolo(again, tmp_path / "yolo")
    same(again, detection.read_yolo(tmp_path / "yolo" / "data.yaml"))


@pytest.mark.parametrize("form", ["voc", "coco", "yolo"])
def test_images_of_one_name_stay_apart(tmp_path: Path, form: str) -> None:
    for number, folder in enumerate("abc"):
        (tmp_path / folder).mkdir()
        name = tmp_path / folder / ("one.png" if folder < "c" else "one.bmp")
        Image.fromarray(np.full((20, 30, 3), 50 * number, np.uint8)).save(name)
    files = [tmp_path / "a" / "one.png", tmp_path / "b" / "one.png", tmp_path / "c" / "one.bmp"]
    samples = [Sample(file, Objects.of([[1, 2, 9, 8 + i]], [0])) for i, file in enumerate(files)]
    many, root = BoxDataset(samples, ("cat",)), tmp_path / form
    if form == "voc":
        detection.write_voc(many, root)
        again = detection.read_voc(root, "train")
    elif form == "coco":
        detection.write_coco(many, tmp_path / "all.json", root)
        again = detection.read_coco(tmp_path / "all.json", root)
    else:
        detection.write_yolo(many, root)
        again = detection.read_yolo(root / "data.yaml")
    found = {int(sample.load()[0, 0, 0]): float(sample.objects.boxes[0, 3]) for sample in again.samples}
    assert found == pytest.approx({0: 8, 50: 9, 100: 10})


def test_a_second_split_leaves_the_first(tmp_path: Path) -> None:
    first, second = dataset(2), dataset(3)
    for _ in range(2):
        detection.write_voc(first, tmp_path / "voc", "train")
        detection.write_voc(second, tmp_path / "voc", "val")
    same(first, detection.read_voc(tmp_path / "voc", "train", NAMES))
    same(second, detection.read_voc(tmp_path / "voc", "val", NAMES))
    every = detection.read_voc(tmp_path / "voc", None, NAMES)
    detection.write_voc(every, tmp_path / "voc", "trainval")
    assert len(every) == 5 and len(list((tmp_path / "voc" / "JPEGImages").iterdir())) == 5


def test_channels_that_files_cannot_hold(tmp_path: Path) -> None:
    five = BoxDataset.from_arrays([np.zeros((8, 8, 5))], [[]], [[]], NAMES)
    with pytest.raises(Error, match="1, 3 or 4 channels, not 5"):
        detection.write_yolo(five, tmp_path)


# --- VOC -------------------------------------------------------------------------------------------------------


def annotation(tmp_path: Path, text: str) -> Path:
    detection.write_voc(dataset(1), tmp_path)
    (tmp_path / "Annotations" / "000000.xml").write_text(text)
    return tmp_path


def voc(box: str = "", name: str = "cat", extra: str = "") -> str:
    keys = zip(("xmin", "ymin", "xmax", "ymax"), box.split(), strict=False)
    corners = "".join(f"<{key}>{value}</{key}>" for key, value in keys)
    return f"<annotation>{extra}<object><name>{name}</name><bndbox>{corners}</bndbox></object></annotation>"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<annotation><object>", "no valid XML"),
        ("\n<svg><object/></svg>", "xml:2: begins with <svg>, expected <annotation>"),
        (
            "<annotation>" + " " * (16 << 20),
            r"xml: is larger than 16 MiB, too large for an annotation; on_error",
        ),
        (voc("1 2 3 4", ""), "xml:1: object 1 has no name; the classes are cat"),
        ('<?xml version="1.0" encoding="gb2312"?><annotation/>', "no valid XML .multi-byte encodings"),
        ('<?xml version="1.0" encoding="none"?><annotation/>', "no valid XML .unknown encoding"),
        (voc("1 2 3"), "must be numbers"),
        (voc("1 2 3 nan"), "must be numbers"),
        (voc("1 2 3 4", "cow"), "a 'cow'; the classes are cat"),
        ("<a>" * 40 + "</a>" * 40, "xml:1: elements are nested deeper"),
        ('\n<!DOCTYPE a [<!ENTITY e "x">]><annotation>&e;</annotation>', "xml:2: declares a document type"),
        ('<!DOCTYPE a SYSTEM "file:///etc/passwd"><annotation/>', "declares a document type"),
    ],
)
def test_bad_annotations(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(Error, match=message):
        detection.read_voc(annotation(tmp_path, text), class_names=("cat",))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            voc("5 5 5 9"),
            "has no area in its image: left, top, right, bottom are 5, 5, 5, 9; expected 0 <= left <",
        ),
        (voc("9 9 5 5"), "has no area"),
        (
            voc("5 5 500 900"),
            r"reaches beyond its image: .* are 5, 5, 500, 900; expected .* right <= 40 and .* <= 32",
        ),
        (
            voc("50 5 60 9", extra="<size><width>99</width><height>99</height></size>"),
            "reaches beyond its image",
        ),
        (voc("5 5 1e39 9"), "reaches beyond its image"),
    ],
)
def test_boxes_that_are_none(tmp_path: Path, text: str, message: str) -> None:
    path = annotation(tmp_path, text)
    with pytest.raises(Error, match=rf"000000.xml:1: object 1 .cat. {message}.*on_error='skip'"):
        detection.read_voc(path, class_names=("cat",))
    found = detection.read_voc(path, class_names=("cat",), on_error="skip")
    assert len(found[0].objects) == 0 and len(found.problems) == 1
    assert found.problems[0].startswith(f"{path}/Annotations/000000.xml:1: object 1 (cat) ")


def test_missing_files(tmp_path: Path) -> None:
    with pytest.raises(Error, match="no folder Annotations"):
        detection.read_voc(tmp_path)
    detection.write_voc(dataset(1), tmp_path)
    with pytest.raises(Error, match="no such split; there are: train"):
        detection.read_voc(tmp_path, "vla")
    (tmp_path / "ImageSets" / "Main" / "odd.txt").write_text("a\0b\n")
    with pytest.raises(Error, match="cannot be read"):
        detection.read_voc(tmp_path, "odd")
    (tmp_path / "JPEGImages" / "000000.png").unlink()
    with pytest.raises(Error, match=r"no image 000000.jpg"):
        detection.read_voc(tmp_path, "train", NAMES)


def test_names_that_no_file_can_have(tmp_path: Path) -> None:
    path = annotation(tmp_path, f"<annotation><filename>{'x' * 5000}</filename></annotation>")
    (path / "JPEGImages" / "000000.png").unlink()
    with pytest.raises(Error, match=r"no image 000000.jpg"):
        detection.read_voc(path)
    (path / "ImageSets" / "Main" / "train.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(Error, match=r"train.txt: cannot be read as text"):
        detection.read_voc(path, "train", NAMES)
    (path / "data.yaml").write_text(f"train: {'x' * 5000}\nnames: [a]")
    with pytest.raises(Error, match="neither a folder"):
        detection.read_yolo(path / "data.yaml")


# --- COCO ------------------------------------------------------------------------------------------------------


def coco(tmp_path: Path, **changes) -> Path:
    detection.write_coco(dataset(2), tmp_path / "marks.json", tmp_path)
    content = json.loads((tmp_path / "marks.json").read_text())
    for path, value in changes.items():
        key, _, field = path.partition("__")
        if field:
            content[key][0][field] = value
        else:
            content[key] = value
    (tmp_path / "marks.json").write_text(json.dumps(content))
    return tmp_path / "marks.json"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": 3}, "no COCO file"),
        ({"categories": [{"name": "x"}]}, "an object with an 'id'"),
        ({"annotations__bbox": [1, 2, 3]}, "four numbers"),
        ({"annotations__bbox": [1, 2, 3, None]}, "four numbers"),
        ({"annotations__category_id": 99}, "not listed"),
        ({"annotations__image_id": 99}, "not listed"),
        ({"images__file_name": "../secret.png"}, "must name a file inside"),
        ({"images__file_name": "none.png"}, "is missing"),
        ({"images__file_name": "a\0.png"}, "must name a file inside"),
        ({"images__file_name": "\ud800.png"}, "must name a file inside"),
        ({"images__file_name": "x" * 5000}, "is missing"),
        ({"categories": [{"id": None, "name": "a"}, {"id": None, "name": "b"}]}, "an object with an 'id'"),
        ({"images__id": [1]}, "id must be a number or text"),
        ({"annotations__category_id": {}}, "category_id must be a number or text"),
        ({"annotations__bbox": [1, 2, 3, 10**400]}, "four numbers"),
        ({"categories__id": "x"}, "all numbers, or all text"),
        ({"categories__name": None}, "a category needs a name"),
        ({"images": [], "annotations": []}, "has no images"),
    ],
)
def test_bad_coco(tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(Error, match=message):
        detection.read_coco(coco(tmp_path, **changes), tmp_path)


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_errors_of_coco_tell_the_line(tmp_path: Path, indent: int | None, encoding: str) -> None:
    content = json.loads(coco(tmp_path).read_text())
    content = {"info": {"images": [1, {"]": "}"}]}, "licenses": [], **content, "year": 2000}
    content["annotations"][1]["category_id"] = 99
    content["annotations"][2]["bbox"][2] = 0
    text = json.dumps(content, indent=indent).replace("\n", "\r\n")
    (tmp_path / "marks.json").write_bytes(text.encode(encoding))
    found = detection.read_coco(tmp_path / "marks.json", tmp_path, on_error="skip")
    lines = [int(problem.removeprefix(f"{tmp_path}/marks.json:").split(":")[0]) for problem in found.problems]
    ids = [content["annotations"][number]["id"] for number in (1, 2)]
    begins = [text[: text.index(f'"id": {k},', text.index('"annotations"'))].count("\n") for k in ids]
    assert lines == (begins if indent else [1, 1])  # the brace stands in the line before the id


def test_crowds_and_boxes_without_area(tmp_path: Path) -> None:
    found = detection.read_coco(coco(tmp_path, annotations__iscrowd=1), tmp_path)
    assert found[1].objects.crowd.tolist() == [True, False, False]
    path = coco(tmp_path, annotations__bbox=[1, 1, 0, 3])
    with pytest.raises(Error, match=r"marks.json:1: annotation 1 has no area.* are 1, 1, 1, 4; expected"):
        detection.read_coco(path, tmp_path)
    found = detection.read_coco(path, tmp_path, on_error="skip")
    assert len(found[1].objects) == 2 and "has no area" in found.problems[0]


@pytest.mark.parametrize("text", ["{", "[" * 200_000, ""])
def test_broken_json(tmp_path: Path, text: str) -> None:
    (tmp_path / "marks.json").write_text(text)
    with pytest.raises(Error, match="no valid JSON"):
        detection.read_coco(tmp_path / "marks.json", tmp_path)


@pytest.mark.parametrize("size", [None, 0, -3, "40", float("nan"), 4000])
def test_the_file_tells_its_size(tmp_path: Path, size) -> None:
    """Whatever the list of images says."""
    path = coco(tmp_path, images__width=size, annotations__bbox=[1, 1, 47.5, 36])
    assert detection.read_coco(path, tmp_path)[1].objects.boxes[0].tolist() == [1, 1, 48, 36]
    with pytest.raises(Error, match=r"reaches beyond its image.*right <= 48 and 0 <= top < bottom <= 36"):
        detection.read_coco(coco(tmp_path, images__width=size, annotations__bbox=[1, 1, 500, 500]), tmp_path)


# --- YOLO ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("train: images\nnames: [cat, 'dog']", ("cat", "dog")),
        ("train: images # here\nnames:\n- cat\n- dog\nnc: 2", ("cat", "dog")),
        ('---\ntrain: images\nnames:\n  1: dog\n  0: "cat # 1"\n', ("cat # 1", "dog")),
        ("train:\n  - images\n  - more\nnames: [cat]", ("cat",)),
        ("\ufefftrain: images\r\nnames: [größe, 猫]\r\n", ("größe", "猫")),
        ("train: images\nnames: {1: dog, 0: 'a: b'}", ("a: b", "dog")),
        ("train: images\nnames: ['a, b',\n  \"c]\",  # here\n  cow's]\nnc: 3", ("a, b", "c]", "cow's")),
        ("train: images\nnames: [a]\ndownload: |\n  names: x\n  - import y\nother: &x [1]", ("a",)),
    ],
)
def test_data_yaml(tmp_path: Path, text: str, names: tuple[str, ...]) -> None:
    (tmp_path / "data.yaml").write_text(text, encoding="utf-8", newline="")
    found = detection.read_data_yaml(tmp_path / "data.yaml")
    assert found.class_names == names and found.splits["train"][0] == tmp_path / "images"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train: images", "no names"),
        ("names: [cat]", "names no images"),
        ("train: images\nnames: [cat]\nnc: 3", "nc is 3"),
        ("train: images\nnames:\n  0: a\n  2: b", "numbered 0 to 1"),
        ("train: images\nnames: ['it''s, cat", r"data.yaml:2: what begins there must end with ]"),
        ("train: images\nnames: [cat", r"data.yaml:2: what begins there must end with ]"),
        ("train: images\nnames: [cat}", r"data.yaml:2: what begins with \[ must end with ]"),
        ("train: images\nnames: {cat, dog}", r"data.yaml:2: expected {0: name"),
        ("train: images\nnames: >\n  cat", r"data.yaml:2: this form of YAML"),
        ("train: images\nnames: [cat, cat]", "cat stands there twice"),
        ("train: images\nnonsense", r"data.yaml:2: expected 'key: value'"),
        ("train: a\ntrain: b\nnames: [cat]", r"data.yaml:2: 'train' stands there twice"),
        ("train: images\n  - more\nnames: [cat]", r"data.yaml:2: does not belong to 'train'"),
        ("- cat", "expected 'key: value'|does not belong"),
    ],
)
def test_bad_data_yaml(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "data.yaml").write_text(text)
    with pytest.raises(Error, match=message):
        detection.read_data_yaml(tmp_path / "data.yaml")


LINES = {
    "0 0.5 0.5 0.2 0.2": "",
    "1 0.5 0.5 1 1": "",
    "": "",
    "0 0.5 0.5 0.2": "five numbers",
    "0 0.5 0.5 0.2 x": "expected numbers",
    "0 0.5 0.5 0.2 nan": "finite",
    "3 0.5 0.5 0.2 0.2": "from 0 to 2",
    "0.5 0.5 0.5 0.2 0.2": "from 0 to 2",
    "0 0.5 0.5 0 0.2": "positive",
    "0 50 50 20 20": "shares of the image",
    "0 0.95 0.5 0.2 0.2": "beyond its image",
    "0 0.5 0.5 0.2 1e-12": "no area",
    "0 0.5 0.5 0 0": "a point is no box",
    "0 0.5 0.5 0.2 0.20": "stands there already",
}


def test_check_lists_every_problem(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    detection.write_yolo(dataset(), tmp_path)
    labels = tmp_path / "labels" / "train"
    (labels / "000001.txt").write_text("\n".join(LINES))
    (labels / "stray.txt").write_text("0 0.5 0.5 0.1 0.1")
    (tmp_path / "images" / "train" / "000000.png").write_bytes(b"no image")
    assert main(["check", str(tmp_path / "data.yaml")]) == 1
    shown = capsys.readouterr().out
    for number, message in enumerate(LINES.values(), 1):
        line = next((line for line in shown.splitlines() if f"000001.txt:{number}:" in line), "")
        assert message in line and bool(message) == bool(line)
    assert "stray.txt: there is no image" in shown and "000000.png: cannot be read as an image" in shown
    assert "13 to mend" in shown
    detection.write_yolo(dataset(), tmp_path / "good")
    assert main(["check", str(tmp_path / "good" / "data.yaml")]) == 0
    assert "all well" in capsys.readouterr().out


def test_bad_lines_are_left_out(tmp_path: Path) -> None:
    detection.write_yolo(dataset(), tmp_path)
    (tmp_path / "labels" / "train" / "000001.txt").write_text("\n".join(LINES))
    with pytest.raises(
        Error, match=r"000001.txt:4: expected five numbers .* got 4: '0 0.5 0.5 0.2'; on_error="
    ):
        detection.read_yolo(tmp_path / "data.yaml")
    found = detection.read_yolo(tmp_path / "data.yaml", on_error="skip")
    assert len(found[1].objects) == 2 and len(found.problems) == 11


@pytest.mark.parametrize("line", [line for line, fault in LINES.items() if fault and fault[:5] != "stand"])
def test_every_bad_line_is_an_error(tmp_path: Path, line: str) -> None:
    detection.write_yolo(dataset(), tmp_path)
    (tmp_path / "labels" / "train" / "000001.txt").write_text(f"0 0.5 0.5 0.2 0.2\n{line}\n")
    if "point" in LINES[line]:
        assert f"000001.txt:2: {LINES[line]}" in detection.read_yolo(tmp_path / "data.yaml").problems[0]
        return
    with pytest.raises(Error, match=f"000001.txt:2: .*{LINES[line]}"):
        detection.read_yolo(tmp_path / "data.yaml")


def test_an_image_that_a_list_names_twice(tmp_path: Path) -> None:
    detection.write_yolo(dataset(2), tmp_path)
    (tmp_path / "data.yaml").write_text("train: list.txt\nnames: [a, b, c]")
    (tmp_path / "list.txt").write_text("images/train/000001.png\n" * 2 + "images/train/000000.png\n")
    for on_error in ("raise", "skip"):
        found = detection.read_yolo(tmp_path / "data.yaml", on_error=on_error)
        assert [sample.name for sample in found.samples] == ["000001", "000001", "000000"]


def test_labels_that_lie_elsewhere(tmp_path: Path) -> None:
    detection.write_yolo(dataset(2), tmp_path)
    folder = tmp_path / "labels" / "train"
    folder.rename(tmp_path / "marks")
    message = "000000.txt: is missing, and so are the labels of all images"
    with pytest.raises(Error, match=message):
        detection.read_yolo(tmp_path / "data.yaml")
    found = detection.read_yolo(tmp_path / "data.yaml", on_error="skip")
    assert len(found) == 2 and message in found.problems[0]
    assert message in str(detection.check_yolo(tmp_path / "data.yaml")[0][0])
    (folder / "000000.txt").mkdir(parents=True)
    with pytest.raises(Error, match=r"000000.txt: cannot be read"):
        detection.read_yolo(tmp_path / "data.yaml")


def test_labels_that_cannot_be_read(tmp_path: Path) -> None:
    """Their image is no background: it is left out."""
    detection.write_yolo(dataset(), tmp_path)
    (tmp_path / "labels" / "train" / "000001.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(Error, match=r"000001.txt: cannot be read as text"):
        detection.read_yolo(tmp_path / "data.yaml")
    found = detection.read_yolo(tmp_path / "data.yaml", on_error="skip")
    assert [sample.name for sample in found.samples] == ["000000", "000002"] and len(found.problems) == 1
    problems, summary = detection.check_yolo(tmp_path / "data.yaml")
    assert [str(problem) for problem in problems] == found.problems
    assert summary[0].startswith("train: 3 images, 1 of them background, 3 objects")


def test_a_list_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "data.yaml").write_text("train: list.txt\nnames: [cat]")
    (tmp_path / "list.txt").write_bytes(b"\xff\xfe.png")
    with pytest.raises(Error, match=r"list.txt: cannot be read as text"):
        detection.read_yolo(tmp_path / "data.yaml")


def test_missing_splits(tmp_path: Path) -> None:
    detection.write_yolo(dataset(), tmp_path)
    with pytest.raises(Error, match="has no split 'val'; it has train"):
        detection.read_yolo(tmp_path / "data.yaml", "val")
    with pytest.raises(Error, match="cannot be read"):
        detection.read_yolo(tmp_path / "none.yaml")


def test_labels_must_be_classes() -> None:
    samples = [detection.Sample(np.zeros((4, 4, 3)), detection.Objects.of([[0, 0, 1, 1]], [5]))]
    with pytest.raises(Error, match=r"labels 5\.\.5, but there are 2 classes"):
        BoxDataset(samples, ("a", "b"))


# --- what is left out ------------------------------------------------------------------------------------------

BAD_ARRAYS = [
    ([[0, 0, 1, 1]], [5], "image 1: box 0 has the label 5, but there are 2 classes"),
    ([[0, 0, 1, 1], [2, 2, 2, 3]], [0, 1], "image 1: box 1 has no area in its image"),
    ([[9, 0, 12, 3]], [0], "image 1: box 0 reaches beyond its image"),
    (
        [[2, 2, 12, 3]],
        [0],
        "image 1: box 0 reaches beyond its image: .*<= 8 and 0 <= top < bottom <= 6; on_error",
    ),
    ([[0, 0, 1, np.nan]], [0], "image 1: boxes must be finite"),
    ([[0, 0, 1, 1]], [0, 1], "image 1: 1 boxes, 2 labels"),
    ([[0, 0, 1, 1]], ["cat"], "image 1: labels must be an array of numbers"),
]


@pytest.mark.parametrize(("boxes", "labels", "message"), BAD_ARRAYS)
def test_bad_arrays(boxes, labels, message) -> None:
    images, rest = np.zeros((2, 6, 8, 3), np.uint8), ([[0, 0, 4, 4]], [1])
    arguments = images, [rest[0], boxes], [rest[1], labels], ("a", "b")
    with pytest.raises(Error, match=message):
        BoxDataset.from_arrays(*arguments)
    found = BoxDataset.from_arrays(*arguments, on_error="skip")
    assert len(found.problems) == 1 and 1 <= len(found) <= 2
    with pytest.raises(Error, match="'raise' or 'skip'"):
        BoxDataset.from_arrays(*arguments, on_error="ignore")


def written(tmp_path: Path, form: str, width: int, box: list[float]) -> BoxDataset:
    """A data set of one image with one object, written by hand and read again."""
    image = np.zeros((10, width, 3), np.uint8)
    if form == "arrays":
        return BoxDataset.from_arrays([image], [[box]], [[0]], ("cat",))
    plain = BoxDataset([Sample(image, Objects.of([box], [0]))], ("cat",))
    if form == "voc":
        detection.write_voc(plain, tmp_path)
        return detection.read_voc(tmp_path)
    if form == "coco":
        detection.write_coco(plain, tmp_path / "all.json", tmp_path)
        return detection.read_coco(tmp_path / "all.json", tmp_path)
    detection.write_yolo(plain, tmp_path)
    return detection.read_yolo(tmp_path / "data.yaml")


@pytest.mark.parametrize("form", ["voc", "coco", "yolo", "arrays"])
@pytest.mark.parametrize(
    ("width", "box", "inside"),
    [
        (40, [-1, 2, 41, 8], [0, 2, 40, 8]),
        (40, [5, -1, 20, 11], [5, 0, 20, 10]),
        (4000, [2, 2, 4003.9, 8], [2, 2, 4000, 8]),
        (40, [-1.6, 2, 20, 8], None),
        (40, [2, 2, 20, 11.6], None),
        (4000, [2, 2, 4004.6, 8], None),
        (40, [-0.8, 2, -0.2, 8], None),
    ],
)
def test_boxes_reach_as_far_as_rounding(tmp_path: Path, form: str, width: int, box, inside) -> None:
    if inside is None:
        with pytest.raises(Error, match="reaches beyond its image|no area in its image|shares of the image"):
            written(tmp_path, form, width, box)
    else:
        found = written(tmp_path, form, width, box)
        np.testing.assert_allclose(found[0].objects.boxes, [inside], atol=1e-4 * width)
        assert not found.problems


@pytest.mark.parametrize("form", ["voc", "coco", "yolo", "arrays"])
def test_points_are_left_out_and_named(tmp_path: Path, form: str) -> None:
    found = written(tmp_path, form, 40, [5, 5, 5, 5])
    assert len(found[0].objects) == 0 and len(found.problems) == 1 and "point" in found.problems[0]


def test_readers_make_batches(tmp_path: Path) -> None:
    detection.write_voc(dataset(5), tmp_path)
    found = detection.read_voc(tmp_path, class_names=NAMES)
    batches = found.to_dataset((48, 64)).shuffle(1).batch(2, drop_last=True)
    flip = layers.RandomFlip("horizontal", seed=2, bounding_box_format="xyxy")
    for x, y in batches.map(flip):
        assert x.shape == (2, 48, 64, 3) and y["boxes"].shape == (2, 3, 4) and y["labels"].shape == (2, 3)
    assert batches.class_names == list(NAMES) and batches.size == 5
    x, y = next(iter(found.to_dataset((32, 40))))
    np.testing.assert_array_equal(x[0], found[0].load())  # its own size
    assert x.dtype == np.uint8 and y["labels"][0].tolist() == [-1, -1, -1]
    np.testing.assert_allclose(
        y["boxes"][2, 0], letterbox(found[2].load(), (32, 40), found[2].objects.boxes)[1][0]
    )
    with pytest.raises(Error, match="image_size"):
        found.to_dataset(0)
    with pytest.raises(Error, match="1, 3 or 4 channels"):
        next(iter(found.to_dataset(32, channels=2)))


def broken(path: Path) -> None:
    """The second half of a file is lost."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_voc_without_what_is_wrong(tmp_path: Path) -> None:
    detection.write_voc(dataset(6), tmp_path)
    marks = tmp_path / "Annotations"
    (marks / "000001.xml").write_text("<annotation>")
    (marks / "000002.xml").write_text(
        "<annotation>\n<object><name>cow</name></object>\n" + voc("1 2 x 4")[12:]
    )
    broken(tmp_path / "JPEGImages" / "000003.png")
    (tmp_path / "JPEGImages" / "000004.png").unlink()
    with pytest.raises(Error, match=r"000001.xml: is no valid XML"):
        detection.read_voc(tmp_path, class_names=NAMES)
    found = detection.read_voc(tmp_path, class_names=NAMES, on_error="skip")
    assert [sample.name for sample in found.samples] == ["000000", "000002", "000005"]
    assert len(found[1].objects) == 0 and len(found[2].objects) == 3
    wanted = (
        "no valid XML",
        "no image 000004",
        "000003.png",
        "xml:2: object 1 is a 'cow'",
        ":3: object 2: xmin",
    )
    assert len(found.problems) == len(wanted)
    assert all(any(text in problem for problem in found.problems) for text in wanted)


def test_coco_without_what_is_wrong(tmp_path: Path) -> None:
    detection.write_coco(dataset(4), tmp_path / "marks.json", tmp_path)
    content = json.loads((tmp_path / "marks.json").read_text())
    content["annotations"][0]["category_id"] = 77
    content["annotations"][1]["bbox"] = "all of it"
    content["annotations"].append({"image_id": 1})
    content["images"].append("000009.png")
    content["images"][0]["file_name"] = "none.png"
    (tmp_path / "marks.json").write_text(json.dumps(content))
    broken(tmp_path / content["images"][3]["file_name"])
    found = detection.read_coco(tmp_path / "marks.json", tmp_path, on_error="skip")
    assert len(found) == 2 and [len(sample.objects) for sample in found.samples] == [1, 3]
    wanted = (
        "entry 9 of 'annotations'",
        "entry 4 of 'images'",
        "none.png: is missing",
        "cannot be read as an image",
        "not listed",
        "four numbers",
    )
    assert len(found.problems) == len(wanted)
    assert all(any(text in problem for problem in found.problems) for text in wanted)


def test_yolo_without_what_is_wrong(tmp_path: Path) -> None:
    detection.write_yolo(dataset(3), tmp_path)
    images = tmp_path / "images" / "train"
    broken(images / "000001.png")
    (images / "000002.png").write_bytes(b"")
    with pytest.raises(Error, match=r"000001.png: cannot be read as an image"):
        detection.read_yolo(tmp_path / "data.yaml")
    found = detection.read_yolo(tmp_path / "data.yaml", on_error="skip")
    assert len(found) == 1 and len(found.problems) == 2
    problems, _ = detection.check_yolo(tmp_path / "data.yaml")
    assert sum(".png: cannot be read" in str(problem) for problem in problems) == 2
    (images / "000000.png").write_bytes(b"")
    with pytest.raises(Error, match="has no images; 3 things are wrong, the first"):
        detection.read_yolo(tmp_path / "data.yaml", on_error="skip")


def test_a_folder_beside_the_file(tmp_path: Path) -> None:
    """Roboflow writes ../train/images for what lies at train/images."""
    detection.write_yolo(dataset(2), tmp_path)
    (tmp_path / "data.yaml").write_text("train: ../images/train\nnames: [a, b, c]")
    assert len(detection.read_yolo(tmp_path / "data.yaml")) == 2


def test_labels_of_windows(tmp_path: Path) -> None:
    """A mark of the byte order at the start, line ends of two characters."""
    detection.write_yolo(dataset(1), tmp_path)
    (tmp_path / "labels" / "train" / "000000.txt").write_bytes(
        b"\xef\xbb\xbf1 .5 .5 .1 .1\r\n2 .5 .5 .1 .1\r\n"
    )
    found = detection.read_yolo(tmp_path / "data.yaml")
    assert found[0].objects.labels.tolist() == [1, 2] and not found.problems


ODD_NAMES = (
    "weiße Zelle",
    "it's",
    "a, b",
    "#x",
    'q"t',
    "dog: big",
    "& <b>",
    " lead",
    "{x}",
    "0",
    "a\\b",
    "'\"",
    "a\tb",
)


def test_odd_names_of_files_and_classes(tmp_path: Path) -> None:
    """Spaces, quotes, marks of XML and YAML: what is written is read again."""
    pytest.importorskip("PIL", reason="images are read by Pillow")
    from PIL import Image

    samples, names = [], ODD_NAMES
    for i, name in enumerate(("a b", "scan 1", "ü & <x>", "#1", "50% 0", "a'b", "q,z", "no.dot")):
        path = tmp_path / f"{name}.png"
        Image.new("RGB", (20, 16)).save(path)
        labels = np.arange(len(names)) if i == 0 else [i]
        boxes = np.tile(np.float32([2, 4, 6 + i, 8]), (len(labels), 1))
        samples.append(detection.Sample(path, detection.Objects.of(boxes, labels), name))
    dataset = BoxDataset(samples, names)
    detection.write_voc(dataset, tmp_path / "v o c", "der Rest")
    detection.write_coco(dataset, tmp_path / "all.json", tmp_path / "coco")
    detection.write_yolo(dataset, tmp_path / "yolo")
    for again in (
        detection.read_voc(tmp_path / "v o c", "der Rest", class_names=names),
        detection.read_coco(tmp_path / "all.json", tmp_path / "coco"),
        detection.read_yolo(tmp_path / "yolo" / "data.yaml"),
    ):
        assert again.class_names == names and not again.problems
        found = {Path(sample.image).stem: sample.objects for sample in again.samples}
        assert sorted(found) == sorted(sample.name for sample in samples)
        for sample in samples:
            order = found[sample.name].labels.argsort()
            assert found[sample.name].labels[order].tolist() == sample.objects.labels.tolist()
            np.testing.assert_allclose(found[sample.name].boxes, sample.objects.boxes, atol=1e-4)


def test_a_list_of_one_class_has_numbers_behind_names(tmp_path: Path) -> None:
    pytest.importorskip("PIL", reason="images are read by Pillow")
    images = np.zeros((2, 8, 8, 3), np.uint8)
    dataset = BoxDataset.from_arrays(images, [[[1, 1, 3, 3]]] * 2, [[0]] * 2, ["cat"])
    detection.write_voc(dataset, tmp_path)
    (tmp_path / "ImageSets" / "Main" / "cat_train.txt").write_text("000000  1\n000001 -1\n")
    assert [sample.name for sample in detection.read_voc(tmp_path, "cat_train").samples] == [
        "000000",
        "000001",
    ]


def test_quoted_names_of_data_yaml(tmp_path: Path) -> None:
    yaml = pytest.importorskip("yaml")
    for style in (None, False):
        for unicode in (False, True):
            content = {"train": "images", "names": list(ODD_NAMES)}
            text = yaml.safe_dump(content, default_flow_style=style, allow_unicode=unicode, width=10_000)
            (tmp_path / "data.yaml").write_text(text, encoding="utf-8")
            assert detection.read_data_yaml(tmp_path / "data.yaml").class_names == ODD_NAMES, text
    detection.write_yolo(BoxDataset([], ODD_NAMES), tmp_path)
    assert list(yaml.safe_load((tmp_path / "data.yaml").read_text())["names"].values()) == list(ODD_NAMES)
    assert detection.read_data_yaml(tmp_path / "data.yaml").class_names == ODD_NAMES


@pytest.mark.parametrize("path", [None, 3, b"/", ["a"]])
def test_what_is_no_path(path, tmp_path: Path) -> None:
    readers = [
        detection.read_voc, detection.read_yolo, lambda given: detection.read_coco(given, tmp_path),
        lambda given: detection.read_coco(tmp_path, given), detection.read_image,
    ]  # fmt: skip
    for read in readers:
        with pytest.raises(Error, match="expected a path, as text or as a pathlib.Path, got"):
            read(path)
