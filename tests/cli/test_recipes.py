"""``gemma-edge recipes`` as a person uses it."""

import json

import pytest

from gemma_edge.errors import ExitStatus

OWN = "schema: vendor, total amount\ndescription: Ours\ncheck: [total > 0]\n"


@pytest.fixture
def own(shell):
    folder = shell.home / ".local" / "share" / "gemma-edge" / "recipes"
    folder.mkdir(parents=True)
    return folder


def recipes(shell, *words, **more):
    return shell.run("recipes", *words, model=False, **more)


def test_all_are_listed_with_what_they_find(shell, own):
    (own / "bills.yaml").write_text(OWN, "utf-8")
    (own / "broken.yml").write_text("schema: a nmu\n", "utf-8")
    ran = recipes(shell)
    lines = ran.stdout.splitlines()
    assert [line.split()[0] for line in lines] == [
        "10-q", "bank-statement", "bills", "broken", "contract", "general", "id-card", "invoice",
        "medical-letter", "paper", "receipt", "resume",
    ]  # fmt: skip
    assert lines[2].endswith("Ours (yours): vendor, total")
    assert 'cannot be read: broken.yml, line 1: schema, column 3: "nmu"' in lines[3]
    assert ran.stderr == f"2 of your own, in {own}\n"
    assert ran.status == ExitStatus.OK
    rows = json.loads(recipes(shell, "list", "--json").stdout)["recipes"]
    assert rows[2] == {"name": "bills", "path": str(own / "bills.yaml"), "description": "Ours",
                       "fields": ["vendor", "total"]}  # fmt: skip
    assert "problem" in rows[3]


def test_show_prints_the_file_or_what_the_model_reads(shell):
    ran = recipes(shell, "show", "Résumé")
    assert ran.stdout.startswith("description: Résumés and CVs\nschema: |\n")
    assert ran.stderr == "it comes with gemma-edge\n"
    prompt = recipes(shell, "show", "résumé", "--prompt").stdout
    assert prompt.startswith('{"name": string')
    assert "\nRules:\n" in prompt
    document = json.loads(recipes(shell, "show", "invoice", "--json").stdout)
    assert document["schema"]["properties"]["total"]["x-gemma-edge"] == "amount"
    assert document["compute"]["items_sum"].startswith("sum(items.amount)")
    assert len(document["fingerprint"]) == 64


def test_a_copy_of_ones_own_comes_before_the_one_that_ships(shell, own, tmp_path):
    ran = recipes(shell, "save", "Invoice", "invoice")
    kept = own / "invoice.yaml"
    assert ran.stdout == f"{kept}\n"
    assert kept.read_text("utf-8") == recipes(shell, "show", "invoice", "--quiet").stdout
    kept.write_text(OWN, "utf-8")
    assert recipes(shell, "show", "invoice").stderr == f"it is in {kept}\n"
    again = recipes(shell, "save", "invoice", "receipt")
    assert again.status == ExitStatus.USAGE
    assert f"there is a recipe {kept} already" in again.stderr
    assert "recipes save invoice … --replace" in again.stderr
    assert recipes(shell, "save", "invoice", "receipt", "--replace").status == ExitStatus.OK
    assert "Receipts" in kept.read_text("utf-8")


def test_a_copy_holds_what_lay_beside_the_file(shell, own, tmp_path):
    (tmp_path / "s.json").write_text('{"properties": {"total": {"type": "number"}}}', "utf-8")
    (tmp_path / "bills.yaml").write_text("schema: {$ref: s.json}\n", "utf-8")
    ran = recipes(shell, "save", "bills", str(tmp_path / "bills.yaml"))
    assert "what lay in files beside it stands in it now" in ran.stderr
    assert "total" in (own / "bills.yaml").read_text("utf-8")
    assert recipes(shell, "lint").stdout == "✔ bills\n"
    plain = tmp_path / "plain.yaml"
    plain.write_text(f"# mine, of no file: x.json\n{OWN}", "utf-8")
    recipes(shell, "save", "plain", str(plain))
    assert (own / "plain.yaml").read_text("utf-8").startswith("# mine")


def test_lint_tells_every_finding_with_its_line_and_fails(shell, tmp_path):
    bad = tmp_path / "bad.yaml"
    bad.write_text("schema: total amount\nrules:\n  - {field: totl, rule: x}\n", "utf-8")
    torn = tmp_path / "torn.yaml"
    torn.write_text("schema: [\n", "utf-8")
    ran = recipes(shell, "lint", str(bad), str(torn), "invoice")
    first, second, third = ran.stdout.splitlines()
    assert first == (
        f"✘ {bad}, line 3: the rule is about `totl`: there is no field `totl`; `total`?"
    )
    assert second.startswith(f"✘ {torn}, line 1, column 10: not YAML")
    assert third == "✔ invoice"
    assert ran.status == ExitStatus.INPUT
    rows = json.loads(recipes(shell, "lint", str(bad), "--json").stdout)["findings"]
    assert (rows[0]["line"], rows[0]["severity"]) == (3, "error")
    assert recipes(shell, "lint", "invoice", "receipt").status == ExitStatus.OK


def test_the_recipe_that_the_help_page_teaches_is_right(shell, tmp_path):
    lines = recipes(shell, "--help").stdout.splitlines()
    start = next(number for number, line in enumerate(lines) if line.strip() == "schema: |")
    end = next(number for number, line in enumerate(lines[start:], start) if not line.strip())
    path = tmp_path / "taught.yaml"
    path.write_text("\n".join(line[2:] for line in lines[start:end]), "utf-8")
    assert recipes(shell, "lint", str(path)).stdout == f"✔ {path}\n"


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        (("shwo",), "there is no command `recipes shwo`", "did you mean show?"),
        (("show",), "missing argument `RECIPE`", "gemma-edge recipes show --help"),
        (("show", "a", "b"), "nothing is to be done with `b`", "gemma-edge recipes show --help"),
        (("show", "invoise"), "there is no recipe `invoise`", "did you mean invoice?"),
        (("save", "mine"), "missing argument `RECIPE`", "gemma-edge recipes save --help"),
        (("save", "../mine", "invoice"), "`../mine` is no name", "my-invoice, or a file"),
        (("lint",), "you have no recipe of your own", "gemma-edge recipes lint FILE.yaml"),
        (("list", "invoice"), "nothing is to be done with `invoice`", "recipes list --help"),
    ],
)
def test_what_cannot_be_carried_out(shell, words, message, hint):
    ran = recipes(shell, *words)
    assert ran.stdout == ""
    assert message in ran.stderr
    assert hint in ran.stderr
    assert ran.status in (ExitStatus.USAGE, ExitStatus.INPUT)


def test_the_folder_is_where_the_platform_keeps_data(shell, tmp_path):
    moved = {"XDG_DATA_HOME": str(tmp_path / "data")}
    recipes(shell, "save", "mine", "paper", environment=moved)
    assert (tmp_path / "data" / "gemma-edge" / "recipes" / "mine.yaml").is_file()
    recipes(shell, "save", "mine", "paper", platform="win32",
            environment={"LOCALAPPDATA": str(tmp_path / "local")})  # fmt: skip
    assert (tmp_path / "local" / "gemma-edge" / "recipes" / "mine.yaml").is_file()
