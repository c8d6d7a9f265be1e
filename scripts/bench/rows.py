"""What rows bring: lists whose entries are printed rows of a table, against lists of any number of
printed values. Same model, prompt and text, greedy; and what their grammar costs.

    compile_seconds  the grammar of 100 pages with 1,000 rows in them      goal 0.3
    mask_ms          the mean mask of a token of a list of 1,000 entries   goal 1
    right_share      entries that are the right row, of all rows           with rows, and without
    entries, tokens, seconds                                               with rows, and without

The costs are seconds of a processor, with Gemma 4's vocabulary where ``--vocabulary`` has it, else
with the bundled model's; also for 200 rows. The rest is given for every model, under ``models``:
invoices with 10, 40 and 120 lines that are made here, and in ``--documents`` a results table and a
page of a quarterly report. One answer each, of at most 40 tokens for each row, without rows also of
at most ``--tokens``: few of those end by themselves. Run it through ``scripts/bench.py rows``.
"""

import argparse
import json
import random
import re
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from engine import BATCH_TOKENS
from measure import cores, note

from gemma_edge.documents.document import Document, Page
from gemma_edge.documents.open import open_document
from gemma_edge.engine.constraint import GrammarConstraint
from gemma_edge.engine.engine import LlamaEngine
from gemma_edge.engine.llama import open_vocabulary
from gemma_edge.engine.protocol import JsonConstraint
from gemma_edge.errors import GemmaEdgeError
from gemma_edge.extraction import grounding, job
from gemma_edge.extraction.job import extract
from gemma_edge.extraction.pages import Options
from gemma_edge.extraction.recipe import bare_recipe
from gemma_edge.extraction.schema import make_part, parse_schema
from gemma_edge.planning.plan import Plan

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared" / "data"
VOCABULARY = SHARED / "ggml-vocab-gemma-4.gguf"
GOALS = {"compile_seconds": 0.3, "mask_ms": 1.0}
PAGES, PAGE_CHARS = 100, 3_000
SIZES = (200, 1_000)
LINES = (10, 40, 120)
CONTEXT_TOKENS = 8_192
_TOKENS_A_ROW, _TOKENS_BESIDE = 40, 100
ITEMS = "vendor, items[]: {article, quantity int, price num, amount num}"
RESULTS = "groups[]: {age_group: verbatim, results[]: {rank: verbatim, name, fed, team, time}}"
LINES_OF_REPORT = "lines[]: {label, quarter num, quarter_before num, half num, half_before num}"
_FOUR_NUMBERS = re.compile(r"^(\S.*?)\s{2,}(?:\$?\s*(\(?[\d,.]+\d\)?)\s*){4}$")
_NUMBER = re.compile(r"\(?\d[\d,]*(?:\.\d+)?\)?")
_SYLLABLES = re.findall(r"\w+", "ba ko ri sen tu lam pol ver ni dra fos mel quin tor ar")

Entry = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Task:
    """A document, what is asked of it, and the rows that a person sees in it."""

    name: str
    document: Document
    schema: str
    rows: list[Entry]


def words(rng: random.Random, count: int) -> str:
    """Made-up words."""
    return " ".join("".join(rng.choices(_SYLLABLES, k=rng.randint(2, 3))) for _ in range(count))


def invoice(count: int, seed: int = 1) -> tuple[list[str], list[Entry]]:
    """The lines of an invoice, 50 on a page, and what they say."""
    rng = random.Random(seed)
    head = "Pos   Article                           Quantity     Price      Amount"
    lines: list[str] = []
    entries: list[Entry] = []
    for at in range(count):
        if at % 50 == 0:
            lines += ["", head]
        name = words(rng, rng.randint(1, 3))
        quantity, cents = rng.randint(1, 20), rng.randint(100, 20_000)
        price, amount = cents / 100, quantity * cents / 100
        lines.append(f"{at + 1:<6}{name:<34}{quantity:>8}{price:>10,.2f}{amount:>12,.2f}")
        if at % 5 == 4:
            lines.append(f"{'':6}{words(rng, 2)}")
        entries.append({"article": name, "quantity": quantity, "price": price, "amount": amount})
    total = sum(each["amount"] for each in entries)
    lines += ["", f"{'':6}{'Total':<34}{'':8}{'':10}{total:>12,.2f}"]
    return lines, entries


def made(count: int) -> Task:
    """An invoice of so many lines."""
    lines, entries = invoice(count)
    head = "Ternova GmbH\nLindenstr. 14\n\nInvoice R-2024-0117\n"
    document = Document("invoice", (Page(1, head + "\n".join(lines)),))
    return Task(f"invoice {count}", document, ITEMS, entries)


def real(folder: Path) -> Iterator[Task]:
    """Those of the documents that are there."""
    for path in sorted(folder.glob("swimming/*.pdf")):
        gold = json.loads(path.with_suffix(".gold.json").read_text(encoding="utf-8"))
        rows = [
            {"name": each["athlete_details"]["athlete"], "team": each["athlete_details"]["team"],
             "time": each["time"]}
            for group in gold["age_groups"] for each in group["results"]
        ]  # fmt: skip
        yield Task("results table", open_document(path), RESULTS, rows)
    for path in sorted(folder.glob("10q/*.pdf")):
        document = open_document(path)
        page = next(each for each in document.pages if "TOTAL REVENUES" in each.text)
        rows = []
        for line in page.text.split("\n"):
            if found := _FOUR_NUMBERS.match(line):
                printed = _NUMBER.findall(line.removeprefix(found[1]))
                names = ("quarter", "quarter_before", "half", "half_before")
                rows.append(dict(zip(names, map(value_of, printed), strict=True)))
        one = replace(document, pages=(replace(page, number=1),))
        yield Task("quarterly report", one, LINES_OF_REPORT, rows)


def value_of(printed: str) -> float:
    """A printed number; in parentheses it is below zero."""
    value = float(printed.strip("()").replace(",", ""))
    return -value if printed.startswith("(") else value


def entries_of(data: Any) -> list[Entry]:
    """All entries of the innermost lists of objects, in their order."""
    if isinstance(data, dict):
        return [each for value in data.values() for each in entries_of(value)]
    if isinstance(data, list):
        objects = [each for each in data if isinstance(each, dict)]
        deeper = [each for value in objects for each in entries_of(value)]
        return deeper or objects
    return []


def count_right(entries: Sequence[Entry], rows: Sequence[Entry]) -> int:
    """The most rows that entries are, in their order: the values of a row, and a run of the words
    of its text."""

    def same(entry: Entry, row: Entry) -> bool:
        return all(_is(entry.get(name), value) for name, value in row.items())

    best = [0] * (len(rows) + 1)
    for entry in entries:
        before = 0
        for at, row in enumerate(rows, 1):
            here = best[at]
            best[at] = max(best[at], best[at - 1], before + same(entry, row))
            before = here
    return best[-1]


def _is(value: Any, gold: Any) -> bool:
    if isinstance(gold, str):
        return isinstance(value, str) and " ".join(value.split()).startswith(gold)
    return isinstance(value, int | float) and abs(value - gold) < 1e-6  # noqa: PLR2004


@contextmanager
def without_rows() -> Iterator[None]:
    """No list finds any row."""
    with patch.object(grounding, "choose_rows", lambda *_: []):
        yield


def read(engine: LlamaEngine, task: Task, options: Options) -> dict[str, Any]:
    """One answer."""
    recipe = bare_recipe(parse_schema(task.schema))
    start = time.perf_counter()
    try:
        with patch.object(job, "_MOST_CONTINUED", 0):  # one answer each, however it ends
            result = extract(engine, task.document, recipe, options)
    except GemmaEdgeError as error:
        note(f"  {task.name}: {error}")
        return {"right_share": 0.0, "entries": 0, "rows": len(task.rows)}
    entries = entries_of(result.data)
    note(f"  {task.name}: {json.dumps(entries[:2], ensure_ascii=False)}")
    return {
        "right_share": round(count_right(entries, task.rows) / len(task.rows), 4),
        "entries": len(entries),
        "rows": len(task.rows),
        "tokens": result.usage.generated_tokens,
        "seconds": round(time.perf_counter() - start, 2),
    }


def measure_model(path: str, tasks: Sequence[Task], options: argparse.Namespace) -> dict[str, Any]:
    """All tasks, with rows and without."""
    note(Path(path).name)
    plan = Plan(
        model=Path(path), context_tokens=CONTEXT_TOKENS, batch_tokens=BATCH_TOKENS,
        threads=options.threads,
    )  # fmt: skip
    engine = LlamaEngine(plan)
    found: dict[str, Any] = {}
    try:
        for task in tasks:
            room = _TOKENS_A_ROW * len(task.rows) + _TOKENS_BESIDE
            limits = Options(max_tokens=room, scored=False)
            found[task.name] = {"with": read(engine, task, limits)}
            with without_rows():
                limits = replace(limits, max_tokens=min(room, options.tokens))
                found[task.name]["without"] = read(engine, task, limits)
    finally:
        engine.close()
    return found


def costs(path: Path, count: int) -> dict[str, Any]:
    """Of a grammar of 100 pages with so many rows, and of a walk along its rows."""
    rng = random.Random(2)
    lines, entries = invoice(count)
    prose = [words(rng, 12) for _ in range(PAGES * PAGE_CHARS // 70)]
    document = Document("long", (Page(1, "\n".join([*lines, *prose])[: PAGES * PAGE_CHARS]),))
    decoding = make_part(parse_schema(ITEMS).source, strict=False).decoding
    start = time.process_time()
    held = grounding.find_candidates(document, decoding)
    found = time.process_time() - start
    wanted = JsonConstraint(schema=json.dumps(decoding), grounding=held)
    with open_vocabulary(path) as vocabulary:
        compiling = []
        for _ in range(3):
            start = time.process_time()
            constraint = GrammarConstraint(vocabulary, wanted)
            compiling.append(time.process_time() - start)
        answer = json.dumps({"vendor": words(random.Random(2), 3), "items": entries})
        answer = re.sub(r"\d+\.\d+", lambda number: f"{float(number[0]):.2f}", answer)
        masks = []
        for token in vocabulary.tokenizer.tokenize_str(answer):
            start = time.process_time()
            legal = constraint.allowed(token)
            masks.append(1000 * (time.process_time() - start))
            if not legal:
                raise SystemExit(f"row {len(masks)}: the printed answer is refused")
            constraint.advance(token)
    return {
        "rows": count,
        "characters": len(document.pages[0].text),
        "tokens": len(masks),
        "find_seconds": round(found, 3),
        "compile_seconds": round(min(compiling), 3),
        "mask_ms": round(statistics.mean(masks), 4),
        "mask_ms_99": round(float(np.percentile(masks, 99)), 3),
        "mask_ms_most": round(max(masks), 2),
    }


def main() -> int:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--peer-python", default="", help="not used")
    parser.add_argument("--model", default="")
    parser.add_argument("--instruct", default="")
    parser.add_argument("--vocabulary", type=Path, default=VOCABULARY)
    parser.add_argument("--documents", type=Path, default=SHARED / "documents")
    parser.add_argument("--lines", type=int, nargs="*", default=LINES, help="of the invoices")
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--tokens", type=int, default=600, help="the longest answer without rows")
    options = parser.parse_args()
    vocabulary = options.vocabulary
    if not vocabulary.is_file():
        vocabulary = next((ROOT / "models" / "demo").glob("*.gguf"))
    by_rows = [costs(vocabulary, count) for count in SIZES]
    tasks = [*map(made, options.lines), *real(options.documents)]
    paths = [path for path in (options.instruct, options.model) if path]
    result = {
        **{figure: by_rows[-1][figure] for figure in GOALS},
        "vocabulary": vocabulary.name,
        "costs": by_rows,
        "models": {Path(path).name: measure_model(path, tasks, options) for path in paths},
    }
    for figure, goal in GOALS.items():
        reached = "reached" if result[figure] <= goal else "missed"
        note(f"{figure} {result[figure]}, goal {goal}: {reached}")
    sys.stdout.write(json.dumps(result) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
