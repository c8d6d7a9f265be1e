"""Personas: small files that people write, and a few that are shipped."""

import pytest

from gemma_edge.chat.persona import load_persona
from gemma_edge.engine.protocol import Sampling
from gemma_edge.errors import InputError


def write(folder, name, text):
    path = folder / f"{name}.toml"
    path.write_text(text, "utf-8")
    return path


def test_all_that_a_file_may_say(tmp_path):
    write(
        tmp_path, "pirate",
        'about = "Talks like one"\nsystem = """\nYou are a pirate.\n"""\n'
        'model = "E4B"\nthink = false\n'
        "max_tokens = 200\n[sampling]\ntemperature = 1.2\ntop_k = 40\nseed = 0\n",
    )  # fmt: skip
    persona = load_persona("pirate", [tmp_path])
    assert (persona.name, persona.about, persona.system) == (
        "pirate", "Talks like one", "You are a pirate.",
    )  # fmt: skip
    assert (persona.model, persona.think, persona.max_tokens) == ("E4B", False, 200)
    assert persona.sampling == Sampling(temperature=1.2, top_k=40, seed=0)
    assert load_persona(str(tmp_path / "pirate.toml"), []) == persona


def test_shipped_ones_can_be_read_and_are_hidden_by_ones_own(tmp_path):
    names = ("coder", "editor", "translator", "tutor")
    shipped = {name: load_persona(name, []) for name in names}
    assert all(p.system and p.about for p in shipped.values())
    write(tmp_path, "coder", 'system = "mine"')
    folders = [tmp_path / "nowhere", tmp_path]
    assert load_persona("coder", folders).system == "mine"
    assert load_persona("tutor", folders) == shipped["tutor"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('sistem = "x"', "there is no setting `sistem`"),
        ("[sampling]\nheat = 1", "there is no setting `sampling.heat`"),
        ("[sampling]\ntemperature = 'hot'", "`sampling.temperature` is not a number from 0 on"),
        ("[sampling]\ntop_k = 1.5", "`sampling.top_k` is not a whole number"),
        ("[sampling]\nseed = true", "`sampling.seed` is not a whole number"),
        ("sampling = 1", "`sampling` is not a table"),
        ("think = 'yes'", "`think` is not true or false"),
        ("max_tokens = 0", "`max_tokens` is not a whole number above 0"),
        ("system = 3", "`system` is not a text"),
        ("system = ", "is not TOML"),
        ("shipped = true", "there is no setting `shipped`"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, text, says):
    write(tmp_path, "x", text)
    with pytest.raises(InputError, match=r"x\.toml") as raised:
        load_persona("x", [tmp_path])
    assert says in raised.value.message


def test_an_unknown_name_is_answered_with_those_there_are():
    with pytest.raises(InputError, match="there is no persona `codder`") as raised:
        load_persona("codder", [])
    assert raised.value.hint.startswith("did you mean `coder`? there are: coder, ")


@pytest.mark.parametrize(
    "model", ["//host/share/x.gguf", "/models/x.gguf", "../x.gguf", r"\\\\host\\x.gguf", "./x.gguf"]
)
def test_a_persona_of_a_path_names_no_model_elsewhere(tmp_path, monkeypatch, model):
    """Whose file that is nobody knows; one of a person's own folder may."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "given").mkdir()
    path = write(tmp_path / "given", "pirate", f'model = "{model}"')
    with pytest.raises(InputError, match="is a file elsewhere") as caught:
        load_persona(str(path), [])
    assert "--model FILE" in caught.value.hint
    assert load_persona("pirate", [tmp_path / "given"]).model
    write(tmp_path / "given", "pirate", f"model = '{tmp_path / 'given' / 'own.gguf'}'")
    assert load_persona(str(path), []).model.endswith("own.gguf")


def test_a_file_that_takes_long_to_read_is_refused_at_once(tmp_path):
    path = tmp_path / "slow.toml"
    path.write_text("u" + ".u" * 50_000)
    with pytest.raises(InputError, match="a key of more than 1,000 parts"):
        load_persona(str(path), [])
    path.write_text(f'about = "{"x" * (300 << 10)}"\n')
    with pytest.raises(InputError, match="larger than 256"):
        load_persona(str(path), [])
