"""One extraction: passes over the pages, questions, answers, a second chance, a verdict."""
