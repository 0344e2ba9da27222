"""The one exception family, and the help its messages give."""

import difflib
from collections.abc import Iterable, Mapping


class Error(ValueError):
    """What fastcnn was given cannot work.

    The message says what happened, where, what was expected and how to fix it. Being a `ValueError`, it is
    caught by scripts written for Keras.
    """

    is_located = False

    def at(self, where: str) -> "Error":
        """The same error saying where it happened. The innermost place wins; a second call changes nothing."""
        if self.is_located:
            return self
        error = type(self)(f"{where}: {self}")
        error.is_located = True
        return error

    def at_position(self, model: str, position: int) -> "Error":
        """The same error with the place of the layer in its model in front."""
        error = type(self)(f"model {model!r}, layer number {position}: {self}")
        error.is_located = True
        return error


def canonical(name: str) -> str:
    """Lower case letters and digits only: the spellings of one name that are taken to be the same.

    >>> canonical("GlorotUniform") == canonical("glorot_uniform")
    True
    """
    return "".join(letter for letter in name.lower() if letter.isalnum())


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown name: the nearest known ones, or all of them if none is near."""
    spellings: dict[str, str] = {}
    for spelling in sorted(known):  # capitals sort first: a class is shown by its name, not by an alias
        spellings.setdefault(canonical(spelling), spelling)
    near = difflib.get_close_matches(canonical(name), spellings, n=3, cutoff=0.6)
    if near:
        return "; did you mean " + " or ".join(repr(spellings[spelling]) for spelling in near) + "?"
    return "; known names: " + ", ".join(sorted(spellings.values(), key=str.lower)) if spellings else ""


class OpenDimensionError(Error):
    """A size that is open while a functional model is being built, and would have to be known."""


class NoLengthError(Error, TypeError):
    """Data whose length nobody knows; a `TypeError`, so that `list` reads them to their end."""


class MissingNameError(Error, AttributeError):
    """A name that Keras has and fastcnn has not; an `AttributeError`, so that `hasattr` says no."""


def missing_name(
    module: str, name: str, known: Iterable[str], instead: Mapping[str, str] | None = None
) -> AttributeError:
    """The error for a name that a module does not have, with the nearest ones of those it has.

    instead: part of a name -> the end of the message for names with that part.
    """
    if name.startswith("_"):
        return AttributeError(f"module {module!r} has no attribute {name!r}")
    hint = next((text for part, text in (instead or {}).items() if part in name), "")
    return MissingNameError(f"{module} has no {name!r}{hint or did_you_mean(name, known)}")
