"""``python -m gemma_edge`` is ``gemma-edge``."""

from gemma_edge.cli.main import run

if __name__ == "__main__":
    run()
