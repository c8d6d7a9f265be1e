"""The public API, on the bundled model: real processes, real documents."""

import inspect
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import gemma_edge
from gemma_edge.app.runtime import Runtime, load_engine

ROOT = Path(__file__).parents[1]
INVOICE, SHAPES = ROOT / "examples" / "invoice.pdf", ROOT / "examples" / "shapes.png"
FUNCTIONS = ("describe", "extract", "library_runtime", "load", "open_document", "plan")


@pytest.fixture(scope="module")
def engine():
    with gemma_edge.load("demo") as opened:
        yield opened


class Watched:
    """A runtime for programs that counts what is expensive."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.engines = []
        self.notes: list[str] = []
        self.events: list[object] = []
        runtime = gemma_edge.library_runtime(
            offline=True, note=self.notes.append, on_event=self.events.append
        )
        self.runtime: Runtime = replace(
            runtime, load=self._load, detect=self._counted("detect", runtime.detect),
            open_measure=self._counted("open_measure", runtime.open_measure),
        )  # fmt: skip

    def _counted(self, name, call):
        def counted(*arguments):
            self.calls.append(name)
            return call(*arguments)

        return counted

    def _load(self, plan):
        self.calls.append("load")
        self.engines.append(load_engine(plan))
        return self.engines[-1]


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_document_with_a_model_that_is_open(engine):
    bill = gemma_edge.extract(INVOICE, schema="vendor, total num", engine=engine)
    assert bill.data == {"vendor": "Velmora Glassworks Ltd", "total": 270.72}
    assert (bill.problems, bill.notes) == ((), ())
    total = bill.evidence["total"]
    assert (total.page, total.text, total.status) == (1, "270.72", "exact")
    assert bill.document.page(1).text[total.start : total.end] == total.text
    assert bill.seconds > 0 and bill.info is engine.info


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"currency": {"type": "string"}}},
        '{"type": "object", "properties": {"currency": {"type": "string"}}}',
        "currency",
    ],
)
def test_a_schema_is_a_mapping_a_text_or_names(engine, schema, tmp_path):
    document = gemma_edge.open_document(str(INVOICE))
    assert gemma_edge.extract(document, schema=schema, engine=engine).data == {"currency": "EUR"}


def test_a_recipe_with_a_rule_and_a_check_that_fails(engine, tmp_path):
    recipe = tmp_path / "bill.yaml"
    recipe.write_text("schema: total num\n")
    bill = gemma_edge.extract(INVOICE, recipe=recipe, checks=["total ~= 1"], engine=engine)
    assert bill.data == {"total": 270.72}
    assert any("total" in problem for problem in bill.problems)
    assert bill.answer.checks


def test_without_a_schema_and_a_recipe_the_kind_is_recognized(engine):
    bill = gemma_edge.extract(INVOICE, engine=engine, rules=["total: in full"])
    assert (bill.recipe.name, bill.recognized.recipe) == ("invoice", bill.recipe)
    assert 0.9 < bill.recognized.probability < 1 and bill.recognized.words[0] == "INVOICE"
    assert bill.data["invoice_number"] == "VG-20418"
    assert bill.recipe.rules[-1].text == "in full"
    named = gemma_edge.extract(INVOICE, recipe="invoice", engine=engine)
    assert named.recognized is None


def test_an_image(engine):
    found = gemma_edge.describe(SHAPES, temperature=0, engine=engine)
    assert str(found) == found.data == found.text.strip() != ""
    assert found.problems == ()
    tags = gemma_edge.describe([SHAPES], kind="tags", engine=engine)
    assert isinstance(tags.data, list)
    other = gemma_edge.describe(SHAPES, "How many?", max_tokens=1, engine=engine)
    assert (other.question, len(other.problems)) == ("How many?", 1)


def test_without_an_engine_one_is_loaded_and_closed():
    """The machine is asked once, and the model planned once."""
    watched = Watched()
    bill = gemma_edge.extract(INVOICE, schema="total num", model="demo", runtime=watched.runtime)
    assert bill.data == {"total": 270.72}
    assert sorted(watched.calls) == ["detect", "load", "open_measure"]
    found = gemma_edge.describe(SHAPES, model="demo", runtime=watched.runtime)
    assert found.text
    assert watched.calls[3:] == ["open_measure", "load"]
    assert any("1 page" in note for note in watched.notes)
    assert {"Chunk", "Finished"} <= {type(event).__name__ for event in watched.events}
    if os.name == "posix":
        assert not any(is_running(each.pid) for each in watched.engines)


def test_leaving_the_block_frees_the_model():
    watched = Watched()
    with pytest.raises(KeyError), gemma_edge.load("demo", runtime=watched.runtime) as engine:
        assert engine.info.context_tokens > 0
        pid = watched.engines[0].pid
        assert pid and is_running(pid)
        raise KeyError
    if os.name == "posix":
        assert not is_running(pid)


def test_a_plan_loads_nothing():
    watched = Watched()
    plan = gemma_edge.plan("demo", context_tokens=1024, runtime=watched.runtime)
    assert (plan.name, plan.context_tokens) == ("demo", 1024)
    assert sorted(watched.calls) == ["detect", "open_measure"]


def test_pages_and_places_of_a_document():
    document = gemma_edge.open_document(INVOICE, pages="1")
    assert len(document.pages) == 1
    assert "VG-20418" in document.text


@pytest.mark.parametrize(
    ("ask", "error", "said"),
    [
        (lambda: gemma_edge.extract("no.pdf", schema="a"), gemma_edge.InputError, "no.pdf"),
        (lambda: gemma_edge.extract(INVOICE, recipe="invioce"), gemma_edge.InputError, "invioce"),
        (lambda: gemma_edge.extract(INVOICE, schema="{"), gemma_edge.SchemaError, "JSON"),
        (lambda: gemma_edge.extract(INVOICE, schema="a", pages="9"), gemma_edge.UsageError, "9"),
        (lambda: gemma_edge.extract(INVOICE, schema="a", pages="x"), gemma_edge.UsageError, "x"),
        (
            lambda: gemma_edge.extract(INVOICE, schema="a", vision="maybe"),
            gemma_edge.UsageError, "maybe",
        ),
        (lambda: gemma_edge.extract(INVOICE, schema="a", model="none"), gemma_edge.ModelError, ""),
        (lambda: gemma_edge.load(ROOT / "README.md"), gemma_edge.ModelError, "README.md"),
        (lambda: gemma_edge.load("demo", context_tokens=1 << 30), gemma_edge.DoesNotFit, ""),
        (lambda: gemma_edge.plan("e99b"), gemma_edge.ModelError, "e99b"),
        (lambda: gemma_edge.describe(INVOICE, kind="poem"), gemma_edge.UsageError, "poem"),
        (lambda: gemma_edge.describe(ROOT / "README.md", model="demo"), gemma_edge.InputError, ""),
        (lambda: gemma_edge.describe([], model="demo"), gemma_edge.UsageError, "no image"),
    ],
)  # fmt: skip
def test_errors_have_a_message_and_a_way_out(ask, error, said):
    with pytest.raises(error) as raised:
        ask()
    assert said in raised.value.message
    assert raised.value.hint
    assert isinstance(raised.value, gemma_edge.GemmaEdgeError)


def test_gigabytes_are_not_fetched_unasked(tmp_path):
    runtime = gemma_edge.library_runtime(models_dir=tmp_path)
    with pytest.raises(gemma_edge.ModelError, match="not on this machine") as raised:
        gemma_edge.load("e2b", runtime=runtime)
    assert "gemma-edge pull e2b" in raised.value.hint


def test_every_public_name_is_there_and_explained():
    assert set(gemma_edge.__all__) <= set(dir(gemma_edge))
    for name in gemma_edge.__all__:
        found = getattr(gemma_edge, name)
        assert name.startswith("__") or inspect.getdoc(found), name
    for name in FUNCTIONS:
        assert inspect.isfunction(getattr(gemma_edge, name))
    with pytest.raises(AttributeError, match="nothing"):
        gemma_edge.nothing  # noqa: B018


def test_no_module_takes_the_place_of_a_function():
    """Importing ``gemma_edge.x`` sets ``x`` in the package, whatever stood there."""
    code = (
        "import gemma_edge, importlib, inspect, pkgutil\n"
        "for each in pkgutil.walk_packages(gemma_edge.__path__, 'gemma_edge.'):\n"
        "    if not each.name.endswith('__main__'): importlib.import_module(each.name)\n"
        f"for name in {FUNCTIONS!r}: assert inspect.isfunction(getattr(gemma_edge, name)), name\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
