"""Pascal VOC: a folder with Annotations/NAME.xml, JPEGImages/NAME.jpg and ImageSets/Main/SPLIT.txt.

Corners are taken as they stand, as labelling tools write them; the original VOC counts pixels from 1, up to and with
the last one: `one_based=True`.
"""

import io
import xml.parsers.expat
from collections.abc import Collection, Iterator, Sequence
from itertools import chain, count
from os import PathLike
from os.path import isfile
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np

from fastcnn.data.image_files import pillow, read_image
from fastcnn.data.paths import as_path
from fastcnn.detection.dataset import BoxDataset, Faults, Sample, check_images, cut_box, is_point, read_lines
from fastcnn.detection.results import Objects, as_picture
from fastcnn.errors import Error
from fastcnn.utils.files import atomic_write

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
MOST_BYTES = 16 << 20  # of an annotation
MOST_DEPTH = 16


class Element:
    """A node of XML: its name, the line it begins in, text and children."""

    def __init__(self, name: str, line: int = 0):
        self.name, self.line, self.text = name, line, ""
        self.children: list[Element] = []

    def all(self, name: str) -> Iterator["Element"]:
        return (child for child in self.children if child.name == name)

    def get(self, *path: str) -> str | None:
        """The text of the first descendant on this path, None where there is none."""
        element = self
        for name in path:
            found = next(element.all(name), None)
            if found is None:
                return None
            element = found
        return element.text.strip()


def parse_xml(content: bytes, where: str) -> Element:
    """The root of a small document. One that declares a document type, which entities need, is refused."""
    root = Element("")
    stack = [root]

    def start(name: str, attributes: Any) -> None:
        if len(stack) > MOST_DEPTH:
            raise Error(
                f"{where}:{parser.CurrentLineNumber}: elements are nested deeper than {MOST_DEPTH} levels"
            )
        stack[-1].children.append(Element(name, parser.CurrentLineNumber))
        stack.append(stack[-1].children[-1])

    def end(name: str) -> None:
        stack.pop()

    def text(data: str) -> None:
        stack[-1].text += data

    def refuse(*arguments: Any) -> None:
        place = f"{where}:{parser.CurrentLineNumber}"
        raise Error(
            f"{place}: declares a document type; such files are not read, because entities can do harm"
        )

    parser = xml.parsers.expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler, parser.StartDoctypeDeclHandler = text, refuse
    try:
        parser.Parse(content, True)
    except Error:
        raise
    except (xml.parsers.expat.ExpatError, LookupError, ValueError) as error:  # the last two: of encodings
        raise Error(f"{where}: is no valid XML ({error}); repair or remove the file") from error
    return root.children[0]


def read_voc(
    folder: str | PathLike[str],
    split: str | None = None,
    class_names: Sequence[str] | None = None,
    one_based: bool = False,
    on_error: str = "raise",
) -> BoxDataset:
    """The images of a split ("train", "val", ...; None: all annotations) and their objects.

    class_names: by default all names that occur in the annotations of the folder, sorted. Objects marked difficult
    count as crowds. Boxes are cut at the border of the image, beyond which they may reach by a pixel, or a thousandth
    of the side. on_error: "raise" at the first file that is missing or wrong and at the first object of another class,
    without a size or further outside, with file, line and what is wrong; "skip" reads all images to their end, leaves
    out what is wrong, a file or an object, and names it in `problems`. A box that is a point, from a click that was
    no drag, is left out and named whatever on_error says.
    """
    root, faults = as_path("read_voc", folder), Faults(on_error)
    if not (root / "Annotations").is_dir():
        raise Error(
            f"{root}: has no folder Annotations; give the folder that holds Annotations and JPEGImages"
        )
    every = sorted(path.stem for path in (root / "Annotations").glob("*.xml"))
    names = every if split is None else _split_names(root / "ImageSets" / "Main" / f"{split}.txt")
    trees = {}
    for name in dict.fromkeys(names if class_names is not None else [*every, *names]):
        with faults.caught():
            trees[name] = _tree(root / "Annotations" / f"{name}.xml")
    wanted = class_names
    if wanted is None:
        found = {item.get("name") or "" for tree in trees.values() for item in tree.all("object")}
        wanted = sorted(found - {""})
    images = {}
    for name in names:
        with faults.caught():
            if name in trees:
                images[name] = _image_of(root / "JPEGImages", trees[name].get("filename") or "", name)
    sizes, samples = faults.sizes(list(images.values())), []
    known = [name.strip() for name in wanted]  # spaces around a text are XML's
    for name, image in images.items():
        if image in sizes:
            where = str(root / "Annotations" / f"{name}.xml")
            objects = _objects(trees[name], sizes[image], known, one_based, where, faults)
            samples.append(Sample(image, objects, name))
    check_images(samples, str(root) if split is None else f"{root}: the split {split!r}", faults)
    return BoxDataset(samples, tuple(wanted), faults.messages)


def _split_names(path: Path) -> list[str]:
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in path.parent.glob("*.txt"))) or "none"
        raise Error(f"{path}: there is no such split; there are: {known}")
    lines = [line.strip() for line in read_lines(path)]
    return [_split_name(line, path.parents[2] / "Annotations") for line in lines if line]


def _split_name(line: str, annotations: Path) -> str:
    """The name in a line; lists of one class have 1, 0 or -1 behind it."""
    name, _, number = line.rpartition(" ")
    if number not in ("1", "0", "-1") or isfile(annotations / f"{line}.xml"):
        return line
    return name.rstrip()


def _tree(path: Path) -> Element:
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:  # the latter: no name of a file
        raise Error(f"{path}: cannot be read ({error})") from error
    if len(content) > MOST_BYTES:
        raise Error(f"{path}: is larger than {MOST_BYTES >> 20} MiB, too large for an annotation")
    root = parse_xml(content, str(path))
    if root.name != "annotation":
        raise Error(f"{path}:{root.line}: begins with <{root.name[:40]}>, expected <annotation>")
    return root


def _image_of(folder: Path, filename: str, name: str) -> Path:
    """The image of an annotation: of its name, else as it says itself, always in the folder."""
    choices = [folder / f"{name}{extension}" for extension in EXTENSIONS]
    choices += [folder / Path(filename).name] if filename else []
    for path in choices:
        if isfile(path):
            return path
    raise Error(f"{folder}: there is no image {name}.jpg for Annotations/{name}.xml")


def _objects(
    tree: Element, size: tuple[int, int], names: list[str], one_based: bool, where: str, faults: Faults
) -> Objects:
    boxes, labels, difficult = [], [], []
    for number, item in enumerate(tree.all("object"), 1):
        with faults.caught():
            here = f"{where}:{item.line}: object {number}"
            box, label = _box_of(item, names, one_based, here)
            if is_point(box):
                faults.messages.append(f"{here} ({names[label]}) is a point and no box: {_corners(item)}")
                continue
            boxes.append(cut_box(box, size, f"{here} ({names[label]})"))
            labels.append(label)
            difficult.append((item.get("difficult") or "0").lower() in ("1", "true"))
    return Objects.of(np.array(boxes, np.float32).reshape(-1, 4), labels, difficult)


def _corners(item: Element) -> list[str]:
    return [item.get("bndbox", key) or "" for key in ("xmin", "ymin", "xmax", "ymax")]


def _box_of(item: Element, names: list[str], one_based: bool, here: str) -> tuple[np.ndarray, int]:
    """The corners and the label of an object."""
    name, values = item.get("name") or "", _corners(item)
    if name not in names:
        fault = f"is a {name[:40]!r}" if name else "has no name"
        raise Error(f"{here} {fault}; the classes are {', '.join(names)[:200]}")
    if not all(map(_is_number, values)):
        raise Error(f"{here}: xmin, ymin, xmax, ymax must be numbers, got {values}")
    x1, y1, x2, y2 = map(float, values)
    return np.array([x1 - one_based, y1 - one_based, x2, y2]), names.index(name)


def _is_number(text: str) -> bool:
    try:
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False


def write_voc(dataset: BoxDataset, folder: str | PathLike[str], split: str = "train") -> None:
    """Write annotations and a split for images that are files, or arrays, which become PNG files."""
    root = Path(folder)
    for inner in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (root / inner).mkdir(parents=True, exist_ok=True)
    lists = root / "ImageSets" / "Main"
    taken = {name for path in lists.glob("*.txt") if path.stem != split for name in _split_names(path)}
    names = []
    for sample, path in store_images(dataset, root / "JPEGImages", taken=taken):
        names.append(path.stem)
        pixels = read_image(path)
        text = _annotation(path.name, pixels.shape[1], pixels.shape[0], sample.objects, dataset.class_names)
        with atomic_write(root / "Annotations" / f"{path.stem}.xml") as file:
            file.write(text.encode())
    with atomic_write(lists / f"{split}.txt") as file:
        file.write("".join(f"{name}\n" for name in names).encode())


def store_images(
    dataset: BoxDataset, folder: Path, first: int = 0, taken: Collection[str] = ()
) -> Iterator[tuple[Sample, Path]]:
    """Each sample, and where its image now lies in a folder: a copy of its file, or a PNG of its array.

    Files keep their names and arrays are numbered from `first` on, but no two have the same stem: what comes later gets
    another number. Stems that are `taken` stand for other images, unless the very file lies there.
    """
    used: set[str] = set()
    for number, sample in enumerate(dataset.samples, first):
        is_array = isinstance(sample.image, np.ndarray)
        own = "" if is_array else Path(sample.image).name
        numbered = (f"{i:06d}.png" if is_array else f"{i:06d}_{own}" for i in count(number))
        places = (folder / name for name in chain([own] if own else [], numbered))
        path = next(
            p for p in places if p.stem not in used and (p.stem not in taken or _is_copy(p, sample.image))
        )
        used.add(path.stem)
        if not _is_copy(path, sample.image):
            with atomic_write(path) as file:
                file.write(_png(sample.load()) if is_array else Path(sample.image).read_bytes())
        yield sample, path


def _is_copy(path: Path, image: Any) -> bool:
    if isinstance(image, np.ndarray) or not path.is_file():
        return False
    return path.samefile(image) or path.read_bytes() == Path(image).read_bytes()


def _png(image: np.ndarray) -> bytes:
    if image.shape[-1] not in (1, 3, 4):
        raise Error(f"image files have 1, 3 or 4 channels, not {image.shape[-1]}; keep such images as arrays")
    content = io.BytesIO()
    as_picture(np.clip(np.rint(image), 0, 255).astype(np.uint8), pillow()[0]).save(content, "PNG")
    return content.getvalue()


def _annotation(filename: str, width: int, height: int, objects: Objects, names: Sequence[str]) -> str:
    items = [
        f"<object><name>{escape(names[label])}</name><difficult>{int(crowd)}</difficult><bndbox>"
        + "".join(
            f"<{key}>{x:g}</{key}>" for key, x in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
        )
        + "</bndbox></object>\n"
        for box, label, crowd in zip(objects.boxes.tolist(), objects.labels, objects.crowd, strict=True)
    ]
    size = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
    return f"<annotation>\n<filename>{escape(filename)}</filename>{size}\n{''.join(items)}</annotation>\n"
