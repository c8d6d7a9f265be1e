"""Documents that were read once: the next process reads the question alone, and says the same."""

import os
import shutil
import stat
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from gemma_edge.engine import load
from gemma_edge.engine.engine import LlamaEngine
from gemma_edge.engine.kv_cache import CacheWriter, open_saved
from gemma_edge.engine.prefix_cache import LEAST_TOKENS
from gemma_edge.engine.protocol import (
    GREEDY,
    Chunk,
    Engine,
    Event,
    Finished,
    Message,
    Notice,
    Request,
)
from gemma_edge.errors import EngineError
from gemma_edge.planning.plan import Adapter, Plan
from tests.engine.conftest import DEMO, MakeLora, demo_plan, picture

REPORT = "\n".join(f"Row {number}: the box has {number * 7 % 13} circles." for number in range(90))
Open = Callable[[Plan], LlamaEngine]


def about(question: str, text: str = REPORT, *before: Message) -> Request:
    document = f"{text}\n\n"
    message = Message("user", document + question, documents=(len(document),))
    return Request(messages=(*before, message), sampling=GREEDY, max_tokens=12)


def ask(engine: Engine, request: Request) -> tuple[str, Finished, list[str]]:
    """The answer, its end, and what a person is told."""
    *events, finished = list[Event](engine.generate(request))
    assert isinstance(finished, Finished)
    text = "".join(each.text for each in events if isinstance(each, Chunk))
    return text, finished, [each.text for each in events if isinstance(each, Notice)]


def kept(folder: Path) -> list[Path]:
    return sorted((folder / "read").iterdir()) if (folder / "read").exists() else []


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return replace(demo_plan(context_tokens=4096), remember=tmp_path / "seen")


@pytest.fixture
def folder(plan: Plan) -> Path:
    assert plan.remember is not None
    return plan.remember


@pytest.fixture
def start() -> Iterator[Open]:
    """Engines that know nothing of each other, as those of other processes."""
    opened: list[LlamaEngine] = []

    def start(plan: Plan) -> LlamaEngine:
        opened.append(LlamaEngine(plan))
        return opened[-1]

    yield start
    for engine in opened:
        engine.close()


def test_the_next_process_reads_the_question_alone(plan: Plan, folder: Path, start: Open) -> None:
    first = about("How many circles has the box in row 7?")
    said, finished, told = ask(start(plan), first)
    assert finished.usage.restored_tokens == 0
    assert len(told) == 1 and "remembered in" in told[0]
    (file,) = kept(folder)
    for question in (first, about("Which row is the last?")):
        alone, fresh, _ = ask(start(replace(plan, remember=None)), question)
        again, finished, told = ask(start(plan), question)
        usage = finished.usage
        assert again == alone
        assert usage.cached_tokens == usage.restored_tokens > LEAST_TOKENS
        assert usage.evaluated_tokens < 60 < fresh.usage.evaluated_tokens
        assert told == [] and kept(folder) == [file]
        assert finished.timings.saved_seconds > 0
    assert said == ask(start(plan), first)[0]


def test_in_the_same_process_nothing_is_taken_from_the_disk(plan: Plan, start: Open) -> None:
    engine = start(plan)
    ask(engine, about("How many circles has the box in row 7?"))
    for question in ("Which row is the last?", "And the first?"):
        usage = ask(engine, about(question))[1].usage
        assert usage.restored_tokens == 0 and usage.cached_tokens > LEAST_TOKENS
    ask(engine, about("What is it?", f"Other words. {REPORT}"))
    usage = ask(engine, about("Which row is the last?"))[1].usage
    assert usage.restored_tokens == usage.cached_tokens > LEAST_TOKENS


def test_a_file_holds_the_document_and_nothing_of_the_answer(
    plan: Plan, folder: Path, start: Open
) -> None:
    engine, asked = start(plan), about("How many circles has the box in row 7?")
    ask(engine, asked)
    prompt = engine._prompter.prompt(asked)
    (file,) = kept(folder)
    with open_saved(file, engine._fingerprint, 4096) as (cells, _):
        assert cells.units == prompt.units[: prompt.documents[-1]]
        assert cells.checkpoints == [] and cells.seconds > 0
    assert engine._prompter.prompt(about("Ja?")).documents == prompt.documents


def test_after_an_answer_nothing_is_kept(plan: Plan, folder: Path, start: Open) -> None:
    before = (Message("user", "Hello."), Message("model", "Good day."))
    ask(start(plan), about("Which row is the last?", REPORT, *before))
    assert kept(folder) == []


def test_a_warmed_document_is_kept_to_its_end(plan: Plan, folder: Path, start: Open) -> None:
    """As extraction does it: the pages are read by themselves, then the questions."""
    beginning = Request(messages=(Message("user", REPORT, documents=(len(REPORT),)),))
    list(start(plan).warm(beginning))
    engine = start(plan)
    *told, finished = list(engine.warm(beginning))
    assert isinstance(finished, Finished) and told == []
    assert finished.usage.evaluated_tokens == 0
    assert finished.usage.restored_tokens == finished.usage.prompt_tokens
    usage = ask(engine, Request(messages=(Message("user", f"{REPORT}\nWell?"),), max_tokens=3))[1]
    assert usage.usage.cached_tokens >= finished.usage.prompt_tokens - 1


def test_pictures_are_kept_however_small(plan: Plan, folder: Path, start: Open) -> None:
    def seen(question: str, *colors: str) -> Request:
        message = Message("user", question, tuple(map(picture, colors)))
        return Request(messages=(message,), sampling=GREEDY, max_tokens=8)

    ask(start(plan), seen("What color?", "red"))
    ask(start(plan), seen("What color?", "red", "blue"))
    assert len(kept(folder)) == 2
    said, finished, _ = ask(start(plan), seen("What is it?", "red", "green"))
    assert finished.usage.restored_tokens > 50  # the first one, of two
    assert said == ask(start(replace(plan, remember=None)), seen("What is it?", "red", "green"))[0]


def test_a_few_words_are_not_kept(plan: Plan, folder: Path, start: Open) -> None:
    ask(start(plan), about("Which row is the last?", REPORT[:400]))
    assert kept(folder) == []


@pytest.mark.parametrize("without", [{"remember": None}, {"remember_bytes": 0}])
def test_nothing_is_written_where_nobody_agreed(
    plan: Plan, folder: Path, start: Open, without: dict[str, None]
) -> None:
    ask(start(replace(plan, **without)), about("Which row is the last?"))  # type: ignore[arg-type]
    assert kept(folder) == []


def test_what_is_there_serves_also_where_none_is_added(plan: Plan, start: Open) -> None:
    ask(start(plan), about("Which row is the last?"))
    usage = ask(start(replace(plan, remember_bytes=0)), about("And the first?"))[1].usage
    assert usage.restored_tokens > LEAST_TOKENS


def test_another_model_adapter_or_llama_cpp_reads_it_itself(  # noqa: PLR0917
    plan: Plan, folder: Path, start: Open, make_lora: MakeLora, monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:  # fmt: skip
    asked = about("Which row is the last?")
    ask(start(plan), asked)
    copy = tmp_path / "copy.gguf"
    copy.write_bytes(DEMO.read_bytes())
    others = (
        replace(plan, model=copy),
        replace(plan, adapters=(Adapter(make_lora(), 0.5),)),
        replace(plan, kv_type="q8_0"),
    )
    for number, other in enumerate(others, 2):
        assert ask(start(other), asked)[1].usage.restored_tokens == 0
        assert len(kept(folder)) == number
    monkeypatch.setattr("gemma_edge.engine.engine.VERSION", "0.0.1")
    assert ask(start(plan), asked)[1].usage.restored_tokens == 0
    assert len(kept(folder)) == 5


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[: len(data) // 2],
        lambda data: data[:-5000] + bytes(100) + data[-4900:],
        lambda data: b"",
    ],
)
def test_a_damaged_file_is_deleted_and_read_again(
    plan: Plan, folder: Path, start: Open, damage: Callable[[bytes], bytes]
) -> None:
    asked = about("Which row is the last?")
    said, _, _ = ask(start(plan), asked)
    (file,) = kept(folder)
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    again, finished, told = ask(start(plan), asked)
    assert again == said and finished.usage.restored_tokens == 0
    lines = [line for line in told if "read again" in line]
    assert len(lines) == 1 and ("damaged" in lines[0] or "cannot be read" in lines[0])
    assert file.stat().st_size > len(whole) // 2 + 100  # it is kept again
    assert ask(start(plan), asked)[1].usage.restored_tokens > LEAST_TOKENS


def test_a_file_of_another_document_under_this_name_is_not_believed(
    plan: Plan, folder: Path, start: Open
) -> None:
    engine = start(plan)
    ask(engine, about("Which row is the last?"))
    (first,) = kept(folder)
    ask(engine, about("Which row is the last?", f"Other words. {REPORT}"))
    (second,) = [file for file in kept(folder) if file != first]
    os.replace(second, first)
    said, finished, told = ask(start(plan), about("Which row is the last?"))
    assert finished.usage.cached_tokens == 0 and any("another document" in line for line in told)
    assert said == ask(start(plan), about("Which row is the last?"))[0]


def test_all_files_stay_within_the_cap(plan: Plan, folder: Path, start: Open) -> None:
    def words(number: int) -> Request:
        return about("Which row is the last?", f"Report {number}.\n{REPORT}")

    engine = start(plan)
    ask(engine, words(0))
    (file,) = kept(folder)
    size = file.stat().st_size
    capped = start(replace(plan, remember_bytes=int(2.5 * size)))
    ask(capped, words(1))
    os.utime(file)  # the first one was used last
    for number in (2, 3):
        files = {path: path.stat().st_mtime_ns for path in kept(folder)}
        ask(capped, words(number))
        assert len(kept(folder)) == 2
        assert min(files, key=lambda path: files[path]) not in kept(folder) or len(files) < 2
    before = kept(folder)
    told = ask(start(replace(plan, remember_bytes=size // 2)), words(4))[2]
    assert kept(folder) == before
    assert len(told) == 1 and "more than the" in told[0]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no modes")
def test_it_is_for_its_owner_alone(plan: Plan, folder: Path, start: Open) -> None:
    asked = about("Which row is the last?")
    ask(start(plan), asked)
    (file,) = kept(folder)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    file.chmod(0o666)  # anybody may have written what llama.cpp is to believe
    _, finished, told = ask(start(plan), asked)
    assert finished.usage.restored_tokens == 0
    assert any("not yours alone" in line for line in told)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_folder_that_cannot_be_used_costs_time_and_a_line(plan: Plan, start: Open) -> None:
    assert plan.remember is not None
    plan.remember.write_text("a file")
    said, finished, told = ask(start(plan), about("Which row is the last?"))
    assert finished.reason in ("end", "length") and said
    assert len(told) == 1 and "not remembered" in told[0]


def test_two_processes_at_once(plan: Plan, folder: Path) -> None:
    """Both read, both keep, a third takes; nothing half-written is left."""
    asked = about("Which row is the last?")
    engines = [load(plan), load(plan)]
    said: list[str] = []
    try:
        threads = [
            threading.Thread(target=lambda each=each: said.append(ask(each, asked)[0]))  # type: ignore[misc]
            for each in engines
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        third = load(plan)
        engines.append(third)
        again, finished, _ = ask(third, asked)
    finally:
        for engine in engines:
            engine.close()
    assert said == [again, again] and finished.usage.restored_tokens > LEAST_TOKENS
    assert [file.suffix for file in kept(folder)] == [".kv"]


def test_of_several_answers_at_once_each_takes_its_own(
    plan: Plan, folder: Path, start: Open
) -> None:
    """In one context: what one has taken from the disk the others share, or take themselves."""
    texts = (REPORT, f"Other words. {REPORT}")
    for text in texts:
        ask(start(plan), about("Which row is the last?", text))
    files = kept(folder)
    several = replace(plan, sequences=3, context_tokens=8192)
    requests = [about(question, text) for question in ("And the first?", "Ja?") for text in texts]
    alone = [ask(start(plan), each)[0] for each in requests]
    engine = start(several)
    assert [ask(engine, each)[0] for each in requests] == alone
    engine = start(several)
    with ThreadPoolExecutor(4) as threads:  # batches of other shapes: words may differ
        found = list(threads.map(lambda each: ask(engine, each), requests))
    assert all(finished.usage.evaluated_tokens < 60 for _, finished, _ in found)
    assert sum(finished.usage.restored_tokens > LEAST_TOKENS for _, finished, _ in found) >= 2
    assert kept(folder) == files


def test_where_others_have_the_cells_it_is_read_and_stays(
    plan: Plan, folder: Path, start: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = about("Which row is the last?")
    said, _, _ = ask(start(plan), asked)
    crowded = start(replace(plan, sequences=2))
    monkeypatch.setattr(crowded._context, "put_state", lambda *_, **__: False)
    again, finished, told = ask(crowded, asked)
    assert (again, finished.usage.restored_tokens, told) == (said, 0, [])
    assert len(kept(folder)) == 1


def test_a_token_may_cross_the_end_of_a_document(plan: Plan, start: Open) -> None:
    prompter = start(plan)._prompter

    def ends(question: str) -> tuple[int, ...]:
        text = f"{REPORT}\n\nRow 90: the box has 5 circ"
        message = Message("user", text + question, documents=(len(text),))
        return prompter.prompt(Request(messages=(message,))).documents

    assert len(ends("les.")) == 1
    assert ends("les.") == ends("us tents?") == ends("\n\nWell?")


def test_an_answer_ends_when_its_document_is_whole_on_the_disk(
    plan: Plan, folder: Path, start: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process may be ended right behind it."""
    finish = CacheWriter.finish

    def slowly(part: CacheWriter, *, durable: bool = True) -> int:
        time.sleep(1.0)
        return finish(part, durable=durable)

    monkeypatch.setattr(CacheWriter, "finish", slowly)
    ask(start(plan), replace(about("Which row is the last?"), max_tokens=1))
    assert [file.suffix for file in kept(folder)] == [".kv"]


def test_another_process_was_faster_and_has_the_file_open(
    plan: Plan, folder: Path, start: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows lets nobody put another file in its place: nobody need."""
    asked = about("Which row is the last?")
    finish = CacheWriter.finish

    def refused(part: CacheWriter, *, durable: bool = True) -> int:
        finish(part, durable=durable)
        raise EngineError("access denied")

    monkeypatch.setattr(CacheWriter, "finish", refused)
    assert ask(start(plan), asked)[2] == []
    assert ask(start(plan), asked)[1].usage.restored_tokens > LEAST_TOKENS


def test_a_full_disk_costs_time_and_a_line(
    plan: Plan, folder: Path, start: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = shutil.disk_usage(folder.parent)._replace(free=1 << 20)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: full)
    told = ask(start(plan), about("Which row is the last?"))[2]
    assert len(told) == 1 and "not remembered" in told[0] and kept(folder) == []
