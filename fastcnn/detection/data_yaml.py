"""data.yaml: names the folders of the splits and the classes of a data set in YOLO's form.

path: .            # of the folders; relative ones count from the file's folder
train: images/train
val: images/val
names: [cat, dog]  # or {0: cat, 1: dog}, or lines "- cat", or lines "0: cat"
"""

import re
from collections.abc import Iterator
from os import PathLike
from os.path import exists
from pathlib import Path
from typing import Any, NamedTuple

from fastcnn.data.paths import as_path
from fastcnn.errors import Error

SPLITS = ("train", "val", "test")
READ = (*SPLITS, "names", "nc", "path")
LINE = re.compile(r"(\s*)(?:-\s+(.+)|([^:]+):(?:\s+(.*))?)")
ENDS = {"[": "]", "{": "}"}
ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U000[0-9a-fA-F]{5}|.)")
ESCAPED = {"n": "\n", "t": "\t", "r": "\r", "0": "\0", "_": "\xa0"}


class DataFile(NamedTuple):
    """What data.yaml says."""

    splits: dict[str, list[Path]]  # folders, or files that list images
    class_names: tuple[str, ...]


def read_data_yaml(path: str | PathLike[str]) -> DataFile:
    """The folders and classes of data.yaml; `Error` by file and line for what is not understood.

    Of YAML it knows what such files need: keys with plain or quoted values, lists and maps of these, comments. A folder
    ../name that does not exist is looked for beside the file, where Roboflow puts it.
    """
    file = as_path("data.yaml", path)
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise Error(f"{file}: cannot be read as text in UTF-8 ({error})") from error
    content = _parse(text, file)
    names = _class_names(content, file)
    if "nc" in content and str(content["nc"]) != str(len(names)):
        raise Error(f"{file}: nc is {content['nc']}, but there are {len(names)} names")
    base = file.parent / str(content.get("path") or ".")
    splits = {}
    for split in SPLITS:
        value = content.get(split)
        if value:
            splits[split] = [
                _place(base, str(item)) for item in (value if isinstance(value, list) else [value])
            ]
    if not splits:
        raise Error(f"{file}: names no images; add a line such as 'train: images/train'")
    return DataFile(splits, names)


def _class_names(content: dict[str, Any], file: Path) -> tuple[str, ...]:
    names = content.get("names")
    if isinstance(names, dict):
        if set(names) != {str(i) for i in range(len(names))}:
            raise Error(f"{file}: names must be numbered 0 to {len(names) - 1}, got {', '.join(names)}")
        names = [names[str(i)] for i in range(len(names))]
    if not isinstance(names, list) or not names:
        raise Error(f"{file}: there are no names of classes; add a line such as 'names: [cat, dog]'")
    twice = sorted({str(name) for name in names if names.count(name) > 1})
    if twice:
        raise Error(f"{file}: classes need names of their own, {', '.join(twice)} stands there twice")
    return tuple(map(str, names))


def _place(base: Path, value: str) -> Path:
    place = base / value
    beside = base / value.removeprefix("../")
    return beside if not exists(place) and exists(beside) else place


# --- a little YAML ---------------------------------------------------------------------------------------------


def _parse(text: str, file: Path) -> dict[str, Any]:
    content: dict[str, Any] = {}
    key, is_skipped = "", False
    for number, line in _whole_lines(text, file):
        if is_skipped and line[0].isspace():
            continue
        match = LINE.fullmatch(line)
        if match is None or "\t" in match[1]:
            raise Error(f"{file}:{number}: expected 'key: value' or '- value', got {line.strip()!r}")
        indent, item, name, value = match.groups()
        if item is None and not indent:
            key = _plain(name)
            if key in content:
                raise Error(f"{file}:{number}: {key!r} stands there twice")
            is_skipped = key not in READ  # of another tool, in forms that need not be understood
            content[key] = None if is_skipped else _value(value or "", file, number)
            continue
        into = content.get(key)
        wanted: type = list if item is not None else dict
        if into is None and key:
            into = content[key] = wanted()
        if not isinstance(into, wanted):
            raise Error(f"{file}:{number}: does not belong to {key!r}: {line.strip()!r}")
        if isinstance(into, list):
            into.append(_plain(item or ""))
        elif isinstance(into, dict):
            into[_plain(name)] = _plain(value or "")
    return content


def _whole_lines(text: str, file: Path) -> Iterator[tuple[int, str]]:
    """(number, line) without comments and empty lines; a list or map in brackets that goes on is one line."""
    begun, first = "", 0
    for number, line in enumerate(text.splitlines(), 1):
        line = _without_comment(line)
        if line.strip() in ("", "---", "..."):
            continue
        first = first if begun else number
        begun = f"{begun} {line.strip()}" if begun else line
        value = begun.partition(": ")[2].strip()
        if value[:1] in ENDS and _depth(value) > 0:
            continue
        yield first, begun
        begun = ""
    if begun:
        end = ENDS[begun.partition(": ")[2].strip()[0]]
        raise Error(f"{file}:{first}: what begins there must end with {end}: {begun.strip()[:60]!r}")


def _outside_quotes(text: str) -> Iterator[tuple[int, str]]:
    """(place, letter) of the letters that stand in no quotes. A quote begins a value: cow's has none."""
    quote, before, is_escaped = "", " ", False
    for place, letter in enumerate(text):
        if is_escaped:
            is_escaped = False
        elif quote:
            is_doubled = letter == quote == "'" == text[place + 1 : place + 2]
            is_escaped = is_doubled or (letter == "\\" and quote == '"')
            quote = "" if letter == quote and not is_doubled else quote
        elif letter in "'\"" and before in " [{,:":
            quote = letter
        else:
            yield place, letter
        before = letter


def _depth(text: str) -> int:
    """How many brackets are open at the end."""
    letters = [letter for _, letter in _outside_quotes(text)]
    return sum(letter in "[{" for letter in letters) - sum(letter in "]}" for letter in letters)


def _without_comment(line: str) -> str:
    """The line up to a # at its start or after a space, outside of quotes."""
    for place, letter in _outside_quotes(line):
        if letter == "#" and (place == 0 or line[place - 1].isspace()):
            return line[:place].rstrip()
    return line.rstrip()


def _value(text: str, file: Path, number: int) -> Any:
    text = text.strip()
    if text[:1] in ("&", "*", "|", ">", "!"):
        raise Error(f"{file}:{number}: this form of YAML is not read: {text!r}; write plain values or [a, b]")
    if text[:1] not in ENDS:
        return _plain(text) if text else None
    if text[-1] != ENDS[text[0]]:
        raise Error(f"{file}:{number}: what begins with {text[0]} must end with {ENDS[text[0]]}: {text!r}")
    items = [item for item in _split(text[1:-1], ",") if item.strip()]
    if text[0] == "[":
        return [_plain(item) for item in items]
    pairs = [_split(item, ":") for item in items]
    if any(len(pair) != 2 for pair in pairs):
        raise Error(f"{file}:{number}: expected {{0: name, 1: name}}, got {text!r}")
    return {_plain(key): _plain(value) for key, value in pairs}


def _split(text: str, separator: str) -> list[str]:
    ends = [place for place, letter in _outside_quotes(text) if letter == separator]
    return [text[a + 1 : b] for a, b in zip([-1, *ends], [*ends, len(text)], strict=True)]


def _plain(text: str) -> str:
    """A plain or quoted value; '' stands for ' in single quotes, a backslash begins an escape in double ones."""
    text = text.strip()
    if len(text) < 2 or text[0] != text[-1] or text[0] not in "'\"":
        return text
    inner = text[1:-1]
    return inner.replace("''", "'") if text[0] == "'" else ESCAPE.sub(_escaped, inner)


def _escaped(match: re.Match[str]) -> str:
    code = match[1]
    return chr(int(code[1:], 16)) if len(code) > 1 else ESCAPED.get(code, code)


def quoted(text: str) -> str:
    """Text as a value of one line."""
    if text.isprintable():
        return "'" + text.replace("'", "''") + "'"
    return '"' + "".join(c if c.isprintable() and c not in '"\\' else f"\\U{ord(c):08X}" for c in text) + '"'
