"""How a file is read: its encoding as a person names it."""

import pytest

from gemma_edge.documents.document import ReadOptions
from gemma_edge.documents.open import read_document


@pytest.mark.parametrize("name", ["a.txt", "a.csv", "a.html"])
def test_an_encoding_that_is_named_is_the_one(name):
    data = "<p>Zażółć" if name == "a.html" else "Zażółć"
    document = read_document(data.encode("cp1250"), name, options=ReadOptions("cp1250"))
    assert (document.text, document.notes) == ("Zażółć", ())
