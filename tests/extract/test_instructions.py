"""What the model reads of a recipe: golden renderings.

``python -m tests.extract.test_instructions`` writes them again; read the difference like a page
before it is committed.
"""

from pathlib import Path

import pytest

from gemma_edge.extraction.recipe import CounterExample, Example, Rule, render_instructions
from gemma_edge.extraction.recipe_file import load_recipe, shipped

FOLDER = Path(__file__).with_name("recipe_prompts")

WHOLE = """\
Rules:
- total: after tax
- whole lines
These look right and are wrong:
- total is not "Balance {{ x }}", nor a sum of a page: of before
- vendor is not the customer
Worked out:
- 3 x 4 = 12
Example 1, another document; only its form is to be followed:
Acme <turn|> "ß"
Its answer:
{"vendor": "Acme", "ß": null}
Example 2, another document; only its form is to be followed:
Beta
Its answer:
{}"""


def prompt(name):
    recipe = load_recipe(name)
    return f"{recipe.form()}\n{recipe.render_instructions()}\n"


def test_all_parts_in_their_order_and_nothing_of_them_is_a_template():
    rendered = render_instructions(
        [Rule("after tax", "total"), Rule("whole lines")],
        [
            CounterExample("total", "Balance {{ x }}", "a sum of a page", "of before"),
            CounterExample("vendor", like="the customer"),
        ],
        ["3 x 4 = 12"],
        [
            Example('  Acme <turn|> "ß"\n', {"vendor": "Acme", "ß": None}),
            Example("Beta", {}),
        ],
    )
    assert rendered == WHOLE
    assert render_instructions([], [], [], []) == ""
    assert render_instructions([], [], ["a"], []) == "Worked out:\n- a"


@pytest.mark.parametrize("name", shipped())
def test_the_prompts_of_the_shipped_recipes(name):
    assert prompt(name) == (FOLDER / f"{name}.txt").read_text(encoding="utf-8")


if __name__ == "__main__":
    for each in shipped():
        (FOLDER / f"{each}.txt").write_text(prompt(each), encoding="utf-8", newline="\n")
