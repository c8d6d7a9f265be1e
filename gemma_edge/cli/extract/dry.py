"""``extract --dry-run``: what would be read, and at what cost; no weights are loaded."""

from typing import Any

from gemma_edge.cli.extract.ready import Ready
from gemma_edge.cli.output import Output
from gemma_edge.documents import Document
from gemma_edge.errors import ExitStatus
from gemma_edge.extract.job.dry_run import Estimate, estimate
from gemma_edge.extract.job.passes import Passes
from gemma_edge.extract.recipes.recipe import Recipe
from gemma_edge.extract.schemas.examining import Examination, examine
from gemma_edge.units import render_tokens

MOST_ROWS = 40  # lines of pages
_FATES = {"decoding": "enforced while decoding", "afterwards": "checked afterwards",
          "refused": "refused"}  # fmt: skip


def show_plan(
    document: Document, recipe: Recipe, ready: Ready, *, as_json: bool, output: Output
) -> ExitStatus:
    """Pages with kinds and tokens, passes, time, and what holds the schema."""
    passes = ready.passes
    assert passes is not None  # a dry run always counts
    speed = ready.prepared.plan.speed
    time = estimate(passes, speed.tokens_per_second if speed else None)
    schema = examine(recipe.asked, strict=ready.options.strict)
    if as_json:
        output.document(_as_document(document, ready, passes, time, schema))
        return ExitStatus.OK
    _show_pages(passes, output)
    output.note(ready.prepared.render())
    output.page(_render_passes(passes))
    output.page(time.render())
    output.page(_render_schema(schema))
    return ExitStatus.OK if schema.enforced else ExitStatus.INPUT


def _show_pages(passes: Passes, output: Output) -> None:
    rows = [("page", "kind", "read as", "tokens", "why")]
    for look, tokens in zip(passes.looks, _tokens(passes), strict=True):
        rows.append(
            (str(look.page.number), look.page.kind, look.how, f"{tokens:,}", look.page.reason)
        )
    more = len(rows) - MOST_ROWS - 1
    output.table(rows[: MOST_ROWS + 1])
    if more > 0:
        output.page(f"… {more:,} more pages; --json has them all")


def _tokens(passes: Passes) -> list[int]:
    """Of each page; none of one that is not read."""
    counts = iter(passes.page_tokens)
    return [next(counts) if look.how != "nothing" else 0 for look in passes.looks]


def _render_passes(passes: Passes) -> str:
    total = render_tokens(sum(passes.page_tokens))
    if passes.strategy == "whole":
        return f"{total} of pages in one pass of {passes.each[0].prompt_tokens:,}: {passes.reason}"
    lines = [f"{total} of pages in {len(passes.each)} passes: {passes.reason}"]
    for number, one in enumerate(passes.each, 1):
        first, last = one.pages[0], one.pages[-1]
        pages = f"page {first}" if first == last else f"pages {first}-{last}"
        fields = f", for {', '.join(one.part.names)}" if one.part.names else ""
        lines.append(f"  pass {number}: {pages}, {render_tokens(one.prompt_tokens)}{fields}")
    return "\n".join(lines)


def _render_schema(schema: Examination) -> str:
    """``keywords: 14 enforced while decoding, 2 checked afterwards (format, not)``."""
    parts = []
    for fate, words in _FATES.items():
        some = [each for each in schema.rulings if each.fate == fate]
        if some:
            names = "" if fate == "decoding" else f" ({', '.join(_names(some))})"
            parts.append(f"{sum(each.places for each in some):,} {words}{names}")
    said = f"keywords: {', '.join(parts) or 'none'}"
    return f"{said}\n{schema.refusal}" if schema.refusal else said


def _names(rulings: Any) -> list[str]:
    return list(dict.fromkeys(each.keyword for each in rulings))


def _as_document(
    document: Document, ready: Ready, passes: Passes, time: Estimate, schema: Examination
) -> dict[str, Any]:
    plan = ready.prepared.plan
    return {
        "document": document.name,
        "model": plan.name or plan.model.stem,
        "pages": [
            {"page": look.page.number, "kind": look.page.kind, "reason": look.page.reason,
             "read_as": look.how, "tokens": tokens}
            for look, tokens in zip(passes.looks, _tokens(passes), strict=True)
        ],
        "strategy": passes.strategy,
        "reason": passes.reason,
        "context_tokens": plan.context_tokens,
        "whole_tokens": passes.whole_tokens,
        "passes": [
            {"pages": list(one.pages), "prompt_tokens": one.prompt_tokens,
             "picture_tokens": one.picture_tokens, "fields": list(one.part.names)}
            for one in passes.each
        ],
        "read_tokens": time.read_tokens,
        "answer_tokens": time.answer_tokens,
        "seconds": time.seconds and round(time.seconds, 1),
        "keywords": {
            fate: [
                {"keyword": each.keyword, "place": each.place, "places": each.places,
                 "reason": each.reason or None}
                for each in schema.rulings
                if each.fate == fate
            ]
            for fate in _FATES
        },
        "refusal": schema.refusal or None,
    }  # fmt: skip
