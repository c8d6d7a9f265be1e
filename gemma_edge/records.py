"""``dataclass`` as of the standard library, for frozen classes in a sixth of the time.

A command defines 100 to 200 of them before it does anything, and for each Python compiles half a
dozen functions. Here ``__init__`` alone is compiled, the others are the same for all classes.
``fields``, ``replace`` and ``asdict`` take such classes as they take Python's own.
"""

import dataclasses
from operator import attrgetter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
else:

    def dataclass(cls=None, /, *, frozen=False, eq=True, **options):
        """The same arguments; what is not ``frozen`` is left to Python."""

        def decorate(cls):
            if not frozen:
                return dataclasses.dataclass(cls, eq=eq, **options)
            cls.__doc__ = cls.__doc__ or cls.__name__  # else Python writes one, which takes long
            own = set(vars(cls))
            made = dataclasses.dataclass(cls, init=False, repr=False, eq=False, **options)
            shared = dict(_FROZEN)
            if eq:
                compared = [each.name for each in dataclasses.fields(made) if each.compare]
                made.__compared__ = attrgetter(*compared) if compared else type  # all are equal
                shared |= _COMPARED
            if options.get("slots"):
                shared |= _PICKLED
            for name in shared.keys() - own:
                setattr(made, name, shared[name])
            made.__init__ = _make_init(made)
            return made

        return decorate if cls is None else decorate(cls)


def _make_init(made: type[Any]) -> Any:
    """Compile what sets the fields, as Python's own does."""
    names: dict[str, Any] = {"_set": object.__setattr__, "_missing": dataclasses.MISSING}
    plain: list[str] = []
    named: list[str] = []
    body: list[str] = []
    for each in dataclasses.fields(made):
        value, default = each.name, ""
        if each.default is not dataclasses.MISSING:
            names[f"_default_{each.name}"] = each.default
            default = f" = _default_{each.name}"
            value = each.name if each.init else f"_default_{each.name}"
        elif each.default_factory is not dataclasses.MISSING:
            names[f"_make_{each.name}"] = each.default_factory
            default = " = _missing"
            value = f"_make_{each.name}()"
            value += f" if {each.name} is _missing else {each.name}" if each.init else ""
        elif not each.init:
            continue
        if each.init:
            (named if each.kw_only else plain).append(each.name + default)
        body.append(f"_set(self, {each.name!r}, {value})")
    if hasattr(made, "__post_init__"):
        body.append("self.__post_init__()")
    taken = ", ".join(["self", *plain, *(["*", *named] if named else [])])
    exec(f"def __init__({taken}):\n " + "\n ".join(body or ["pass"]), names)
    names["__init__"].__qualname__ = f"{made.__qualname__}.__init__"
    return names["__init__"]


def _refuse(_self: object, name: str, _value: object = None) -> None:
    raise dataclasses.FrozenInstanceError(f"`{name}` of a frozen class stays as it is")


def _repr(self: Any) -> str:
    shown = (each.name for each in dataclasses.fields(self) if each.repr)
    inside = ", ".join(f"{name}={getattr(self, name)!r}" for name in shown)
    return f"{type(self).__qualname__}({inside})"


def _eq(self: Any, other: Any) -> Any:
    if other.__class__ is not self.__class__:
        return NotImplemented
    return self.__compared__(self) == other.__compared__(other)


def _hash(self: Any) -> int:
    return hash(self.__compared__(self))


def _get_state(self: Any) -> list[Any]:
    return [getattr(self, each.name) for each in dataclasses.fields(self)]


def _set_state(self: Any, state: list[Any]) -> None:
    for each, value in zip(dataclasses.fields(self), state, strict=True):
        object.__setattr__(self, each.name, value)


_FROZEN = {"__setattr__": _refuse, "__delattr__": _refuse, "__repr__": _repr}
_COMPARED = {"__eq__": _eq, "__hash__": _hash}
_PICKLED = {"__getstate__": _get_state, "__setstate__": _set_state}
