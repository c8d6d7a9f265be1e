"""How often the bundled model is right on held-out cases, through gemma-edge itself.

    invoice_right, receipt_right, bank-statement_right, general_right
                      values of made-up documents in four languages that are read from PDF files
                      with nothing but their name, as `gemma-edge extract FILE` does
    kinds_right       what all of these were recognized as
    documents_right   fields of invoices, bills, receipts and letters, by a schema of their names
    pictures_right    descriptions and questions, one or two pictures
    chat_right        conversations with follow-up questions, system turns, thoughts

Seeds are not those of the training, and of layouts and labels it saw a part only. Run it through
``scripts/bench.py accuracy``.
"""

import argparse
import json
import sys
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(SCRIPTS))

from demo_model.measure import measure  # noqa: E402
from measure import note  # noqa: E402

from gemma_edge import catalog  # noqa: E402

GOALS = {"kinds": 0.99, "general": 0.0, "bank-statement": 0.0}
GOAL = 0.95
SHOWN = 3  # wrong answers printed of each task


def main() -> int:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--count", type=int, default=200, help="cases of each task")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--show", type=int, default=SHOWN, help="wrong answers printed of each")
    parser.add_argument("--model", type=Path, help="another model file than the bundled one")
    parser.add_argument("--mmproj", type=Path, help="its projector")
    options = parser.parse_args()
    files = catalog.resolve("demo")
    model, projector = options.model or files.model, options.mmproj or files.projector
    assert projector is not None  # the bundled model has one
    figures = measure(model, projector, options.count, options.threads)
    for name, figure in figures.items():
        goal = GOALS.get(name, GOAL)
        reached = (
            f", goal {goal}: {'reached' if figure.share >= goal else 'missed'}" if goal else ""
        )
        note(f"{name}_right {figure.share:.3f} of {sum(figure.asked.values())}{reached}")
        for wrong in figure.wrong[: options.show]:
            note(f"  wrong: {wrong}")
    result = {f"{name}_right": figure.as_data() for name, figure in figures.items()}
    sys.stdout.write(json.dumps(result) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
