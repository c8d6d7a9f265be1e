"""Whatever changes a conversation is a record: told to the conversation, and to its journal."""

from typing import Any

from gemma_edge.chat.history import History, Question, Record, Teller
from gemma_edge.chat.journal import VERSION, Journal
from gemma_edge.documents.picture import Picture
from gemma_edge.errors import GemmaEdgeError


class Telling:
    """A conversation with its journal, if it has one. A journal that was opened goes on where it
    ended; a new one waits for the first question, so a conversation without a word leaves nothing.

    A journal that cannot be written any more does not end the conversation: ``take_problem`` says
    so, once, and from then on nothing is kept.
    """

    def __init__(self, journal: Journal | None, *, model: str, system: str | None) -> None:
        self.journal = journal
        self._pictures: dict[str, Picture] = {}
        self._problem = ""
        self._waiting: list[Record] | None = None
        if journal is not None and journal.exists:
            self._teller = journal.load()
            self._teller.find_picture = self._picture
            self.set_system(self.history.system if system is None else system)
            self.set_model(model)
        else:
            self._teller = Teller(self._picture)
            self._waiting = []
            self.tell({
                "type": "session", "version": VERSION, "model": model, "system": system or "",
                "at": journal.now() if journal else 0.0,
            })  # fmt: skip

    @property
    def history(self) -> History:
        """What was said."""
        return self._teller.history

    def tell(self, record: Record, *, sync: bool = False) -> None:
        """Something happened. With ``sync`` it survives a loss of power too."""
        self._teller.take(record)
        if self.journal is None:
            return
        if self._waiting is not None and record["type"] != "question":
            self._waiting.append(record)
            return
        try:
            for early in self._waiting or ():
                self.journal.append(early)
            self._waiting = None
            self.journal.append(record, sync=sync)
        except GemmaEdgeError as error:
            self._give_up(error)

    def set_system(self, text: str | None) -> None:
        """Who the model is to be, if that is new."""
        if (text or None) != self.history.system:
            self.tell({"type": "system", "system": text or ""})

    def set_model(self, name: str) -> None:
        """Which model answers from here on, if that is new."""
        if name and name != self.history.model:
            self.tell({"type": "model", "model": name})

    def question(self, question: Question) -> Record:
        """The record that asks it; its pictures are kept by now."""
        return {
            "type": "question",
            "text": question.text,
            "pictures": [self._keep(picture) for picture in question.pictures],
            "files": [{"name": f.name, "tokens": f.tokens, "text": f.text} for f in question.files],
        }

    def take_problem(self) -> str:
        """Why nothing is kept any more; "" if it is, or if that was said."""
        problem, self._problem = self._problem, ""
        return problem

    def _keep(self, picture: Picture) -> dict[str, Any]:
        self._pictures[picture.digest] = picture
        if self.journal is not None:
            try:
                return self.journal.keep_picture(picture)
            except GemmaEdgeError as error:
                self._give_up(error)
        return {"digest": picture.digest, "name": picture.name}

    def _give_up(self, error: GemmaEdgeError) -> None:
        assert self.journal is not None
        self.journal.close()
        self.journal = None
        self._problem = f"{error.message}; from here on nothing is kept"

    def _picture(self, record: Record) -> Picture | None:
        return self._pictures.get(record["digest"])
