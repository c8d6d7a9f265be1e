"""How often evidence is found, and how often its box is the right one.

    boxes_right     of the values of held-out synthetic PDFs, those whose box stands where the value
                    was drawn, values that are printed several times included
    evidence_share  of people's gold answers for real documents, those that the text holds, by the
                    status of their evidence (needs --documents)

The values are the right ones, so that only their place is measured. Run it through
``scripts/bench.py evidence``.
"""

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

SCRIPTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(SCRIPTS))

from demo_model import places  # noqa: E402
from measure import note  # noqa: E402

from gemma_edge.documents.open import open_document  # noqa: E402
from gemma_edge.extraction.evidence.choose import field_hints  # noqa: E402
from gemma_edge.extraction.evidence.evidence import Evidence, ground  # noqa: E402

SEED = 2027  # not the trainer's own
GOAL = 0.99
OVERLAP = 0.7  # of the smaller box, and of the larger one's width, that are shared
SHOWN = 8  # wrong places printed
DOCUMENTS = SCRIPTS.parents[1] / "shared" / "data" / "documents"

KINDS: dict[str, Callable[[Random], places.Placed]] = {
    "business": lambda rng: places.business(rng, rng.choice((0, 1, 2))),
    "invoice": places.invoice,
    "statement": places.statement,
    "blocks": places.blocks,
}

Rectangle = tuple[float, float, float, float]


def measure_boxes(count: int, folder: Path) -> dict[str, Any]:
    """Boxes of ``count`` documents of each kind."""
    rng = Random(f"held out/evidence/{SEED}")
    right: Counter[str] = Counter()
    asked: Counter[str] = Counter()
    for number in range(count):
        for kind, draw in KINDS.items():
            drawn = draw(rng)
            path = folder / f"{kind}-{number}.pdf"
            drawn.write(path)
            for each in ground(open_document(path), drawn.data):
                asked[kind] += 1
                right[kind] += is_right(drawn, each)
                wrong = sum(asked.values()) - sum(right.values())
                if not is_right(drawn, each) and wrong <= SHOWN:
                    said = f"{each.text!r} at {each.boxes}" if each.found else "not found"
                    note(f"  wrong: {path.name} {each.path} {each.value!r}: {said}")
    return {
        "share": round(sum(right.values()) / sum(asked.values()), 4),
        "right": sum(right.values()),
        "asked": sum(asked.values()),
        "by_kind": {kind: round(right[kind] / asked[kind], 4) for kind in asked},
    }


def is_right(drawn: places.Placed, evidence: Evidence) -> bool:
    """Whether the box is one of the spots where this value was drawn."""
    return any(
        evidence.page == spot.page + 1 and _covers(box, drawn.box(spot))
        for spot in drawn.spots[evidence.path]
        for box in evidence.boxes[:1]
    )


def _covers(box: Rectangle, true: Rectangle) -> bool:
    """The middle of the box is in the true one, and both are about equally wide."""
    middle = (box[1] + box[3]) / 2
    shared = min(box[2], true[2]) - max(box[0], true[0])
    widest = max(box[2] - box[0], true[2] - true[0])
    return true[1] <= middle <= true[3] and shared >= OVERLAP * widest


def measure_share(folder: Path) -> dict[str, Any]:
    """Statuses of the gold answers in ``folder/*/``."""
    statuses: Counter[str] = Counter()
    by_document: dict[str, Any] = {}
    for path in sorted(folder.glob("*/*.pdf")):
        gold = json.loads(path.with_suffix(".gold.json").read_text(encoding="utf-8"))
        schema = json.loads((path.parent / "schema.json").read_text(encoding="utf-8"))
        document = open_document(path)
        begun = time.perf_counter()
        found = ground(document, gold, hints=field_hints(schema.get("schema_definition", schema)))
        seconds = time.perf_counter() - begun
        own = Counter(each.status for each in found)
        statuses += own
        by_document[path.parent.name] = {
            "share": round(1 - own["not_found"] / len(found), 3),
            "leaves": len(found),
            **dict(own),
            "pages": len(document.pages),
            "seconds": round(seconds, 3),
        }
    total = sum(statuses.values())
    return {
        "share": round(1 - statuses["not_found"] / total, 4) if total else None,
        "by_status": dict(statuses),
        "by_document": by_document,
    }


def main() -> int:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--count", type=int, default=200, help="documents of each kind")
    parser.add_argument("--documents", type=Path, default=DOCUMENTS, help="folders with gold files")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        boxes = measure_boxes(options.count, Path(folder))
    result: dict[str, Any] = {"boxes_right": boxes}
    reached = "reached" if boxes["share"] >= GOAL else "missed"
    note(f"boxes_right {boxes['share']:.4f} of {boxes['asked']}, goal {GOAL}: {reached}")
    if options.documents.is_dir():
        result["evidence_share"] = measure_share(options.documents)
        note(f"evidence_share {result['evidence_share']['share']}")
    else:
        note(f"evidence_share not measured: {options.documents} is not there")
    sys.stdout.write(json.dumps(result) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
