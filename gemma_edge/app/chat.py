"""A conversation with the model behind it: chosen and loaded while a person types, exchanged for
another under the same conversation, kept and freed at the end.
"""

import os
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from gemma_edge.app.request import AUTO, ModelRequest
from gemma_edge.app.runtime import Runtime, show_nothing
from gemma_edge.catalog import kind_of
from gemma_edge.chat.conversation import Conversation
from gemma_edge.chat.journal import Journal, read_history
from gemma_edge.chat.persona import Persona
from gemma_edge.chat.sessions import exact_journal, find_journal, last_journal, prune
from gemma_edge.engine.protocol import Sampling
from gemma_edge.errors import DoesNotFit, GemmaEdgeError, UsageError
from gemma_edge.records import dataclass

if TYPE_CHECKING:
    from gemma_edge.app.loaded import LoadedEngine, Prepared, VisionMode

_LOOK_SECONDS = 0.05
_LEAVE_SECONDS = 2.0  # for planning to end by itself; then the process ends under it


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRequest:
    """What a chat begins with. ``images`` and ``files`` go with the first message; what the flags
    leave open the ``persona`` says; ``max_thought_tokens`` None is as many as there is room for.
    ``session`` names a conversation to begin or to go on with, ``resume`` is the last one;
    ``private`` writes nothing down. A ``single`` question is kept only where a session is named."""

    model: ModelRequest
    persona: Persona | None = None
    system: str = ""
    think: bool | None = None
    max_thought_tokens: int | None = None
    sampling: Sampling = Sampling()
    stop: tuple[str, ...] = ()
    max_tokens: int | None = None
    images: tuple[Path, ...] = ()
    files: tuple[Path, ...] = ()
    resume: bool = False
    session: str | None = None
    private: bool = False
    single: bool = False


class _Asked(Exception):
    """A question came up where nobody can answer."""


def _refuse_to_ask(question: str) -> bool:
    raise _Asked(question)


class Chat:
    """One conversation and its model. ``begin`` plans and loads in a thread, in silence: what has
    to be asked (a download) ends it there, and ``wait`` does it again where a person can answer.

    ``notes`` are lines that are to be told; ``changed`` is called, from threads too, when there is
    one, when the conversation opened, or when ``needs_person`` became true. ``sessions`` is the
    folder of the conversations, ``images`` and ``files`` wait for the first message. A context
    manager that frees the model.
    Raises InputError: there is no conversation to go on with, several are meant, or it is open
    elsewhere; UsageError: not a name."""

    def __init__(self, request: ChatRequest, runtime: Runtime, sessions: Path) -> None:
        self.sessions = sessions
        self.private = request.private
        self.notes: deque[str] = deque()
        self.changed: Callable[[], None] = lambda: None
        self._runtime = replace(runtime, remember=False) if request.private else runtime
        self._asked = request
        self.images, self.files = request.images, request.files
        self._journal = self._choose_journal()
        self.request = self._model_request()
        self._prepared: Prepared | None = None
        self._engine: LoadedEngine | None = None
        self._conversation: Conversation | None = None
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def __enter__(self) -> "Chat":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Which conversation, and which model.

    def _choose_journal(self) -> Journal | None:
        asked = self._asked
        if asked.private or (asked.single and not (asked.session or asked.resume)):
            return None
        folder, clock = self.sessions, self._runtime.store.clock
        if asked.resume:
            return Journal.open(last_journal(folder), clock=clock)
        if asked.session and (known := exact_journal(folder, asked.session)) is not None:
            return Journal.open(known, clock=clock)
        journal = Journal.create(folder, asked.session or "", clock=clock)
        if asked.session:
            self.notes.append(f"session {journal.name} is new")
        return journal

    def _model_request(self) -> ModelRequest:
        """A conversation that goes on does so with its own model, where none is named."""
        request, persona, journal = self._asked.model, self._asked.persona, self._journal
        if self.private:
            request = replace(request, remember=False)
        if request.model == AUTO and persona is not None and persona.model:
            request = replace(request, model=persona.model)
        if request.model != AUTO or journal is None or not journal.exists:
            return request
        model = read_history(journal.path).model
        if kind_of(model) == "path" and not os.path.isfile(model):
            self.notes.append(f"the model of this conversation is not there any more: {model}")
            return request
        return replace(request, model=model) if model else request

    def _vision(self) -> "VisionMode":
        """A conversation may come to an image; one question has all that it is about."""
        if self._asked.images:
            return "needed"
        alone = self._asked.single and self._journal is None and not self._asked.files
        return "unused" if alone else "possible"

    # Planning, loading, opening.

    def begin(self) -> None:
        self._thread = threading.Thread(target=self._open_unasked, daemon=True)
        self._thread.start()

    def wait(self) -> Conversation:
        """The conversation, open; its model may still be loading.

        Raises:
            GemmaEdgeError: there is no model, and so no conversation; what was raised behind it.
        """
        self.join()
        if self._error is not None:
            raise self._error
        if self._conversation is None:
            self._open(self._runtime)
            self.conversation.start_prefill()
        if self.conversation.failed:
            self.conversation.stop_prefill()
        return self.conversation

    def open(self) -> Conversation:
        """The conversation with a model that is loaded, here and now.
        Raises GemmaEdgeError: as ``wait``."""
        self._runtime.begin()
        self._open(self._runtime)
        self.watch()
        self._wake()
        self.conversation.first = None
        return self.conversation

    def watch(self) -> None:
        """Wait until the model is loaded, or is not, and tell how far it is."""
        assert self._engine is not None
        self._engine.watch(self._runtime.on_event)

    def join(self) -> None:
        while self.planning:
            assert self._thread is not None
            self._thread.join(_LOOK_SECONDS)  # so that Ctrl-C is noticed

    @property
    def planning(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    @property
    def opened(self) -> bool:
        return self._conversation is not None

    @property
    def offline(self) -> bool:
        """Whether no connection may be opened."""
        return self._runtime.store.offline

    @property
    def needs_person(self) -> bool:
        """Whether something failed, or has to be asked: ``wait`` tells."""
        if self._conversation is None:
            return self._thread is not None
        return self._conversation.failed

    @property
    def conversation(self) -> Conversation:
        assert self._conversation is not None
        return self._conversation

    @property
    def prepared(self) -> "Prepared":
        assert self._prepared is not None
        return self._prepared

    @property
    def engine(self) -> "LoadedEngine":
        """Where the answers come from; nothing is read ahead any more."""
        self.conversation.stop_prefill()
        assert self._engine is not None
        return self._engine

    def _open_unasked(self) -> None:
        """In the thread: nothing is fetched without a yes, and no progress is shown."""
        silent = replace(self._runtime, note=self.notes.append, progress=show_nothing)
        if self._runtime.confirm is not None:  # else a yes was given before, or it is refused
            store = replace(silent.store, ask=silent.store.ask and _refuse_to_ask)
            silent = replace(silent, store=store, confirm=_refuse_to_ask, agreed=False)
        try:
            self._runtime.begin()
            self._open(silent)
            self.conversation.start_prefill()
        except _Asked:
            self.notes.clear()
            self.changed()
        except BaseException as error:  # noqa: BLE001  (raised where it is waited for)
            self._error = error
            self.changed()

    def _open(self, runtime: Runtime) -> None:
        from gemma_edge.app.standby import load, prepare  # noqa: PLC0415  (behind the prompt)

        asked = self._asked
        prepared = prepare(self.request, runtime, vision=self._vision(), images=asked.images)
        self._prepared, self._engine = prepared, load(prepared, runtime)
        self._conversation = Conversation(
            self._engine, asked.system or None, persona=asked.persona, think=asked.think,
            max_thought_tokens=asked.max_thought_tokens, sampling=asked.sampling,
            max_tokens=asked.max_tokens, stop=asked.stop, journal=self._journal,
            model=prepared.wanted, image_tokens=prepared.image_tokens,
        )  # fmt: skip
        self._conversation.first = self._wake
        self._conversation.changed = self.changed
        self.changed()

    def _wake(self) -> None:
        """Once, when the model is loaded: take the cache of a conversation that goes on back from
        disk, and read what goes with the first message."""
        assert self._engine is not None
        conversation = self.conversation
        self.notes += self._engine.info.notes
        if conversation.journal is not None and conversation.history.exchanges:
            restored = conversation.restore_cache()
            if not restored.tokens:
                self.notes.append(f"the conversation is read again: {restored.reason}")
        images, files, self.images, self.files = self.images, self.files, (), ()
        self.notes += map(conversation.attach_image, images)
        for path in files:
            self.notes += conversation.attach_file(path)

    # Another model, another conversation.

    def switch_model(self, name: str) -> tuple[str, ...]:
        """Go on with another model; what that changes, in sentences. If it is refused, the old one
        comes back.
        Raises GemmaEdgeError: it is refused."""
        unpinned = replace(
            self.request, quant=None, mmproj=None, gpu_layers=None, drafter=None
        )  # fmt: skip
        return self._reload(replace(unpinned, model=name, cpu_expert_layers=None))

    def resize(self, context_tokens: int) -> tuple[str, ...]:
        """Load the same model again with another context; see ``switch_model``.
        Raises DoesNotFit: the conversation is longer, or there is no memory for it."""
        used = self.conversation.meter().used_tokens
        if context_tokens <= used:
            problem = f"the conversation takes {used:,} tokens, more than {context_tokens:,}"
            raise DoesNotFit(problem, hint="/compact, /drop, or a larger number")
        request = replace(self.request, context_tokens=context_tokens)
        if request.model == AUTO:  # the same one, whatever would be the best for that size
            request = replace(request, model=self.prepared.wanted, quant=None)
        return self._reload(request)

    def _reload(self, request: ModelRequest) -> tuple[str, ...]:
        """Memory is free for the new one before it is loaded."""
        from gemma_edge.app.standby import load, prepare  # noqa: PLC0415

        conversation, before, engine = self.conversation, self.prepared, self.engine
        engine.close(end=True)
        try:
            prepared = prepare(request, self._runtime, vision="possible")
            engine = self._engine = load(prepared, self._runtime)
            self.watch()
            _ = engine.info  # raises why it cannot be loaded
        except (GemmaEdgeError, KeyboardInterrupt):
            engine.close(end=True)
            self._engine = load(before, self._runtime)
            conversation.move_to(self._engine, image_tokens=before.image_tokens)
            raise
        self.request, self._prepared = request, prepared
        return conversation.move_to(engine, prepared.wanted, prepared.image_tokens)

    def switch_session(self, name: str) -> bool:
        """Go on with another conversation, by its name, its title or a part of either; False if it
        is this one.
        Raises InputError: there is none, it is open elsewhere, or cannot be read; UsageError: a
        private conversation goes on with none that is kept."""
        if self.private:
            problem = "a private conversation is not kept, and goes on with none that is"
            raise UsageError(problem, hint=f"gemma-edge chat --session {name}")
        path, current = find_journal(self.sessions, name), self.conversation.journal
        if current is not None and current.path == path:
            return False
        journal = Journal.open(path, clock=self._runtime.store.clock)
        self.notes += self.leave()
        self.conversation.switch_to(journal)
        self.conversation.first = self._wake
        return True

    # The end.

    def leave(self) -> tuple[str, ...]:
        """Keep what a later run can use, and all sessions within their cap; what could not be kept
        and what was deleted, in sentences. A thread that still plans is given a moment."""
        if self._thread is not None:
            self._thread.join(_LEAVE_SECONDS)
        if self._conversation is None:
            if self._journal is not None:
                self._journal.close()
            return ()
        journal = self._conversation.journal
        if journal is None:
            return ()
        problems = self._conversation.close()
        return (*problems, *prune(self.sessions, keep=[journal.path]))

    def close(self) -> None:
        if self._engine is not None:
            self._engine.close()
        if self._conversation is not None:
            self._conversation.end_prefill()
