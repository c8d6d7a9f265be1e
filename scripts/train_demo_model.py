"""Train the bundled demo model and write its two GGUF files.

    python scripts/train_demo_model.py

needs gemma-edge with ``torch==2.13.0 gguf pillow`` beside it, two cores and less than two hours; a
quarter less with ``libjemalloc2`` (Debian's name). It writes ``models/demo/``, keeps its
checkpoints in ``.train/`` and goes on from there when it is started again. Then, or with
``--measure`` alone, it measures the files on held-out cases and, where the training's folder is at
hand, writes ``models/demo/README.md`` with the figures; that needs ``llama-cpp-python numpy pillow
jinja2``. ``--siblings`` makes the random-weight files in ``tests/models/`` and ``--examples`` those
in ``examples/``; both take seconds.
"""

from __future__ import annotations

import argparse
import ctypes.util
import importlib.util
import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from demo_model.network import Demo

ROOT = Path(__file__).resolve().parents[1]
MODEL, PROJECTOR = "gemma-4-demo-Q8_0.gguf", "mmproj-gemma-4-demo-F16.gguf"
STEPS = 1750
VOCABULARY = 2048


def export(model: Demo, vocab: Path, folder: Path) -> None:
    """Write both files into ``folder``."""
    from demo_model import export as files
    from demo_model.tokenizer import Tokenizer

    folder.mkdir(parents=True, exist_ok=True)
    files.write_text(model, Tokenizer.load(vocab), folder / MODEL)
    files.write_projector(model, folder / PROJECTOR)


def vocabulary(options: argparse.Namespace) -> Path:
    """The vocabulary's file, learned first where there is none."""
    from demo_model import texts, tokenizer

    options.work.mkdir(parents=True, exist_ok=True)
    path: Path = options.work / "vocab.json"
    if not path.exists():
        samples = texts.sample_texts(options.seed, 4000)
        tokenizer.train(samples, VOCABULARY, texts.prompts()).save(path)
    return path


def use_jemalloc() -> None:
    """Have processes that start from here allocate by jemalloc where it is installed: for tensors
    of ever new sizes glibc takes a quarter of a step."""
    library = ctypes.util.find_library("jemalloc")
    if library and sys.platform == "linux":
        os.environ.setdefault("LD_PRELOAD", library)
        os.environ.setdefault("MALLOC_CONF", "dirty_decay_ms:4000,muzzy_decay_ms:4000")


def train(options: argparse.Namespace) -> None:
    """Train with as many processes as asked for."""
    import torch.multiprocessing as mp
    from demo_model.feed import Sizes
    from demo_model.train import Plan, work

    vocab = vocabulary(options)
    meeting = options.work / "meeting"
    meeting.unlink(missing_ok=True)
    plan = Plan(options.steps, options.seed, Sizes(), processes=options.processes)
    save = partial(export, vocab=vocab, folder=options.out)
    where = f"file://{meeting.resolve()}"
    use_jemalloc()
    if plan.processes == 1:
        work(0, plan, options.work, where, save)
    else:
        mp.spawn(work, (plan, options.work, where, save), nprocs=plan.processes)


def measure(options: argparse.Namespace) -> int:
    """Measure the files, print the table and write the card; non-zero where tokenizers differ."""
    from demo_model import card
    from demo_model.measure import measure
    from demo_model.tokenizer import Tokenizer
    from demo_model.verify import check_tokenizer

    model, projector = options.out / MODEL, options.out / PROJECTOR
    vocab, run = options.work / "vocab.json", options.work / "run.json"
    differ = check_tokenizer(model, Tokenizer.load(vocab)) if vocab.exists() else 0
    figures = measure(model, projector, options.cases)
    for name, figure in figures.items() if options.show else ():
        for wrong in figure.wrong:
            print(f"{name}: {wrong}")
    print(card.table(figures))
    if run.exists():  # without it nobody knows how the files were made
        print(f"written: {card.write(figures, model, projector, run)}")
    return int(differ > 0)


def siblings(options: argparse.Namespace) -> None:
    """Write the random-weight files."""
    from demo_model.siblings import write_all
    from demo_model.tokenizer import Tokenizer

    write_all(Tokenizer.load(vocabulary(options)), ROOT / "tests" / "models")


def examples() -> None:
    """Write the example documents and pictures."""
    from demo_model.examples import write_all

    write_all(ROOT / "examples")


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--measure", action="store_true", help="only measure the files")
    only.add_argument("--siblings", action="store_true", help="only make tests/models/")
    only.add_argument("--examples", action="store_true", help="only make examples/")
    parser.add_argument("--work", type=Path, default=ROOT / ".train",
                        help="folder for checkpoints")  # fmt: skip
    parser.add_argument("--out", type=Path, default=ROOT / "models" / "demo",
                        help="folder for the two files")  # fmt: skip
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=2, help="training processes of one thread")
    parser.add_argument("--cases", type=int, default=150, help="held-out cases of each task")
    parser.add_argument("--show", action="store_true", help="print each wrong answer")
    return parser.parse_args()


def main() -> int:
    """Do what the command line asks for."""
    options = parse()
    if options.siblings:
        siblings(options)
    elif options.examples:
        examples()
    elif options.measure:
        return measure(options)
    else:
        train(options)
        if importlib.util.find_spec("llama_cpp"):
            return measure(options)
        print("llama-cpp-python is not installed here: run again with --measure where it is")
    return 0


if __name__ == "__main__":
    sys.exit(main())
