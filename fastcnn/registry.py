"""Objects to and from plain data, by name, without running code from files.

Each family (layers, initializers, losses, ...) has a base class that sets `kind`; its subclasses register
by existing. An object's configuration is the arguments of its constructor. `serialize` turns an object into
plain data and `deserialize` builds it again, from registered classes and functions only.

Whose name is it? fastcnn's own objects keep their names for ever: "adam" is always fastcnn's Adam. A user's
class is known by its plain name too; defining it again (a notebook cell run twice) replaces the earlier
one. A user's class that shares its name with one of fastcnn's is written as "Custom>Name", so each loads as
itself. Only an explicit `custom_objects` or `custom_object_scope` comes before fastcnn's own names.
"""

import inspect
import re
import types
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar, Token
from pathlib import PurePath
from typing import Any, ClassVar, Self, TypeVar

import numpy as np

from fastcnn.errors import Error, canonical, did_you_mean

Registered = type | Callable[..., Any]
Function = TypeVar("Function", bound=Callable[..., Any])

_PACKAGE = __name__.partition(".")[0]
_FUNCTION = "function"  # the kind written for a user's function
_ARRAY = "array"  # the kind written for a NumPy array
_MISSING = object()
_PLURALS = {"losses": "loss", "optimizers": "optimizer", "schedules": "schedule"}  # of Keras's module names

_builtin: dict[str, dict[str, Registered]] = {}  # kind -> name -> fastcnn's own class or function
_spellings: dict[str, dict[str, str]] = {}  # kind -> canonical name or alias -> name in _builtin
_user: dict[str, dict[str, type]] = {}  # kind -> name -> a user's class, the latest of that name
_user_functions: weakref.WeakValueDictionary[str, Callable[..., Any]] = weakref.WeakValueDictionary()
_custom: dict[str, Any] = {}  # "package>name" -> object, by register_keras_serializable
_scopes: ContextVar[tuple[Mapping[str, Any], ...]] = ContextVar("custom_objects", default=())


def constructor_signature(cls: type) -> inspect.Signature:
    """The arguments of `cls.__init__`, without self."""
    signature = inspect.signature(cls.__init__)  # type: ignore[misc]
    return signature.replace(parameters=list(signature.parameters.values())[1:])


class _Signature:
    """Makes `inspect.signature(SomeClass)` show `__init__`; Python would show `__new__`."""

    def __get__(self, instance: object, owner: type) -> inspect.Signature:
        if instance is not None:
            raise AttributeError("__signature__")
        return constructor_signature(owner)


class Configurable:
    """Base of everything that has a name and a configuration.

    The configuration of an object is its constructor arguments: the attribute of the same name, or where
    there is none, what the constructor was called with.
    """

    kind: ClassVar[str] = ""  # read on direct subclasses only, so a user's layer may have a `kind` of its own
    _kind: ClassVar[str] = ""
    _aliases: ClassVar[tuple[str, ...]] = ()
    _constructor_call: tuple[tuple[Any, ...], dict[str, Any]]
    __signature__: ClassVar[Any] = _Signature()

    def __init_subclass__(cls, **kwargs: Any):
        super().__init_subclass__(**kwargs)
        if Configurable in cls.__bases__:
            cls._kind = cls.kind
        elif not (is_builtin(cls) and cls.__name__.startswith("_")):
            _register(cls._kind, cls, *vars(cls).get("_aliases", ()))

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        self = super().__new__(cls)
        object.__setattr__(self, "_constructor_call", (args, kwargs))
        return self

    def __init__(self) -> None:
        super().__init__()

    def get_config(self) -> dict[str, Any]:
        """The constructor arguments as plain data: numbers, strings, lists, dicts.

        Objects become {"kind", "class_name", "config"}, functions {"kind", "function"}.
        """
        config = {}
        for name, value in _constructor_arguments(self):
            try:
                config[name] = serialize(value)
            except Error as problem:
                where = f"{type(self).__name__}: argument {name!r} cannot be saved"
                raise Error(f"{where}: {problem}") from problem
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Build an object from what `get_config` returned."""
        arguments = {name: _revive(value) for name, value in config.items()}
        try:
            constructor_signature(cls).bind(**arguments)
        except TypeError as problem:
            takes = ", ".join(_parameters(cls)) or "nothing"
            raise Error(f"{cls.__name__}: {problem}; its constructor takes: {takes}") from problem
        return cls(**arguments)


def is_builtin(member: Any) -> bool:
    """Whether a class or function is fastcnn's own."""
    return (getattr(member, "__module__", "") or "").partition(".")[0] == _PACKAGE


def registry(kind: str) -> Mapping[str, Registered]:
    """Name -> class or function of one kind, users' included; where both use a name, fastcnn's. Read only."""
    return types.MappingProxyType({**_user.get(kind, {}), **_builtin.get(kind, {})})


def kinds() -> list[str]:
    """The kinds that have members."""
    return sorted(_builtin.keys() | _user.keys())


def is_registered(kind: str, member: object) -> bool:
    """Whether this very class or function is a member of `kind`."""
    return any(member is known for known in registry(kind).values())


def registered(kind: str, *aliases: str) -> Callable[[Function], Function]:
    """Decorator that makes one of fastcnn's own functions a member of `kind`, by its name and `aliases`."""

    def register(function: Function) -> Function:
        _register(kind, function, *aliases)
        return function

    return register


def _register(kind: str, member: Registered, *aliases: str) -> None:
    if is_builtin(member):
        spellings = _spellings.setdefault(kind, {})
        _builtin.setdefault(kind, {})[member.__name__] = member
        spellings.setdefault(canonical(member.__name__), member.__name__)
        spellings.update((canonical(alias), member.__name__) for alias in aliases)
    elif isinstance(member, type):
        _user.setdefault(kind, {})[member.__name__] = member
    else:
        _remember(member)


def _has_lasting_name(function: Any) -> bool:
    """Whether the name stands for this function alone: no lambda, not made anew inside another one."""
    return isinstance(function, types.FunctionType) and function.__qualname__.isidentifier()


def _remember(function: Callable[..., Any]) -> None:
    """Let a user's function be found again by name in this process, for cloning and for reloading."""
    if is_builtin(function) or not _has_lasting_name(function):
        return
    known = _user_functions.get(function.__name__, function)  # of another module: another function
    if known.__module__ == function.__module__:  # a cell run again
        _user_functions[function.__name__] = function


def _parameters(cls: type) -> dict[str, bool]:
    """Constructor argument -> whether it is always in the configuration.

    A constructor with **kwargs passes them on, so its base's arguments count too. Those it may fix itself
    (`super().__init__(kernel_size=3, **kwargs)`), so they are in the configuration when the caller gave them.
    """
    parameters: dict[str, bool] = {}
    always = True
    for base in cls.__mro__:
        if "__init__" not in vars(base) or not issubclass(base, Configurable):
            continue  # a mixin's constructor takes no part in the configuration
        declared = constructor_signature(base).parameters.values()
        for parameter in declared:
            if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                parameters.setdefault(parameter.name, always or Configurable in base.__bases__)
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in declared):
            break
        always = always and any(parameter.kind is parameter.VAR_POSITIONAL for parameter in declared)
    return parameters


def _constructor_arguments(thing: Configurable) -> Iterator[tuple[str, Any]]:
    args, kwargs = thing._constructor_call
    given = {**constructor_signature(type(thing)).bind_partial(*args, **kwargs).arguments, **kwargs}
    for name, always in _parameters(type(thing)).items():
        if not (always or name in given):
            continue
        value = getattr(thing, name, _MISSING)
        if value is _MISSING or inspect.ismethod(value):  # a method may share the argument's name
            value = given.get(name, _MISSING)
        if value is not _MISSING:
            yield name, value


def serialize(thing: Any) -> Any:
    """An object as plain data, for JSON. Raises `Error` for what has no name to be found by again."""
    if thing is None or isinstance(thing, (bool, int, float, str)):
        return thing
    if isinstance(thing, (list, tuple)):
        items = [serialize(item) for item in thing]
        return tuple(items) if type(thing) is tuple else items
    if isinstance(thing, dict):
        return {key: serialize(value) for key, value in thing.items()}
    if isinstance(thing, Configurable):
        name = get_registered_name(type(thing))
        return {"kind": thing._kind, "class_name": name, "config": thing.get_config()}
    if isinstance(thing, (np.ndarray, np.generic)):
        array = np.asarray(thing)
        listed = {"kind": _ARRAY, "values": array.tolist(), "dtype": str(array.dtype)}
        return listed if array.ndim else array.item()
    if isinstance(thing, (np.dtype, PurePath)):
        return str(thing)
    if isinstance(thing, type) and issubclass(thing, np.generic):
        return np.dtype(thing).name
    if callable(thing):
        return _serialize_callable(thing)
    raise Error(f"{thing!r} of type {type(thing).__name__} is neither plain data nor a fastcnn object")


def _serialize_callable(thing: Any) -> dict[str, str]:
    if isinstance(thing, type):
        raise Error(f"{thing.__name__} is a class; pass an instance of it")
    name = get_registered_name(thing)
    for kind, members in _builtin.items():
        if members.get(name) is thing:
            return {"kind": kind, "function": name}
    if not isinstance(thing, types.FunctionType) or not name.rpartition(">")[2].isidentifier():
        raise Error(
            f"{thing!r} has no name by which it could be found again; write it as a function with a name "
            "and decorate it with @register_keras_serializable()"
        )
    _remember(thing)
    if _has_lasting_name(thing) and ">" not in name and _user_functions[name] is not thing:
        raise Error(
            f"{thing.__module__} and {_user_functions[name].__module__} both have a function {name!r}; "
            "tell them apart with @register_keras_serializable(package=...)"
        )
    return {"kind": _FUNCTION, "function": name}


def get_registered_name(obj: Any) -> str:
    """The name an object is saved under: "Custom>Name" for a user's object named like one of fastcnn's."""
    for key, custom in _custom.items():
        if custom is obj:
            return key
    name = str(getattr(obj, "__name__", type(obj).__name__))
    own = _builtin.get(obj._kind, {}) if isinstance(obj, type) and issubclass(obj, Configurable) else {}
    return f"Custom>{name}" if own.get(name, obj) is not obj else name


def get_registered_object(
    name: str,
    custom_objects: Mapping[str, Any] | None = None,
    module_objects: Mapping[str, Any] | None = None,
) -> Any:
    """The object registered as `name` ("package>name"), or in the given mappings; None if there is none."""
    for objects in (*_scopes.get(), _custom, custom_objects or {}, module_objects or {}):
        if name in objects:
            return objects[name]
    return None


def register_keras_serializable(
    package: str = "Custom", name: str | None = None
) -> Callable[[Function], Function]:
    """Decorator that registers a user's class or function as "package>name", to be saved and loaded by name.

    Subclasses of fastcnn's classes register by themselves; functions, and classes that several modules name
    alike, want this.
    """

    def register(thing: Function) -> Function:
        if isinstance(thing, type) and not hasattr(thing, "get_config"):
            raise Error(f"register_keras_serializable: class {thing.__name__} needs a get_config method")
        _custom[f"{package}>{name or thing.__name__}"] = thing
        return thing

    return register


def get_custom_objects() -> dict[str, Any]:
    """The dictionary of custom objects itself; what is put in it is found by name from then on."""
    return _custom


class CustomObjectScope:
    """Context in which the given names mean the given objects, before all others."""

    def __init__(self, custom_objects: Mapping[str, Any] | None = None):
        self.custom_objects = dict(custom_objects or {})
        self._tokens: list[Token[tuple[Mapping[str, Any], ...]]] = []

    def __enter__(self) -> Self:
        self._tokens.append(_scopes.set((self.custom_objects, *_scopes.get())))
        return self

    def __exit__(self, *exception: object) -> None:
        _scopes.reset(self._tokens.pop())


custom_object_scope = CustomObjectScope


def deserialize(kind: str | None, identifier: Any, custom_objects: Mapping[str, Any] | None = None) -> Any:
    """The object of `kind` that `identifier` stands for.

    identifier: None, an object or callable (returned as it is), a class (constructed), a name ("he_normal",
    "HeNormal", "MSE"; classes are constructed with their defaults), or what `serialize` returned.
    kind: None takes the kind from the serialized data.
    Raises `Error`, with the nearest names when the name is unknown.
    """
    with CustomObjectScope(custom_objects):
        if isinstance(identifier, str):
            return _construct_default(kind, _find(kind or "", identifier))
        if isinstance(identifier, dict):
            return _from_dict(kind, identifier)
        if isinstance(identifier, type):
            return _construct_default(kind, identifier)
    if callable(identifier) and not isinstance(identifier, Configurable):
        _remember(identifier)
    if identifier is None or isinstance(identifier, Configurable) or callable(identifier):
        return identifier
    raise Error(
        f"{kind or 'object'}: expected a name, an object, a function or a configuration, "
        f"got {identifier!r} of type {type(identifier).__name__}"
    )


def _construct_default(kind: str | None, member: Registered) -> Any:
    if not isinstance(member, type):
        return member
    try:
        inspect.signature(member).bind()
    except TypeError as problem:
        name = member.__name__
        raise Error(f"{kind or 'object'} {name!r}: {problem}; pass an instance, {name}(...)") from problem
    return member()


def _from_dict(kind: str | None, data: dict[str, Any]) -> Any:
    """Build the object that serialized data describes; it must be of `kind` where one is asked for."""
    if "module" in data:
        return _from_keras(kind, data)
    key = "class_name" if "class_name" in data else "function"
    if not isinstance(data.get(key), str):
        raise Error(
            f"{kind or 'object'}: expected a dict with 'class_name' and 'config', or with 'function'; "
            f"got one with {sorted(map(str, data)) or 'nothing in it'}"
        )
    stated, name = str(data.get("kind", kind or "")), data[key]
    hint = "; import or define it first, or pass custom_objects={...}"
    member = _find(stated, name, hint)
    if kind and stated not in (kind, _FUNCTION) and not is_registered(kind, member):
        raise Error(f"expected a configuration of kind {kind!r}, got {name!r} of kind {stated!r}")
    return member if key == "function" else _construct(member, f"{stated} {name!r}", data.get("config", {}))


def _from_keras(kind: str | None, data: dict[str, Any]) -> Any:
    """Build what Keras's own serialized form describes: an object, a function, an array or a dtype policy."""
    name, config = data.get("class_name"), data.get("config")
    if name == "function" and isinstance(config, str):
        return _find(_keras_kind(data) or _FUNCTION, str(data.get("registered_name") or config))
    if name in ("DTypePolicy", "FloatDTypePolicy") and isinstance(config, dict):
        return config.get("name")
    if not isinstance(name, str) or name.startswith("__"):
        raise Error(f"{kind or 'object'}: {name} of Keras has no counterpart; describe it as plain data")
    registered = data.get("registered_name")
    wanted = registered if isinstance(registered, str) and ">" in registered else name
    found = _keras_kind(data) or kind or _kind_of_custom(wanted)
    return _from_dict(kind, {"kind": found, "class_name": wanted, "config": {} if config is None else config})


def _keras_kind(data: dict[str, Any]) -> str | None:
    """The kind that a module of Keras's holds: "keras.initializers" -> "initializer"."""
    parts = str(data.get("module") or "").split(".")
    if parts[0] != "keras":
        return None
    names = [_PLURALS.get(part, part.removesuffix("s")) for part in reversed(parts)]
    return next((name for name in names if name in _builtin), None)


def _kind_of_custom(name: str) -> str:
    """The kind of the user's class of that name."""
    for scope in (*_scopes.get(), _custom):
        member = scope.get(name, scope.get(name.rpartition(">")[2]))
        if isinstance(member, type) and issubclass(member, Configurable):
            return member._kind
    plain = name.rpartition(">")[2]
    return next((kind for kind, users in _user.items() if plain in users), "")


def _construct(member: Registered, where: str, config: Any) -> Any:
    if not isinstance(member, type) or not isinstance(config, dict):
        raise Error(f"{where}: expected the name of a class, and a dict as its 'config'")
    construct = getattr(member, "from_config", None)
    return construct(dict(config)) if construct else member(**config)  # users' from_config may pop from it


def _revive(value: Any) -> Any:
    """Undo `serialize` on data that says its kind; leave everything else to the constructor."""
    if isinstance(value, (list, tuple)):
        return type(value)(_revive(item) for item in value)
    if not isinstance(value, dict):
        return value
    if value.get("kind") == _ARRAY and "values" in value:
        return np.array(value["values"], dtype=str(value.get("dtype", "float32")))
    if value.get("class_name") == "__numpy__" and isinstance(value.get("config"), dict):
        data = value["config"]
        return np.array(data["value"], dtype=str(data.get("dtype", "float32")))
    if ("kind" in value or "module" in value) and ("class_name" in value or "function" in value):
        return _from_dict(None, value)
    return {key: _revive(item) for key, item in value.items()}


def serialize_keras_object(obj: Any) -> Any:
    """`serialize` under Keras's name."""
    return serialize(obj)


def deserialize_keras_object(
    config: Any, custom_objects: Mapping[str, Any] | None = None, safe_mode: bool = True
) -> Any:
    """Undo `serialize_keras_object`; plain data is returned as it is. No code runs, whatever `safe_mode` says."""
    with CustomObjectScope(custom_objects):
        return _revive(config)


# Imports of parts of the package that are not imported with it, and define more classes.
on_demand: list[Callable[[], object]] = []


def _find(kind: str, name: str, hint: str = "") -> Registered:
    """The class or function called `name`, in the order of precedence the module's docstring gives."""
    for candidate in _candidates(kind, name):
        if candidate is not None:
            return candidate
    if on_demand:
        on_demand.pop()()
        return _find(kind, name, hint)
    functions = _user_functions if kind == _FUNCTION else ()
    known = {*registry(kind), *_spellings.get(kind, {}), *functions}
    raise Error(f"unknown {kind or 'object'} {name!r}{did_you_mean(name, known)}{hint}")


def _candidates(kind: str, name: str) -> Iterator[Registered | None]:
    package, _, plain = name.rpartition(">")
    for scope in _scopes.get():
        yield scope.get(name, scope.get(plain))
    yield _custom.get(name)
    if not package:
        own = _builtin.get(kind, {})
        yield own.get(name)
        yield own.get(_spellings.get(kind, {}).get(canonical(name), ""))
    if package in ("", "Custom"):
        users = _user.get(kind, {})
        yield users.get(plain)
        yield _user_functions.get(plain) if kind == _FUNCTION else None  # not by a string of any family
        yield next((users[key] for key in users if canonical(key) == canonical(plain)), None)
    if not package:
        yield next((_custom[key] for key in _custom if key.rpartition(">")[2] == plain), None)


_names: dict[str, int] = {}  # stem -> number of the last name made from it


def snake_case(name: str) -> str:
    """Keras's spelling of a class name in lower case: MaxPooling2D -> max_pooling2d, F1Score -> f1_score."""
    spelled = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", name))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", spelled).lower()


def auto_name(class_name: str) -> str:
    """A name no other object of the process got here: conv2d, conv2d_1, conv2d_2, ..."""
    stem = snake_case(class_name)
    count = _names[stem] = _names.get(stem, -1) + 1
    return f"{stem}_{count}" if count else stem


_uids: dict[str, int] = {}  # prefix -> the last number given for it


def get_uid(prefix: str = "") -> int:
    """1, 2, 3, ... for each prefix."""
    _uids[prefix] = _uids.get(prefix, 0) + 1
    return _uids[prefix]


def reset_names() -> None:
    """Start counting names anew; part of `clear_session`."""
    _names.clear()
    _uids.clear()
