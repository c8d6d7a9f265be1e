"""Our frozen classes are those of Python's ``dataclasses``, but for the time to define them."""

import copy
import dataclasses
import pickle
import sys
from collections.abc import Callable
from typing import Any

import pytest

from gemma_edge.records import dataclass


def define(decorate: Callable[..., Any]) -> tuple[type[Any], type[Any]]:
    """The same two classes by one decorator or the other."""

    @decorate(frozen=True, slots=True)
    class Base:
        first: int
        second: str = "two"
        seen: list[int] = dataclasses.field(default_factory=list, repr=False, compare=False)

    @decorate(frozen=True, slots=True, kw_only=True)
    class Derived(Base):
        """One that has more."""

        third: float
        made: int = dataclasses.field(default=7, init=False)

        def __post_init__(self) -> None:
            object.__setattr__(self, "second", self.second.upper())

    return Base, Derived


OURS, THEIRS = define(dataclass), define(dataclasses.dataclass)


def outcome(ask: Callable[[], Any]) -> Any:
    try:
        return ask()
    except (AttributeError, TypeError, ValueError) as error:
        return type(error)


@pytest.mark.parametrize(
    "ask",
    [
        lambda base, _: repr(base(1)).rpartition(".")[2],
        lambda base, _: (base(1).second, base(1).seen, base(1, "b", [2]).seen),
        lambda base, _: base(1).seen is base(1).seen,
        lambda base, _: (base(1) == base(1, "two", [3]), base(1) == base(2), base(1) == 1),
        lambda base, _: (len({base(1), base(1, seen=[4])}), hash(base(1)) == hash(base(2))),
        lambda base, derived: base(1, "A") == derived(1, "a", third=0.5),
        lambda _, derived: (derived(1, third=2.0).second, derived(1, third=2.0).made),
        lambda _, derived: derived(1, third=2.0, made=3),
        lambda _, derived: derived(1, "x", [], 2.0),
        lambda base, _: base(),
        lambda base, _: base(1, fourth=4),
        lambda base, _: setattr(base(1), "first", 2),
        lambda base, _: delattr(base(1), "first"),
        lambda base, _: vars(base(1)),
        lambda base, _: dataclasses.asdict(base(1, "b", [5])),
        lambda base, _: dataclasses.replace(base(1), second="c").second,
        lambda _, derived: dataclasses.replace(derived(1, third=1.0), made=2),
        lambda base, _: copy.deepcopy(base(1, "b", [6])).seen,
        lambda _, derived: [each.name for each in dataclasses.fields(derived)],
        lambda base, derived: (base.__match_args__, derived.__match_args__, derived.__doc__),
        lambda base, _: dataclasses.is_dataclass(base),
    ],
)
def test_they_do_the_same(ask: Callable[[Any, Any], Any]) -> None:
    assert outcome(lambda: ask(*OURS)) == outcome(lambda: ask(*THEIRS))


@dataclass(frozen=True)
class Equal:
    """It says itself when it is equal."""

    name: str

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Equal) and other.name.lower() == self.name.lower()

    def __hash__(self) -> int:
        return hash(self.name.lower())


@dataclass(frozen=True, eq=False, slots=True)
class Same:
    """Equal to itself alone."""

    name: str


@dataclass(frozen=True, slots=True)
class Nothing:
    """Without a field."""


@dataclass(slots=True)
class Changing:
    """Not frozen: Python's own."""

    name: str


def test_what_a_class_says_itself_stays() -> None:
    assert (Equal("A") == Equal("a"), len({Equal("A"), Equal("a")})) == (True, 1)
    assert (Same("a") == Same("a"), len({Same("a"), Same("a")})) == (False, 2)
    assert (Nothing() == Nothing(), len({Nothing(), Nothing()})) == (True, 1)
    assert pickle.loads(pickle.dumps(Nothing())) == Nothing()
    changing = Changing("a")
    changing.name = "b"
    assert changing == Changing("b")


def test_it_compiles_one_function_a_class(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted, not timed."""
    compiled: list[object] = []

    def count(event: str, _arguments: object) -> None:
        if event == "exec":
            compiled.append(event)

    sys.addaudithook(count)
    define(dataclass)
    ours = len(compiled)
    compiled.clear()
    define(dataclasses.dataclass)
    assert ours == 2 < len(compiled) / 2 or sys.version_info >= (3, 13)
