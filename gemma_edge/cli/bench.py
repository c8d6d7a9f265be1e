"""``gemma-edge bench``: how fast models are on this machine, side by side, and which to choose."""

import io
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, get_args

from gemma_edge.app.bench import (
    NORMAL,
    QUICK,
    Bench,
    Figure,
    FigureName,
    ModelBench,
    bench,
    on_this_machine,
)
from gemma_edge.app.request import AUTO, ModelRequest
from gemma_edge.app.runtime import Runtime
from gemma_edge.cli.completion import model_names
from gemma_edge.cli.context import Context
from gemma_edge.cli.flags import argument, build, option
from gemma_edge.cli.options import FetchFlags, ModelFlags, ShowFlags
from gemma_edge.cli.output import Output
from gemma_edge.cli.plot import Bar, Plot, as_sections, render_lines, render_png, render_svg
from gemma_edge.cli.streaming import open_runtime
from gemma_edge.disk import write_atomically
from gemma_edge.errors import DoesNotFit, ExitStatus, InputError, ModelError, UsageError
from gemma_edge.hardware.machine import Hardware
from gemma_edge.planning.plan import RAM, placement_items
from gemma_edge.planning.render import render_accounts, render_speed, short_tokens
from gemma_edge.records import dataclass
from gemma_edge.units import GIB, render_bytes
from gemma_edge.version import __version__

PLOTS = (".svg", ".png")


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchFlags:
    """What is measured, and how it is shown."""

    names: Annotated[
        tuple[str, ...],
        argument("MODEL", "Models; without one, the best that is here.", complete=model_names),
    ] = ()
    every: Annotated[
        bool, option("--all", help="Every Gemma 4 that is on this machine, one after another.")
    ] = False
    quick: Annotated[
        bool, option("--quick", help="Two short rounds, half a minute a model, instead of five.")
    ] = False
    plot: Annotated[
        Path | None,
        option("--plot", metavar="FILE", help="Draw the figures into FILE.svg or .png."),
    ] = None
    markdown: Annotated[
        bool, option("--markdown", help="Print Markdown, to share: no path and no name is in it.")
    ] = False
    model: ModelFlags
    store: FetchFlags
    show: ShowFlags


def command(asked: BenchFlags, context: Context, output: Output) -> ExitStatus:
    """Measure how fast models are on this machine, and say which to choose.

    Each model is loaded, measured and closed in turn: how fast it reads a prompt and writes an
    answer, with an empty and with a filled context, copying a text, and JSON by a schema; how long
    the first word and the first picture take; and what it takes of memory. What is here is
    measured; --yes fetches the rest. The next `gemma-edge plan` counts with the speeds. Ctrl-C
    ends it with what was measured.

    \b
    gemma-edge bench
    gemma-edge bench 12b 26b --quick
    gemma-edge bench 26b --cpu-experts 12
    gemma-edge bench --all --plot speed.svg
    gemma-edge bench --all --markdown > speed.md
    """
    _check(asked)
    runtime = replace(open_runtime(asked.store, context, output), confirm=None, remember=False)
    names, length = _names(asked, runtime), QUICK if asked.quick else NORMAL
    result = bench(names, build(ModelRequest, asked.model), length, runtime, output.draw)
    output.end_line()
    if asked.show.json:
        output.document(as_document(result))
    elif asked.markdown:
        output.data("\n".join(render_markdown(result)))
    else:
        _show(result, context, output)
    _show_problems(result, output)
    if any(each.kept for each in result.models):
        output.note("gemma-edge plan counts with these speeds from now on")
    if asked.plot is not None:
        _write_plot(asked.plot, result, output)
    return result.status


def _names(asked: BenchFlags, runtime: Runtime) -> tuple[str, ...]:
    """Raises ModelError: --all, and there is none."""
    if not asked.every:
        return asked.names or (asked.model.model,)
    names = on_this_machine(runtime)
    if not names:
        raise ModelError("no Gemma 4 is on this machine", hint="gemma-edge pull e4b")
    return names


def _show_problems(result: Bench, output: Output) -> None:
    for row in result.models:
        name = row.title or row.name
        if row.problem:
            output.problem(f"{name}: {row.problem}")
        if row.hint:
            output.note(f"  {row.hint}")


def _check(asked: BenchFlags) -> None:
    """What cannot be carried out is told before anything is measured."""
    if asked.model.model != AUTO and asked.names:
        raise UsageError("models are there twice", hint="MODEL... or --model NAME, not both")
    if asked.every and (asked.names or asked.model.model != AUTO):
        raise UsageError("--all and a model do not go together", hint="one of them")
    if asked.show.json and asked.markdown:
        raise UsageError("--json and --markdown do not go together", hint="one of them")
    plot = asked.plot
    if plot is None:
        return
    if plot.suffix.lower() not in PLOTS:
        raise UsageError(
            f"--plot draws no `{plot.suffix or plot.name}`", hint="FILE.svg or FILE.png"
        )
    if plot.is_dir() or not plot.absolute().parent.is_dir():
        what = "is a folder" if plot.is_dir() else "is in a folder that is not there"
        raise InputError(f"{plot} {what}", hint="--plot FILE.svg")


def _write_plot(path: Path, result: Bench, output: Output) -> None:
    """Raises DoesNotFit: the disk does not take it."""
    plot = as_plot(result)
    try:
        is_svg = path.suffix.lower() == ".svg"
        write_atomically(path, render_svg(plot) if is_svg else render_png(plot))
    except OSError as error:
        raise DoesNotFit(
            f"{path} cannot be written: {error.strerror or error}", hint="--plot FILE elsewhere"
        ) from error
    output.note(f"drawn into {path}")


# ----------------------------------------------------------------------------
# One model's figures in words.

_WHOLE, _TENS = 100, 10


def render_rate(rate: float) -> str:
    """``2,140``, ``61.2``, ``3.05``."""
    return f"{rate:,.{0 if rate >= _WHOLE else 1 if rate >= _TENS else 2}f}"


def render_time(seconds: float) -> str:
    """``12 s``, ``2.5 s``, ``0.24 s``, ``45 ms``, ``0.03 ms``."""
    if seconds >= _TENS:
        return f"{seconds:,.0f} s"
    if seconds >= 0.1:  # noqa: PLR2004
        return f"{seconds:.{1 if seconds >= 1 else 2}f} s"
    return f"{1000 * seconds:.{0 if seconds >= 0.01 else 2}f} ms"  # noqa: PLR2004


def _spread(figure: Figure) -> str:
    """`` ±3 %``: how far the rounds were off, to both sides."""
    if len(figure.rounds) < 2:  # noqa: PLR2004
        return ""
    return f" ±{50 * (figure.high - figure.low) / figure.median:.0f} %"


LABELS: dict[FigureName, str] = {
    "read_tokens_per_second": "reads",
    "write_tokens_per_second": "writes",
    "filled_tokens_per_second": "writes, context filled",
    "guessed_tokens_per_second": "writes with drafter",
    "copy_tokens_per_second": "writes a copy",
    "json_tokens_per_second": "writes JSON",
    "mask_seconds_per_token": "mask of a schema",
    "first_token_seconds": "first word",
    "first_image_seconds": "first picture",
    "load_seconds": "loads in",
}


def render_cells(row: ModelBench) -> dict[str, str]:
    """By its label what is said of a model, in the order of the page."""
    cells = {}
    if row.plan is not None:
        cells["placed"] = f"{row.place}, {short_tokens(row.plan.context_tokens)} context"
    for name, label in LABELS.items():
        if (figure := row.figures.get(name)) is None:
            continue
        is_rate = name.endswith("tokens_per_second")
        said = f"{render_rate(figure.median)} tok/s" if is_rate else render_time(figure.median)
        said += " a token" if name == "mask_seconds_per_token" else ""
        cells[label] = said + _spread(figure) + _remark(name, row)
    if row.expected is not None and row.speed:
        before = "measured before" if row.expected.measured else "estimated"
        cells["plan said"] = f"{render_speed(row.expected)}, {before}"
    if memory := render_memory(row):
        cells["memory"] = memory
    return cells


def _remark(name: FigureName, row: ModelBench) -> str:
    if name == "filled_tokens_per_second":
        return f", after {row.read_tokens:,}"
    shares = {"copy_tokens_per_second": row.copied, "guessed_tokens_per_second": row.guessed}
    return f", {100 * shares[name]:.0f} % drafted" if name in shares else ""


_SAME = 0.001  # of what was planned; llama.cpp rounds what it reports


def render_memory(row: ModelBench) -> str:
    """``5.9 of 7.6 GiB, as planned``: of the devices that are used, else of main memory."""
    if row.plan is None or row.plan.ledger is None or not row.memory:
        return ""
    accounts = row.plan.ledger.accounts
    used = [each for each in accounts if each.place != RAM] or list(accounts)
    planned = sum(each.planned_bytes for each in row.memory)
    real = sum(each.allocated_bytes for each in row.memory)
    off = (real - planned) / planned if planned else 0.0
    said = render_accounts(used)
    more = "more" if off > 0 else "less"
    said += ", as planned" if abs(off) <= _SAME else f", {100 * abs(off):.1f} % {more} than planned"
    taken = sum(each.device_bytes or 0 for each in row.memory)
    return f"{said}; the driver counts {render_bytes(taken)}" if taken > 0 else said


# ----------------------------------------------------------------------------
# The page: the machine, a table with a column a model, bars, remarks and the advice.

_LEAST_COLUMN = 17  # a narrower column of the table is hard to read


def _show(result: Bench, context: Context, output: Output) -> None:
    width = context.size().columns if context.size else context.width
    output.table([(line,) for line in machine_lines(result.hardware)])
    measured = [row for row in result.models if row.figures]
    if measured:
        output.page("")
        for table in _tables(measured, width):
            output.page(table)
            output.page("")
        output.page("\n".join(render_lines(as_plot(result), width)))
    remarks = [remark for row in result.models for remark in row.remarks]
    sentences = [*remarks, *_weather(result), *filter(None, [result.advice])]
    if measured and sentences:
        output.page("")
    for sentence in sentences:
        output.table([(sentence,)])


def _weather(result: Bench) -> Iterator[str]:
    """What the numbers have to be read with."""
    rounds = max((len(each.rounds) for row in result.models for each in row.figures.values()),
                 default=0)  # fmt: skip
    if rounds > 1:
        yield f"medians of {rounds} rounds; ± is how far they were apart"
    if result.busy_programs:
        many = result.busy_programs
        programs = "1 other program" if many == 1 else f"{many} other programs"
        yield f"{programs} wanted a core when it began: the machine can do more"


def _tables(rows: Sequence[ModelBench], width: int) -> Iterator[str]:
    """One table with a column a model, or as many below each other as need be."""
    labels = 2 + max(map(len, LABELS.values()))
    many = max(1, (width - labels) // (_LEAST_COLUMN + 2))
    for start in range(0, len(rows), many):
        yield _render_table(rows[start : start + many], width)


def _render_table(rows: Sequence[ModelBench], width: int) -> str:
    from rich.console import Console  # noqa: PLC0415  (0.1 s, only here)
    from rich.table import Table  # noqa: PLC0415

    cells = [render_cells(row) for row in rows]
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_edge=False)
    table.add_column("", no_wrap=True)
    for row in rows:
        table.add_column(row.title, overflow="fold")
    for label in dict.fromkeys(label for each in cells for label in each):
        table.add_row(f"  {label}", *(each.get(label, "–") for each in cells))
    stream = io.StringIO()
    console = Console(
        file=stream, width=max(width - 1, _LEAST_COLUMN), color_system=None, highlight=False,
        markup=False, emoji=False, legacy_windows=False,
    )  # fmt: skip
    console.print(table)
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines())


def as_plot(result: Bench) -> Plot:
    """The figures as bars, a series a model."""
    rows = [row for row in result.models if row.figures]
    names = tuple(row.title for row in rows)
    writes: tuple[FigureName, ...] = (
        "write_tokens_per_second", "filled_tokens_per_second", "guessed_tokens_per_second",
        "copy_tokens_per_second", "json_tokens_per_second",
    )  # fmt: skip
    waits: tuple[FigureName, ...] = ("first_token_seconds", "first_image_seconds")
    return Plot(
        title=f"gemma-edge bench: {names[0]}" if len(names) == 1 else "gemma-edge bench",
        lines=machine_lines(result.hardware),
        series=names,
        sections=as_sections([
            ("tokens a second, reading", _bars(rows, ("read_tokens_per_second",))),
            ("tokens a second, writing", _bars(rows, writes)),
            ("seconds to the first word; less is better", _bars(rows, waits)),
        ]),
        foot=result.advice,
    )  # fmt: skip


_SHORT_LABELS = {
    "guessed_tokens_per_second": "with drafter",
    "filled_tokens_per_second": "context filled", "copy_tokens_per_second": "a copy",
    "json_tokens_per_second": "JSON", "first_image_seconds": "after a picture",
    "first_token_seconds": "after a question",
}  # fmt: skip


def _bars(rows: Sequence[ModelBench], names: Sequence[FigureName]) -> list[Bar]:
    return [
        Bar(
            label=_SHORT_LABELS.get(name, LABELS[name]), series=index, value=figure.median,
            low=figure.low, high=figure.high,
            said=render_time(figure.median) if name.endswith("seconds")
            else render_rate(figure.median),
        )
        for name in names
        for index, row in enumerate(rows)
        if (figure := row.figures.get(name))
    ]  # fmt: skip


# ----------------------------------------------------------------------------
# To share: no path, no name of a person or a computer is in what follows.


def machine_lines(hardware: Hardware) -> tuple[str, ...]:
    """The program with its build, and the machine."""
    build, cpu = hardware.build, hardware.cpu
    lines = [f"gemma-edge {__version__}, llama.cpp {build.version} ({', '.join(build.backends)})"]
    for device in hardware.devices:
        parts = [_plain(device.title), f"{device.total_bytes / GIB:.1f} GiB"]
        parts += [f"driver {device.driver}"] if device.driver else []
        lines.append(", ".join(parts if device.usable else [*parts, "not used"]))
    cores = f"{cpu.cores} core{'' if cpu.cores == 1 else 's'}"
    total = hardware.memory.total_bytes
    memory = f"{total / GIB:.1f} GiB of main memory" if total else ""
    lines.append(", ".join(filter(None, [cpu.name or "CPU", cores, memory, hardware.system])))
    return tuple(lines)


def _plain(title: str) -> str:
    """A device on another machine is named with the address of that machine."""
    return title.partition("[")[0].rstrip()


def _shared(row: ModelBench) -> tuple[str, str]:
    """Why it was not measured, and the way out, where neither can name a folder."""
    texts = [text if not re.search(r"[/\\~]", text) else "" for text in (row.problem, row.hint)]
    return texts[0] or row.status.meaning, texts[1]


_COLUMNS = (
    "placed", "reads", "writes", "writes, context filled", "writes with drafter", "writes a copy",
    "writes JSON", "first word", "first picture", "memory",
)  # fmt: skip


def render_markdown(result: Bench) -> list[str]:
    """A table with a row a model, what it was measured on, and the advice."""
    lines = ["  \n".join(machine_lines(result.hardware)), ""]
    cells = [render_cells(row) if row.figures else {"placed": _shared(row)[0]}
             for row in result.models]  # fmt: skip
    columns = [each for each in _COLUMNS if any(each in found for found in cells)]
    lines += [_markdown_row(["model", *columns]), _markdown_row(["-"] * (len(columns) + 1))]
    lines += [
        _markdown_row([row.title or row.name, *(found.get(each, "") for each in columns)])
        for row, found in zip(result.models, cells, strict=True)
    ]
    remarks = [remark for row in result.models for remark in row.remarks if _is_safe(remark)]
    sentences = [*remarks, *_weather(result), *filter(None, [result.advice])]
    return [*lines, "", *("\n\n".join(sentences).split("\n") if sentences else [])]


def _is_safe(text: str) -> bool:
    return not re.search(r"(^|[\s`'\"(])(~|[A-Za-z]:)?[/\\]", text)


def _markdown_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def as_document(result: Bench) -> dict[str, Any]:
    """All figures in tokens, bytes and seconds, under names that stay."""
    hardware = result.hardware
    return {
        "gemma_edge": __version__,
        "python": ".".join(map(str, sys.version_info[:3])),
        "build": {
            "llama_cpp_python": hardware.build.version,
            "backends": list(hardware.build.backends),
            "instructions": list(hardware.build.instructions),
        },
        "machine": {
            "system": hardware.system,
            "cpu": hardware.cpu.name,
            "cores": hardware.cpu.cores,
            "memory_bytes": hardware.memory.total_bytes,
            "devices": [
                {
                    "name": each.name, "title": _plain(each.title), "backend": each.backend,
                    "driver": each.driver, "total_bytes": each.total_bytes, "usable": each.usable,
                }
                for each in hardware.devices
            ],
        },
        "length": result.length.name,
        "busy_programs": result.busy_programs,
        "models": [_model_document(row) for row in result.models],
        "advice": result.advice,
    }  # fmt: skip


def _model_document(row: ModelBench) -> dict[str, Any]:
    problem, hint = _shared(row) if row.problem else ("", "")
    expected = row.expected
    return {
        "model": row.name,
        "title": row.title or row.name,
        "problem": problem,
        "hint": hint,
        "weights": row.candidate.weights if row.candidate else "",
        "weights_bytes": row.candidate.header.file_bytes if row.candidate else None,
        "plan": _plan_document(row),
        "expected": {"tokens_per_second": expected.tokens_per_second, "measured": expected.measured}
        if expected
        else None,
        "figures": {
            name: {
                "median": _digits(figure.median), "low": _digits(figure.low),
                "high": _digits(figure.high), "rounds": [_digits(each) for each in figure.rounds],
            }
            for name in get_args(FigureName)
            if (figure := row.figures.get(name))
        },
        "read_tokens": row.read_tokens,
        "copied_share": row.copied,
        "guessed_share": row.guessed,
        "words_per_token": row.words_per_token,
        "memory": [
            {
                "place": each.place, "planned_bytes": each.planned_bytes,
                "allocated_bytes": each.allocated_bytes, "device_bytes": each.device_bytes,
                "total_bytes": each.total_bytes, "budget_bytes": each.budget_bytes,
            }
            for each in row.memory
        ],
        "kept": row.kept,
        "remarks": [each for each in row.remarks if _is_safe(each)],
    }  # fmt: skip


def _digits(value: float) -> float:
    """More of them were not measured."""
    return float(f"{value:.6g}")


def _plan_document(row: ModelBench) -> dict[str, Any] | None:
    if row.plan is None:
        return None
    placement = dict(placement_items(row.plan))
    del placement["variables"]  # they can name folders
    return {
        "placed": row.place,
        **placement,
        "threads": row.plan.threads,
        "prefill_threads": row.plan.prefill_threads,
        "draft": row.plan.draft,
        "drafter": row.plan.drafter is not None,
    }
