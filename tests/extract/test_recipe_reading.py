"""Recipe files: what they say, where they are, and where they are wrong."""

import json
import re
import time
from pathlib import Path

import pytest
import yaml

from gemma_edge.errors import InputError, UsageError
from gemma_edge.extraction.recipe import CounterExample, Rule
from gemma_edge.extraction.recipe_file import (
    load_recipe,
    owned,
    read_recipe,
    read_yaml,
    recipe_name,
    render_recipe,
    save_text,
    shipped,
)
from gemma_edge.extraction.values import Habits

WHOLE = """\
description: Bills
schema: |
  vendor
  date: date
  items[]: {name, qty amount}
  total: amount
rules:
  - whole lines
  - {field: total, rule: after tax}
not:
  - {field: total, text: "Balance 1,204.00", why: of before}
  - {field: vendor, like: the customer}
worked: 3 x 4 = 12
examples:
  - text: "Acme"
    expect: {vendor: Acme, date: null, items: [], total: null}
normalize: {date: dmy, decimal: ",", region: NO, currency: NOK}
compute:
  n: len(items)
check:
  - n > 0
  - {expr: total > 0, severity: warn, fields: [total], tolerance: 0.5, why: it costs}
"""


def test_a_whole_recipe():
    found = read_recipe(WHOLE, "bills", "bills.yaml")
    assert (found.name, found.description) == ("bills", "Bills")
    assert found.schema.source["required"] == ["vendor", "date", "items", "total"]
    assert found.rules == (Rule("whole lines"), Rule("after tax", "total"))
    assert found.counter_examples == (
        CounterExample("total", "Balance 1,204.00", why="of before"),
        CounterExample("vendor", like="the customer"),
    )
    assert found.worked == ("3 x 4 = 12",)
    assert found.examples[0].expect["items"] == []
    assert found.habits == Habits(date="dmy", decimal=",", region="NO", currency="NOK")
    assert [(each.name, each.line) for each in found.compute] == [("n", 19)]
    first, second = found.checks
    assert (first.severity, first.fields, first.line) == ("error", (), 21)
    assert (second.severity, second.fields, str(second.tolerance), second.why) == (
        "warn", ("total",), "0.5", "it costs",
    )  # fmt: skip


@pytest.mark.parametrize("name", ["whole", *shipped()])
def test_what_is_written_reads_as_the_same(name):
    recipe = read_recipe(WHOLE, "whole", "") if name == "whole" else load_recipe(name)
    again = read_recipe(render_recipe(recipe), recipe.name, "again.yaml")
    assert again.fingerprint == recipe.fingerprint
    assert (again.compute, again.rules, again.checks[:1]) != ((), (), ())
    assert again.render_instructions() == recipe.render_instructions()
    assert list(again.schema.source["properties"]) == list(recipe.schema.source["properties"])


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ("", "r.yaml", "is empty"),
        ("rules: [a]", "line 1", "a recipe has a `schema`"),
        ("- a", "line 1", "a recipe has keys: description, schema"),
        ("schema: a\nruls: [x]", "line 2", "has no key `ruls`; `rules`?"),
        ("schema: a\nschema: b", "line 2", "the key `schema` is there already"),
        ("schema: a\nrules: {a: b}", "line 2", "rules is a list"),
        ("schema: a\nrules:\n  - {field: a, rle: b}", "line 3", "a rule has no key `rle`; `rule`?"),
        ("schema: a\nrules:\n  - {field: a}", "line 3", "`rule` is missing"),
        ("schema: a\nrules:\n  -", "line 3", "a rule is empty"),
        ("schema: a\nrules: [[b]]", "line 2", "a rule is a text"),
        ("schema: a\nnot:\n  - a", "line 3", "a counter-example has keys: field, text, like"),
        ("schema: a\nnot:\n  - {field: a}", "line 3", "has a `text`, as printed, or says what"),
        ("schema: a\nnot:\n  - {field: a, text: 1, 2}", "line 3", "has no key `2`"),
        ("schema: a\nnormalize: {date: ymd, decimal: x}", "line 2", "`x` is none of . ,"),
        ("schema: a\nnormalize: {dates: ymd}", "line 2", "no key `dates`; `date`?"),
        ("schema: a\ncompute:\n  b: a +", "line 3", "column 4"),
        ("schema: a\ncompute:\n  b c: a", "line 3", "`b c` is no name"),
        ("schema: a\ncheck:\n  - smu(a)", "line 3", "there is no function `smu`; `sum`?"),
        ("schema: a\ncheck:\n  - {fields: [a]}", "line 3", "a check has an `expr`"),
        ("schema: a\ncheck:\n  - {expr: a > 1, severity: bad}", "line 3", "none of error, warn"),
        ("schema: a\ncheck:\n  - {expr: a > 1, tolerance: much}", "line 3", "is a number"),
        ("schema: a\nexamples:\n  - {text: a}", "line 3", "what to `expect`"),
        ("schema: a\nexamples:\n  - {text: a, file: b, expect: {}}", "line 3", "or a `file`"),
        ("schema: |\n  a\n  b nmu", "line 3, column 3", '"nmu" after "b" is not a type'),
        ("schema:\n  type: object\n  properties: 5", "line 2", "not a valid JSON Schema"),
        ("schema: {}", "line 1", "the schema says nothing"),
        ("schema: {$ref: b.json}", "line 1", "`b.json` is no file beside it"),
        ("schema: [a", "line 1, column 11", "not YAML"),
        ("schema: a\n\tb: c", "line 2, column 1", "not YAML"),
        ("schema: \x01", "r.yaml", "not YAML"),
        ("schema: !!python/name:os.system", "line 1", "is no value of a recipe"),
        ("schema: !mine {a: b}", "line 1", "!mine is no value of a recipe"),
        ("schema: a\n? [a]\n: b", "line 2", "a key is a word"),
        ("schema: &a {x: *a}", "line 1", "do its aliases (*name) multiply?"),
        ("schema: " + "[" * 3000, "r.yaml", "nested too deeply"),
        ("schema: " + "[" * 70 + "]" * 70, "line 1", "nested too deeply"),
        ("schema: " + "x" * (2 << 20), "r.yaml", "is larger than 1.0 MiB"),
    ],
)
def test_every_error_has_its_line(text, where, what):
    with pytest.raises(InputError) as caught:
        read_recipe(text, "r", "r.yaml")
    assert caught.value.message.startswith("r.yaml")
    assert where in caught.value.message
    assert what in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.hint


def test_an_alias_is_read_and_a_bomb_of_them_is_not():
    shared = "schema: a, b\nrules: [&r {field: a, rule: x}, *r]\n"
    assert len(read_recipe(shared, "r", "r.yaml").rules) == 2
    lines = ["x0: &x0 [1,1,1,1,1,1,1,1,1,1]"]
    lines += [f"x{n}: &x{n} [{','.join([f'*x{n - 1}'] * 10)}]" for n in range(1, 12)]
    started = time.perf_counter()
    with pytest.raises(InputError, match="more than 20,000 values"):
        read_recipe("\n".join(lines), "r", "r.yaml")
    assert time.perf_counter() - started < 3


@pytest.mark.parametrize("text", ["no", "2024-01-01", "12:30", "0x1f", "1_000", "yes", ".inf"])
def test_words_that_yaml_would_make_something_else_of_are_texts(text):
    said = f"schema: a\nexamples:\n  - {{text: {text}, expect: {{a: {text}}}}}"
    (example,) = read_recipe(said, "r", "r.yaml").examples
    assert (example.text, example.expect) == (text, {"a": text})


def test_what_lies_beside_it_is_read_from_there(tmp_path):
    (tmp_path / "bill.json").write_text('{"properties": {"a": {"type": "string"}}}', "utf-8")
    (tmp_path / "ex.txt").write_text("Acme", "utf-8")
    (tmp_path / "ex.json").write_text('{"a": "Acme"}', "utf-8")
    path = tmp_path / "r.yaml"
    path.write_text(
        "schema: {$ref: bill.json}\nexamples:\n  - {file: ex.txt, expect: ex.json}\n", "utf-8"
    )
    found = load_recipe(str(path))
    assert found.schema.source["properties"] == {"a": {"type": "string"}}
    assert (found.examples[0].text.strip(), found.examples[0].expect) == ("Acme", {"a": "Acme"})
    assert read_recipe(render_recipe(found), "r", "").fingerprint != ""
    (tmp_path / "ex.json").write_text("{", "utf-8")
    with pytest.raises(InputError, match=r"r.yaml, line 3: ex.json is not JSON"):
        load_recipe(str(path))
    (tmp_path / "ex.txt").unlink()
    with pytest.raises(InputError, match=r"r.yaml, line 3: .*ex.txt does not exist"):
        load_recipe(str(path))
    (tmp_path / "bill.json").unlink()
    with pytest.raises(InputError, match=r"r.yaml, line 1: .*bill.json does not exist"):
        load_recipe(str(path))


def test_a_python_class_takes_a_persons_word(tmp_path):
    (tmp_path / "models.py").write_text("raise SystemExit\n", "utf-8")
    path = tmp_path / "r.yaml"
    path.write_text("schema: {$ref: 'models.py:Bill'}\n", "utf-8")
    with pytest.raises(UsageError, match="runs the whole file"):
        load_recipe(str(path))


@pytest.mark.parametrize("name", ["resume", "Résumé", " RÉSUMÉ ", "bank statement", "10_Q"])
def test_names_have_no_case_and_no_accents(name):
    assert load_recipe(name).name in ("resume", "bank-statement", "10-q")
    assert recipe_name(name) in shipped()


def test_a_persons_own_come_first(tmp_path):
    mine = tmp_path / "mine"
    kept = save_text("schema: a\n", "Invoice", mine)
    assert kept == mine / "invoice.yaml"
    assert load_recipe("invoice", [tmp_path / "none", mine]).schema.source["required"] == ["a"]
    assert load_recipe("invoice").schema.source["required"] != ["a"]
    assert owned([mine]) == {"invoice": kept}
    with pytest.raises(UsageError, match="there is a recipe .*invoice.yaml already"):
        save_text("schema: b\n", "invoice", mine)
    save_text("schema: b\n", "invoice", mine, replace=True)
    assert kept.read_text("utf-8") == "schema: b\n"
    assert [each.name for each in mine.iterdir()] == ["invoice.yaml"]
    assert save_text("schema: a\n", str(tmp_path / "x.yml"), mine) == tmp_path / "x.yml"
    for bad in ("", "../x", "a/b", "a.b"):
        with pytest.raises(UsageError, match="is no name for a recipe"):
            save_text("schema: a\n", bad, mine)
    (tmp_path / "file").write_text("", "utf-8")
    with pytest.raises(InputError, match="cannot be written"):
        save_text("schema: a\n", "x", tmp_path / "file")


def test_there_is_none_of_that_name():
    with pytest.raises(InputError, match="there is no recipe `invoise`") as caught:
        load_recipe("invoise")
    assert caught.value.hint.startswith("did you mean invoice?")
    with pytest.raises(InputError, match="does not exist"):
        load_recipe("./invoice.yaml")


def test_a_check_on_what_is_not_there_is_an_error_with_its_line(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text("schema: total amount\ncheck:\n  - totl > 0\n", "utf-8")
    with pytest.raises(InputError, match=r"line 3: .*there is no field `totl`; `total`\?"):
        load_recipe(str(path))


def test_the_answer_of_an_example_may_be_json_text():
    said = "schema: a\nexamples:\n  - {text: x, expect: '{\"a\": 1}'}"
    assert read_recipe(said, "r", "").examples[0].expect == json.loads('{"a": 1}')


@pytest.mark.skipif(not yaml.__with_libyaml__, reason="PyYAML was built without libyaml")
@pytest.mark.parametrize("name", shipped())
def test_libyaml_reads_what_pyyaml_reads(name, monkeypatch):
    """The same nodes and the same lines, which errors name."""
    text = shipped()[name].read_text("utf-8")
    fast = read_yaml(text, name)
    monkeypatch.delattr(yaml, "CSafeLoader")
    assert read_yaml(text, name) == fast


@pytest.mark.parametrize("line", [
    'rules: ["x \\ud800"]', 'description: "\\udfff"', '"\\ud800": 1', 'compute: {x: 1e999}',
    "check: [{expr: a == 1, tolerance: [1]}]", "check: [{expr: a == 1, tolerance: {b: 1}}]",
    "check: [{expr: a == 1, tolerance: no}]",
])  # fmt: skip
def test_what_json_cannot_say_has_its_line(line):
    with pytest.raises(InputError, match="line 2"):
        read_recipe(f"schema: a num\n{line}\n", "r", "r.yaml")


# What a stranger's recipe can name lies in its own folder, or a person says that it may not.


@pytest.fixture
def outside(tmp_path, monkeypatch):
    """A file beside the recipe's folder, in which a person stands; links to it in the folder."""
    (tmp_path / "secret.json").write_text('{"properties": {"a": {"type": "string"}}}', "utf-8")
    (tmp_path / "models.py").write_text("raise SystemExit(9)\n", "utf-8")
    folder = tmp_path / "recipe"
    folder.mkdir()
    (folder / "link.json").symlink_to("../secret.json")
    (folder / "up").symlink_to(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


PLACES = ("../secret.json", "{outside}/secret.json", "link.json", "up/secret.json",
          "./../recipe/../secret.json", "~/secret.json")  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    "text",
    [
        "schema: {{$ref: '{place}'}}",
        "schema: '{place}'",
        "schema: a\nexamples:\n  - {{file: '{place}', expect: {{a: x}}}}",
        "schema: a\nexamples:\n  - {{text: x, expect: '{place}'}}",
    ],
)
def test_a_recipe_reads_nothing_outside_its_folder(outside, monkeypatch, place, text):
    monkeypatch.setenv("HOME", str(outside))
    monkeypatch.setenv("USERPROFILE", str(outside))
    path = outside / "recipe" / "r.yaml"
    path.write_text(text.format(place=place.format(outside=outside)), "utf-8")
    with pytest.raises(InputError, match="is not in the recipe's folder") as caught:
        load_recipe(str(path))
    assert caught.value.hint == "--trust, if you know who wrote the recipe"
    assert "\n" not in caught.value.message
    assert re.match(r".*r.yaml, line \d: ", caught.value.message)


@pytest.mark.parametrize(
    "text", ["schema: {$ref: '../models.py:Bill'}", "schema: ../models.py:Bill"]
)
def test_nor_does_it_run_a_file_there(outside, text):
    path = outside / "recipe" / "r.yaml"
    path.write_text(text, "utf-8")
    with pytest.raises(InputError, match="is not in the recipe's folder"):
        load_recipe(str(path))


@pytest.mark.parametrize("place", PLACES)
def test_with_a_persons_word_it_reads_what_it_names(outside, monkeypatch, place):
    monkeypatch.setenv("HOME", str(outside))
    monkeypatch.setenv("USERPROFILE", str(outside))
    path = outside / "recipe" / "r.yaml"
    path.write_text(f"schema: {{$ref: '{place.format(outside=outside)}'}}\n", "utf-8")
    assert load_recipe(str(path), trust=True).schema.source["properties"]


@pytest.mark.parametrize("trust", [False, True])
@pytest.mark.parametrize("place", ["//host/s.json", r"\\host\s.json", "file://host/s.json"])
def test_no_recipe_leads_into_the_network(tmp_path, monkeypatch, place, trust):
    """Not even to look: on Windows that is a connection."""
    path = tmp_path / "r.yaml"
    looked = []
    real = Path.stat
    monkeypatch.setattr(Path, "stat", lambda self, **k: looked.append(self) or real(self, **k))
    for text in ("schema: {{$ref: '{}'}}", "schema: '{}'",
                 "schema: a\nexamples:\n  - {{file: '{}', expect: {{a: x}}}}"):  # fmt: skip
        path.write_text(text.format(place), "utf-8")
        with pytest.raises(InputError, match="lies in the network"):
            load_recipe(str(path), trust=trust)
    assert not [each for each in looked if "host" in str(each)]


def test_a_schema_of_a_recipe_is_no_file_of_the_working_folder(outside):
    """`schema: total` is a field, whatever a folder has; a name with an ending is beside it."""
    (outside / "total").write_text("{", "utf-8")
    (outside / "mine.json").write_text("{", "utf-8")
    path = outside / "recipe" / "r.yaml"
    path.write_text("schema: total\n", "utf-8")
    assert list(load_recipe(str(path)).schema.source["properties"]) == ["total"]
    (outside / "recipe" / "mine.json").write_text('{"properties": {"b": {}}}', "utf-8")
    path.write_text("schema: mine.json\n", "utf-8")
    assert list(load_recipe(str(path)).schema.source["properties"]) == ["b"]
