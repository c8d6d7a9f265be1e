"""What the program takes beside llama.cpp's buffers: libraries and a vocabulary of Gemma's size.

    python3 fit_program.py MODEL.gguf

The source of the numbers in gemma_edge/planning/memory.py. Linux only.
"""

import json
import sys
from pathlib import Path

from fit_load import resident

from gemma_edge.engine.llama import open_vocabulary


def main() -> None:
    """Print anonymous bytes: the libraries alone, and with the vocabulary and its tree."""
    steps = {"libraries": resident().get("anonymous", 0)}
    with open_vocabulary(Path(sys.argv[1])) as vocabulary:
        steps["vocabulary"] = resident().get("anonymous", 0)
        steps["tokens"] = len(vocabulary.pieces)
    sys.stdout.write(json.dumps(steps) + "\n")


if __name__ == "__main__":
    main()
