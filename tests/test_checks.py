"""``scripts/test.py``: all checks run, each is shown whole and in order, and a failure is told."""

import importlib.util
import sys
from pathlib import Path

PATH = Path(__file__).parents[1] / "scripts" / "test.py"


def test_all_run_at_once_and_are_shown_in_order(capfdbinary):
    spec = importlib.util.spec_from_file_location("checks", PATH)  # `test` is Python's own
    checks = importlib.util.module_from_spec(spec)
    sys.modules["checks"] = checks  # where its dataclass looks
    spec.loader.exec_module(checks)
    slow = "import time; print('one', flush=True); time.sleep(0.5); print('two')"
    todo = [
        checks.Check("slow", (sys.executable, "-c", slow)),
        checks.Check("quick", (sys.executable, "-c", "raise SystemExit('three')")),
        checks.Check("last", (sys.executable, "-c", "print('four')")),
    ]
    assert checks.run(todo, Path(sys.executable).parent) == 1
    out, err = capfdbinary.readouterr()
    assert out.split() == [b"one", b"two", b"three", b"four"]
    said = [line.split()[0] for line in err.decode().splitlines() if line.endswith(" s")]
    assert said == ["ok", "FAILED", "ok"]
    assert b"failed: quick\n" in err
