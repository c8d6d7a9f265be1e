"""How fast models are on this machine: each is loaded, measured and closed in turn.

What is measured once in each of several rounds is told by its median and its spread. The speed of
writing is kept, so that the next plan knows it. ``advise`` says in a sentence what to choose.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field, replace
from functools import partial
from pathlib import Path
from random import Random
from typing import Literal

from gemma_edge import catalog
from gemma_edge.app.load import prepare
from gemma_edge.app.loaded import LoadedEngine, Prepared
from gemma_edge.app.request import AUTO, ModelRequest
from gemma_edge.app.runtime import Runtime, say_nothing
from gemma_edge.app.standby import open_engine
from gemma_edge.app.stock import Stock
from gemma_edge.documents.document import Picture, fit_size
from gemma_edge.engine.protocol import GREEDY, Finished, JsonConstraint, Message, Request
from gemma_edge.errors import (
    DoesNotFit,
    ExitStatus,
    GemmaEdgeError,
    Interrupted,
    ProjectorError,
    SchemaError,
)
from gemma_edge.hardware.machine import Hardware
from gemma_edge.planning.dry_run import compare_sums
from gemma_edge.planning.plan import Candidate, Plan, Speed
from gemma_edge.planning.planner import FLUENT_SPEED, USABLE_SPEED
from gemma_edge.planning.render import render_kind, short_title
from gemma_edge.records import dataclass
from gemma_edge.store.measurements import PAYS_TIMES

# ----------------------------------------------------------------------------
# What is asked for, and what comes out.


@dataclass(frozen=True, slots=True, kw_only=True)
class Length:
    """How much is measured. ``piece_seconds`` is what one piece of a round may take: a slow machine
    reads and writes less of it; after ``seconds`` no other round of a model begins."""

    name: Literal["quick", "normal"]
    rounds: int
    read_tokens: int
    write_tokens: int
    piece_seconds: float
    seconds: float


QUICK = Length(
    name="quick", rounds=2, read_tokens=512, write_tokens=24, piece_seconds=3.0, seconds=30.0
)  # fmt: skip
NORMAL = Length(
    name="normal", rounds=5, read_tokens=4096, write_tokens=64, piece_seconds=15.0, seconds=180.0
)  # fmt: skip

FigureName = Literal[
    "read_tokens_per_second", "write_tokens_per_second", "filled_tokens_per_second",
    "guessed_tokens_per_second", "copy_tokens_per_second", "json_tokens_per_second",
    "first_token_seconds", "first_image_seconds", "mask_seconds_per_token", "load_seconds",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Figure:
    """One number a round, in the unit of its name; at least one."""

    rounds: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.rounds)

    @property
    def low(self) -> float:
        return min(self.rounds)

    @property
    def high(self) -> float:
        return max(self.rounds)


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryUse:
    """One memory. Of the buffers that llama.cpp reports, ``planned_bytes`` were expected and
    ``allocated_bytes`` are there. ``total_bytes`` is all that the plan counts, ``budget_bytes``
    what was free. ``device_bytes`` is how much less a device had free with the model loaded, None
    where nobody tells or nothing changed."""

    place: str
    title: str
    total_bytes: int
    budget_bytes: int | None
    planned_bytes: int
    allocated_bytes: int
    device_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelBench:
    """One model. ``name`` is what was asked for, of a path the file's name alone; ``title`` is for
    people, "" where nobody got so far; ``short`` is its size ("12B"), or its name. ``problem`` and
    ``hint`` say why nothing, or no more, was measured; ``status`` is that of the problem.
    ``read_tokens`` were read, and were before what was written behind them; ``copied`` is the share
    of the copied text that drafts brought, ``guessed`` that of a free answer that its drafter did.
    ``expected`` is the speed of the plan before, ``kept`` whether plans know the new one."""

    name: str
    title: str = ""
    short: str = ""
    bundled: bool = False
    quality: tuple[int, ...] = ()
    place: str = ""
    candidate: Candidate | None = None
    plan: Plan | None = None
    figures: Mapping[FigureName, Figure] = field(default_factory=dict)
    read_tokens: int = 0
    copied: float = 0.0
    guessed: float = 0.0
    words_per_token: float = 0.75
    memory: tuple[MemoryUse, ...] = ()
    expected: Speed | None = None
    kept: bool = False
    remarks: tuple[str, ...] = ()
    problem: str = ""
    hint: str = ""
    status: ExitStatus = ExitStatus.OK

    @property
    def speed(self) -> float:
        """Tokens a second while writing, from an empty context; 0 where that was not measured."""
        found = self.figures.get("write_tokens_per_second")
        return found.median if found else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """All of it. ``busy_programs`` wanted a core when it began, None where nobody knows;
    ``advice`` is a sentence, "" where nothing was measured."""

    length: Length
    hardware: Hardware
    busy_programs: int | None
    models: tuple[ModelBench, ...]
    advice: str

    @property
    def status(self) -> ExitStatus:
        """How it ended: stopped, or the first problem where nothing was measured."""
        states = [each.status for each in self.models]
        if ExitStatus.INTERRUPTED in states:
            return ExitStatus.INTERRUPTED
        if any(each.speed for each in self.models):
            return ExitStatus.OK
        return next((each for each in states if each), ExitStatus.OK)


def bench(
    names: Sequence[str], model: ModelRequest, length: Length, runtime: Runtime,
    tell: Callable[[str], None] = say_nothing,
) -> Bench:  # fmt: skip
    """Measure each of these models, placed as ``model`` asks; without names the best one that is
    here. One that does not fit, is not here or fails has its problem in its row, and the rest goes
    on. Ctrl-C ends it, with what was measured. ``tell`` takes a line on how far it is.
    Raises Interrupted: Ctrl-C, before anything was."""
    busy = runtime.busy_programs()  # before any program of ours runs
    runtime.begin()
    rows: list[ModelBench] = []
    for name in names or (AUTO,):
        request = replace(model, model=name)
        said = f"{len(rows) + 1} of {len(names)}, " if len(names) > 1 else ""
        row = _measure_model(request, length, runtime, partial(_tell_more, tell, said), busy)
        remarks = explain_difference(row, busy), judge_drafter(row)
        rows.append(replace(row, remarks=(*row.remarks, *filter(None, remarks))))
        if row.status is ExitStatus.INTERRUPTED:
            break
    if rows[-1].status is ExitStatus.INTERRUPTED and not any(each.figures for each in rows):
        raise Interrupted("stopped before anything was measured")
    return Bench(
        length=length, hardware=runtime.hardware, busy_programs=busy, models=tuple(rows),
        advice=advise(rows),
    )  # fmt: skip


def _tell_more(tell: Callable[[str], None], before: str, text: str) -> None:
    tell(before + text)


def on_this_machine(runtime: Runtime) -> tuple[str, ...]:
    """What ``--model`` takes for every Gemma 4 of the store, the better first."""
    found = Stock(runtime.store, runtime.note).on_disk()
    ranked = sorted(found, key=lambda each: each.quality, reverse=True)
    return tuple(each.model_name for each in ranked)


def _measure_model(
    request: ModelRequest, length: Length, runtime: Runtime, tell: Callable[[str], None],
    busy: int | None,
) -> ModelBench:  # fmt: skip
    name = request.model
    row = ModelBench(name=Path(name).name if catalog.kind_of(name) == "path" else name)
    try:
        tell(f"{row.name}: plan")
        prepared = prepare(request, runtime, vision="possible")
        row = _describe(row, prepared, prepared.plan)
        before = _free(runtime, prepared.plan)
        began = runtime.clock()
        with open_engine(prepared, runtime) as engine:
            loaded = runtime.clock() - began
            engine.stop_learning()
            plan = engine.info.plan or prepared.plan
            row = _describe(row, prepared, plan)
            taken = {place: free - _free(runtime, plan).get(place, free)
                     for place, free in before.items()}  # fmt: skip
            row = replace(row, memory=_memory(engine, plan, taken))
            row = _Rounds(engine, prepared, length, row, runtime, tell).run(loaded)
            if row.speed and not was_disturbed(row, busy):
                read = row.figures.get("read_tokens_per_second")
                engine.keep(row.speed, read.median if read else None, _drafter_times(row))
                row = replace(row, kept=not plan.adapters)
            return row
    except (KeyboardInterrupt, Interrupted):
        return replace(row, problem="stopped", status=ExitStatus.INTERRUPTED)
    except GemmaEdgeError as error:
        return _failed(row, error)


def _failed(row: ModelBench, error: GemmaEdgeError) -> ModelBench:
    return replace(row, problem=error.message, hint=error.hint, status=error.exit_status)


def _describe(row: ModelBench, prepared: Prepared, plan: Plan) -> ModelBench:
    candidate = prepared.candidate
    size = candidate.title.partition(",")[0] if candidate.size_name else candidate.title
    return replace(
        row, title=short_title(candidate).replace(",", ""), short=size,
        bundled=prepared.files.bundled,
        name=row.name if row.name != AUTO else Path(prepared.wanted).name,
        quality=candidate.quality if candidate.size_name else (),
        place=render_kind(plan, candidate.layers), candidate=candidate, plan=plan,
        expected=plan.speed,
    )  # fmt: skip


def _free(runtime: Runtime, plan: Plan) -> dict[str, int]:
    """What the plan's devices have free now; nothing is asked where it uses none."""
    if not plan.devices:
        return {}
    seen = runtime.look_again().devices
    return {each.name: each.free_bytes for each in seen if each.name in plan.devices}


def _memory(engine: LoadedEngine, plan: Plan, taken: Mapping[str, int]) -> tuple[MemoryUse, ...]:
    if plan.ledger is None or not engine.info.allocated:
        return ()
    sums = compare_sums(plan.ledger, engine.info.allocated)
    return tuple(
        MemoryUse(
            place=account.place, title=account.title, total_bytes=account.taken_bytes,
            budget_bytes=account.budget_bytes, planned_bytes=sums[account.place][0],
            allocated_bytes=sums[account.place][1], device_bytes=taken.get(account.place) or None,
        )
        for account in plan.ledger.accounts
    )  # fmt: skip


# ----------------------------------------------------------------------------
# What is read and written. Each round has other texts and another picture, so that nothing is
# answered from a cache.

_SENTENCES = (
    "The harbour was quiet that morning, and the boats lay so still that nobody heard them.",
    "She wrote the number on the back of an envelope and put it into the pocket of her coat.",
    "Of the four bridges over the river, the oldest was built of stone before there was a town.",
    "Every evening the baker counted what was left and gave it to the children of the street.",
    "A letter from the council said that the road would be closed from Monday to Thursday.",
    "He had forgotten the name of the station, but he remembered the clock above its door.",
    "Rain fell on the garden for three days, and the beans that were given up came back.",
    "The machine in the corner made a low sound whenever somebody opened the window.",
    "In the library upstairs a student read the same page twice and understood it the third time.",
    "They sold the field to a neighbour who wanted nothing from it but the view of the hills.",
    "The train to the coast leaves at seven, and those who miss it have to wait until noon.",
    "Nobody at the table could say why the soup tasted better than it had the day before.",
    "An engineer walked along the pipe with a lamp and marked each joint that had begun to leak.",
    "The price of wool rose in autumn, fell in winter and was the same again by spring.",
    "Two sisters kept the shop open through the war and closed it on the day it ended.",
    "When the lights went out, the whole street came to the windows and began to talk.",
)
_COPIED_SENTENCES = 8
_STORY = "Tell a story that begins like this: "
_REPEAT = "Repeat the text above word for word, from its first sentence to its last."
_SHORT = "Name a large city in the north of Italy, and say what it is known for."
_PROBE_TOKENS, _LEAST_TOKENS = 64, 8
_LEAST_COPIED = 0.1  # of an answer; with less of it looked up it is no copy
_LEAST_ANSWER, _MOST_ANSWER = 32, 160  # tokens of a copy, or of JSON
# What a person would ask of an invoice, as the decoder is held to it: closed, nothing required that
# is not there.
_SCHEMA = (
    '{"type":"object","additionalProperties":false,"required":["vendor","invoice_number","date",'
    '"currency","items","total"],"properties":{"vendor":{"type":["string","null"]},'
    '"invoice_number":{"type":["string","null"]},"date":{"type":["string","null"]},'
    '"currency":{"type":["string","null"]},"items":{"type":"array","maxItems":4,"items":{"type":'
    '"object","additionalProperties":false,"required":["description","quantity","amount"],'
    '"properties":{"description":{"type":["string","null"]},"quantity":{"type":["number","null"]},'
    '"amount":{"type":["number","null"]}}}},"total":{"type":["number","null"]}}}'
)
_GOODS = ("Glass jar, 1 l", "Cedar board", "Copper wire", "Desk lamp", "Blue ink", "Door hinge")


def _prose(number: int, sentences: int) -> str:
    random = Random(f"bench {number}")
    once = random.sample(_SENTENCES, min(sentences, len(_SENTENCES)))
    return " ".join(once + random.choices(_SENTENCES, k=sentences - len(once)))


def _invoice(number: int) -> str:
    random = Random(f"invoice {number}")
    goods = [(each, random.randint(1, 9), random.randint(100, 9999) / 100)
             for each in random.sample(_GOODS, 3)]  # fmt: skip
    lines = [
        f"{name}   {count}   {price:.2f}   {count * price:.2f}" for name, count, price in goods
    ]
    total = sum(count * price for _, count, price in goods)
    return "\n".join([
        "INVOICE", "Velmora Glassworks Ltd", f"Invoice No. VG-{random.randint(10000, 99999)}",
        f"Date: 2026-0{random.randint(1, 9)}-{random.randint(10, 28)}",
        "Description   Qty   Price   Amount", *lines, f"Total EUR   {total:.2f}",
    ])  # fmt: skip


def _picture(number: int, image_tokens: int) -> Picture:
    """Noise: the encoder takes as long for it as for a photo."""
    width, height = fit_size(4000, 3000, image_tokens)
    rgb = Random(f"picture {number}").randbytes(width * height * 3)
    return Picture(rgb, width, height, name=f"picture {number}")


def _ask(text: str, max_tokens: int, pictures: tuple[Picture, ...] = ()) -> Request:
    message = Message("user", text, pictures)
    return Request(messages=(message,), sampling=GREEDY, max_tokens=max_tokens, fresh=True)


class _Rounds:
    """The rounds of one model. Whatever ends them, ``row`` has what was measured so far."""

    def __init__(  # noqa: PLR0913, PLR0917  (the model, how much, and who is told)
        self, engine: LoadedEngine, prepared: Prepared, length: Length, row: ModelBench,
        runtime: Runtime, tell: Callable[[str], None],
    ) -> None:  # fmt: skip
        self._engine, self._prepared, self._length = engine, prepared, length
        self._row, self._clock, self._say = row, runtime.clock, tell
        self._found: dict[FigureName, list[float]] = {}
        self._left_out: dict[str, str] = {}
        self._copied: list[float] = []
        self._guessed: list[float] = []
        self._drafts = prepared.plan.draft != "off"
        self._guesses = self._drafts and prepared.plan.drafter is not None
        self._read_tokens = self._write_tokens = self._answer_tokens = self._sentences = 0
        self._words_per_token = row.words_per_token

    def run(self, load_seconds: float) -> ModelBench:
        """Measure until it is enough, it fails, or Ctrl-C."""
        self._add("load_seconds", load_seconds)
        row = self._row
        try:
            self._measure()
        except (KeyboardInterrupt, Interrupted):
            row = replace(row, problem="stopped", status=ExitStatus.INTERRUPTED)
        except GemmaEdgeError as error:
            row = _failed(row, error)
        if self._copied and statistics.median(self._copied) < _LEAST_COPIED:
            self._found.pop("copy_tokens_per_second", None)
            self._left_out["copying"] = "it did not repeat the text"
        figures = {name: Figure(tuple(found)) for name, found in self._found.items()}
        remarks = tuple(f"{row.short}: {what} is left out, {why}"
                        for what, why in self._left_out.items())  # fmt: skip
        row = replace(
            row, figures=figures, read_tokens=self._read_tokens, remarks=remarks,
            copied=statistics.median(self._copied or [0.0]),
            guessed=statistics.median(self._guessed or [0.0]),
            words_per_token=self._words_per_token,
        )  # fmt: skip
        return row

    def _measure(self) -> None:
        ends = self._clock() + self._length.seconds
        self._tell("warming up")
        self._size_up()
        for number in range(1, self._length.rounds + 1):
            self._round(number, f"round {number} of {self._length.rounds}")
            if self._clock() > ends:
                break

    def _size_up(self) -> None:
        """How much this machine reads and writes in the time for one piece."""
        length, context = self._length, self._engine.info.context_tokens
        seconds = length.piece_seconds
        rate = self._engine.measure(_LEAST_TOKENS)
        self._write_tokens = _within(rate * seconds, _LEAST_TOKENS, length.write_tokens)
        self._answer_tokens = _within(rate * seconds, _LEAST_ANSWER, _MOST_ANSWER)
        text = _prose(0, len(_SENTENCES))
        bare, whole = (self._engine.count(_ask(each, 1)).total_tokens for each in ("", text))
        tokens = max(1, whole - bare)
        self._words_per_token = len(text.split()) / tokens
        a_sentence = tokens / len(_SENTENCES)
        probe = _ask(_prose(0, max(1, int(_PROBE_TOKENS / a_sentence))), 1)
        finished = self._finish(probe)
        rate = _rate(finished.usage.evaluated_tokens, finished.timings.prompt_seconds)
        most = min(length.read_tokens, context // 2)
        self._sentences = max(1, int(_within(rate * seconds or most, 1, most) / a_sentence))

    def _round(self, number: int, said: str) -> None:
        self._tell(f"{said}, writing")
        self._add("write_tokens_per_second", self._engine.measure(self._write_tokens))
        if self._guesses:
            self._tell(f"{said}, writing with the drafter")
            self._piece("writing with the drafter", partial(self._guess, number))
        self._tell(f"{said}, reading")
        self._piece("reading", partial(self._read, number))
        if self._drafts:
            self._tell(f"{said}, copying a text")
            self._piece("copying", partial(self._copy, number))
        self._tell(f"{said}, writing JSON")
        self._piece("JSON", partial(self._write_json, number))
        self._piece("the first word", self._first_word)
        if self._engine.info.vision:
            self._tell(f"{said}, looking at a picture")
            self._piece("the first picture", partial(self._see, number))

    def _piece(self, what: str, measure: Callable[[], None]) -> None:
        """A part of a round that this model or its context may have no room for."""
        if what in self._left_out:
            return
        try:
            measure()
        except (DoesNotFit, SchemaError, ProjectorError) as error:
            self._left_out[what] = error.message

    def _read(self, number: int) -> None:
        finished = self._finish(_ask(_prose(number, self._sentences), 1))
        usage = finished.usage
        self._read_tokens = usage.prompt_tokens
        self._add_rate("read_tokens_per_second", usage.evaluated_tokens,
                       finished.timings.prompt_seconds)  # fmt: skip
        rate = self._engine.measure(self._write_tokens, filled=True)
        self._add("filled_tokens_per_second", rate)

    def _guess(self, number: int) -> None:
        finished = self._finish(_ask(_STORY + _prose(number + 200, 1), self._write_tokens))
        usage = finished.usage
        if usage.generated_tokens >= _LEAST_TOKENS:
            self._guessed.append(usage.accepted_tokens / usage.generated_tokens)
            self._add_rate("guessed_tokens_per_second", usage.generated_tokens,
                           finished.timings.decode_seconds)  # fmt: skip

    def _copy(self, number: int) -> None:
        text = _prose(number + 100, min(_COPIED_SENTENCES, max(1, self._sentences)))
        tokens = self._engine.count(_ask(text, 1)).total_tokens
        finished = self._finish(_ask(f"{text}\n\n{_REPEAT}", min(tokens, self._answer_tokens)))
        usage = finished.usage
        if usage.generated_tokens < _LEAST_TOKENS:
            self._copied.append(0.0)
            return
        self._copied.append(usage.accepted_tokens / usage.generated_tokens)
        self._add_rate("copy_tokens_per_second", usage.generated_tokens,
                       finished.timings.decode_seconds)  # fmt: skip

    def _write_json(self, number: int) -> None:
        text = f"{_invoice(number)}\n\nRead this invoice into JSON."
        held = replace(_ask(text, self._answer_tokens), constraint=JsonConstraint(schema=_SCHEMA))
        finished = self._finish(held)
        usage, timings = finished.usage, finished.timings
        self._add_rate("json_tokens_per_second", usage.generated_tokens, timings.decode_seconds)
        chosen = usage.generated_tokens - usage.forced_tokens
        if chosen > 0 and timings.mask_seconds > 0:
            self._add("mask_seconds_per_token", timings.mask_seconds / chosen)

    def _first_word(self) -> None:
        finished = self._finish(_ask(_SHORT, 1))
        self._add("first_token_seconds", finished.timings.first_token_seconds)

    def _see(self, number: int) -> None:
        picture = _picture(number, self._prepared.image_tokens)
        finished = self._finish(_ask("Describe this image.", 1, (picture,)))
        self._add("first_image_seconds", finished.timings.first_token_seconds)

    def _finish(self, request: Request) -> Finished:
        """The end of an answer. Raises Interrupted: it was stopped."""
        finished: Finished | None = None
        for event in self._engine.generate(request):
            if isinstance(event, Finished):
                finished = event
        if finished is None or finished.reason == "cancelled":
            raise Interrupted("stopped")
        return finished

    def _add_rate(self, name: FigureName, tokens: int, seconds: float) -> None:
        self._add(name, _rate(tokens, seconds))

    def _add(self, name: FigureName, value: float) -> None:
        """A round more; what took no time at all was not measured."""
        if value > 0:
            self._found.setdefault(name, []).append(value)

    def _tell(self, text: str) -> None:
        self._say(f"{self._row.title}: {text}")


def _rate(tokens: int, seconds: float) -> float:
    return tokens / seconds if seconds > 0 else 0.0


def _within(count: float, least: int, most: int) -> int:
    return max(least, min(most, int(count)))


# ----------------------------------------------------------------------------
# What the numbers mean.

MUCH = 1.5  # times; published estimates lie within a third of what is measured (docs/memory.md)
ALIKE = 1.1  # times; a machine is not steadier than that


def advise(models: Sequence[ModelBench]) -> str:
    """Which of the models to choose here, in a sentence that follows from their speeds and their
    quality: the best that answers as fast as one reads, else the fastest. "" for no model."""
    measured = [each for each in models if each.speed]
    real = [each for each in measured if not each.bundled] or measured
    if not real:
        return ""
    names = _names(real)
    first = f"{names[0]} answers at {_words(real[0])} words a second"
    if len(real) == 1:
        return f"{first}: {_judge_alone(real[0])}"
    others = [f"{name} at {_words(each)}" for name, each in zip(names, real, strict=True)]
    said = ", ".join([first, *others[1:]])
    return f"{said}: {_choose(real, names)}"


def _judge_alone(one: ModelBench) -> str:
    if one.bundled:
        return "a miniature, whose speed says nothing about Gemma 4 (gemma-edge plan estimates it)"
    if one.speed >= FLUENT_SPEED:
        return "faster than anyone reads along"
    if one.speed >= USABLE_SPEED:
        return "fast enough to read along"
    return "slower than one reads; a smaller model answers sooner (gemma-edge plan --all)"


def _choose(models: Sequence[ModelBench], names: Sequence[str]) -> str:
    by_name = dict(zip(names, models, strict=True))
    fastest = max(by_name, key=lambda name: by_name[name].speed)
    usable = [name for name in names if by_name[name].speed >= USABLE_SPEED]
    if not usable:
        return f"all are slower than one reads; choose {fastest} here, or a smaller model"
    best = max(usable, key=lambda name: (by_name[name].quality, by_name[name].speed))
    times = by_name[fastest].speed / by_name[best].speed
    if times > ALIKE and by_name[best].speed >= FLUENT_SPEED:
        return (
            f"choose {best} here; {fastest} is {times:.1f} times as fast, but nobody reads so fast"
        )
    if times > ALIKE:
        return (
            f"choose {best} where answers matter, {fastest} ({times:.1f} times as fast) for speed"
        )
    better = [name for name in names if by_name[name].quality > by_name[best].quality]
    if better:
        slow = " and ".join(better)
        verb = "is" if len(better) == 1 else "are"
        return f"choose {best} here, {slow} {verb} slower than one reads"
    if len({each.quality for each in models}) == 1:
        return f"choose {best} here, it is the faster one"
    return f"choose {best} here, the better one loses no time"


def _names(models: Sequence[ModelBench]) -> list[str]:
    """As short as they can be told apart: the size, the size with its quant, or as asked."""
    for key in ("short", "title", "name"):
        names: list[str] = [getattr(each, key) for each in models]
        if len(set(names)) == len(names):
            return names
    return [f"{each.name} ({number})" for number, each in enumerate(models, 1)]


_FEW_WORDS = 2.0  # a second; below it a decimal matters


def _words(one: ModelBench) -> str:
    words = one.speed * one.words_per_token
    return f"{words:.{0 if words >= _FEW_WORDS else 1}f}"


def was_disturbed(row: ModelBench, busy: int | None) -> bool:
    """Whether it was much slower than expected while other programs wanted a core: what another
    minute may do better is not kept."""
    if not busy or row.expected is None or not row.speed:
        return False
    return row.speed * MUCH < row.expected.tokens_per_second


def explain_difference(row: ModelBench, busy: int | None) -> str:
    """Where writing was much faster or slower than the plan had it: by how much, what that means,
    and what to do. "" where it was not, and for the bundled model, for which estimates are not
    made."""
    if not row.speed or row.expected is None or row.bundled or row.plan is None:
        return ""
    expected = row.expected.tokens_per_second
    times = row.speed / expected
    if 1 / MUCH <= times <= MUCH:
        return ""
    before = "it had when it was measured before" if row.expected.measured else "were expected"
    said = f"{row.short} writes {_short(row.speed)} tok/s, {_short(expected)} {before}: "
    return said + (_why_slow(row, busy) if times < 1 else _why_fast(row))


def _why_slow(row: ModelBench, busy: int | None) -> str:
    assert row.plan is not None
    if busy:
        programs = "another program" if busy == 1 else f"{busy} other programs"
        return f"{programs} wanted a core; it is not kept, measure again when it is quiet"
    kind = row.plan.kind(row.candidate.layers) if row.candidate else "cpu"
    if row.expected is not None and row.expected.measured:
        return "heat, saving of power, or another program; measure again when the machine is idle"
    if kind == "gpu":
        return (
            "a card that saves power, is hot or is shared; gemma-edge doctor --prove measures the "
            "card alone"
        )
    if kind in ("experts", "partial"):
        return (
            "what lies in main memory sets the pace; a smaller --ctx or model leaves more of it on "
            "the GPU, and plans count with this from now on"
        )
    return (
        "main memory is slower than usual with this processor (one module instead of two?), or the "
        "build lacks its instructions; gemma-edge doctor looks"
    )


def _why_fast(row: ModelBench) -> str:
    if row.expected is not None and row.expected.measured:
        return "the machine had less to do than then"
    return "the estimate was too careful; a larger model may do as well, ask gemma-edge plan again"


def _short(rate: float) -> str:
    return f"{rate:.{0 if rate >= 10 else 1}f}"  # noqa: PLR2004


def judge_drafter(row: ModelBench) -> str:
    """Whether its drafter is worth its memory here; "" for a model without one."""
    times = _drafter_times(row)
    if times is None:
        return ""
    if times >= PAYS_TIMES:
        then = "it is used from now on" if row.kept else "keep --draft mtp"
        return f"{row.short}: its drafter makes answers {times:.1f} times as fast; {then}"
    return f"{row.short}: its drafter does not pay here, {times:.1f} times as fast; --draft lookup"


def _drafter_times(row: ModelBench) -> float | None:
    """How many times as fast it writes with its drafter; None where that was not measured."""
    found = row.figures.get("guessed_tokens_per_second")
    return found.median / row.speed if found and row.speed else None
