"""The engine on llama.cpp: prompt to units, units to the cache, and one decode loop."""

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gemma_edge.documents.picture import Picture
from gemma_edge.engine import llama_log
from gemma_edge.engine.answer import Answer, Speech
from gemma_edge.engine.cache import Media
from gemma_edge.engine.clock import Clock
from gemma_edge.engine.fingerprint import fingerprint
from gemma_edge.engine.held import Held
from gemma_edge.engine.llama_adapter import add_adapters
from gemma_edge.engine.llama_context import Aborted, LlamaContext
from gemma_edge.engine.llama_model import LlamaModel
from gemma_edge.engine.llama_prompt import Prompt, Prompter
from gemma_edge.engine.llama_vision import LlamaVision
from gemma_edge.engine.llama_vocabulary import grammar_vocabulary
from gemma_edge.engine.protocol import (
    EngineInfo,
    Event,
    Finished,
    FinishReason,
    Notice,
    PromptCount,
    Request,
    Restored,
    Usage,
)
from gemma_edge.engine.proving import judge_load, measure_speed, smoke_decode
from gemma_edge.engine.queueing import Turnstile
from gemma_edge.engine.reading import Progress
from gemma_edge.engine.sampling import Chooser, model_sampling
from gemma_edge.errors import DoesNotFit
from gemma_edge.fit.plan import Plan
from gemma_edge.fit.report import parse_report
from gemma_edge.units import render_tokens

if TYPE_CHECKING:  # llguidance is loaded with the first constraint
    from gemma_edge.engine.constraint import GrammarVocabulary


class LlamaEngine:
    """Gemma 4, or any other GGUF that llama.cpp reads, as an ``Engine``.

    ``forcing=False`` is for measurements: what do forced tokens save? ``flash_attention=False``
    is for proofs: on a CPU it adds in 16 bits, so the order of cells shows.
    """

    def __init__(self, plan: Plan, *, forcing: bool = True, flash_attention: bool = True) -> None:
        self._plan = plan
        self._forcing = forcing
        llama_log.start_report()
        self._model = LlamaModel(plan.model, plan)
        self._context = LlamaContext(self._model, plan, flash_attention=flash_attention)
        add_adapters(self._model, self._context, plan.adapters)
        self._vision: LlamaVision | None = None
        if plan.projector is not None:
            self._vision = LlamaVision(plan.projector, self._model, plan)
        model = self._model
        self._prompter = Prompter(model, self._vision.markers if self._vision else None)
        self._speech = Speech(
            piece=model.piece,
            ends=model.ends,
            opens=model.token("<|channel>"),
            closes=model.token("<channel|>"),
            newline=model.tokenize("\n", special=False),
        )
        self._defaults = model_sampling(model)
        self._held = Held(self._context, model.window)
        self._turnstile = Turnstile()
        self._running: Generator[Event, None, None] | None = None
        self._current: Answer | Warming | None = None
        self._vocabulary: GrammarVocabulary | None = None
        self._fingerprint = fingerprint(
            plan,
            template=model.chat_template,
            version=llama_log.VERSION,
            flash_attention=self._context.flash_attention,
        )
        smoke_decode(self._context, self._held, max(model.bos, 0))
        self._allocated = parse_report(llama_log.end_report())
        self._notes = (*self._prompter.notes, *judge_load(plan, self._allocated))

    @property
    def info(self) -> EngineInfo:
        """What was loaded."""
        model = self._model
        return EngineInfo(
            name=self._plan.name or model.metadata("general.name") or self._plan.model.stem,
            architecture=model.metadata("general.architecture"),
            context_tokens=self._plan.context_tokens,
            trained_context_tokens=model.trained_context_tokens,
            vision=self._vision is not None,
            device=model.device,
            gpu_layers=model.gpu_layers,
            layers=model.layers,
            sampling=self._defaults,
            notes=self._notes,
            allocated=self._allocated,
            plan=self._plan,
        )

    def render(self, request: Request) -> str:
        """The prompt as text, each picture as its slot; for people, peers and tests."""
        return self._prompter.render(request)

    def count(self, request: Request) -> PromptCount:
        """Exact prompt size; nothing is evaluated."""
        return self._prompter.prompt(request).count

    def generate(self, request: Request) -> Iterator[Event]:
        """``Chunk``s, then one ``Finished``; refusals are raised before anything is evaluated."""
        prompt = self._prompter.prompt(request)
        prompt_tokens = prompt.tokens
        room = self._plan.context_tokens - prompt_tokens
        if room <= 0:
            raise self._overflow(prompt_tokens)
        limit = room if request.max_tokens is None else min(request.max_tokens, room)
        answer = self._answer(request, limit)
        if answer.shortest > room:
            raise DoesNotFit(
                f"the prompt takes {prompt_tokens:,} of {render_tokens(self._plan.context_tokens)} "
                f"and the shortest answer to this schema {answer.shortest:,}: too much",
                hint=f"--ctx {prompt_tokens + 2 * answer.shortest}",
            )
        if not self._turnstile.busy:
            self._current = answer  # to be cancelled before its first event too
        self._running = self._generate(request, answer, prompt)
        return self._running

    def warm(self, request: Request) -> Iterator[Event]:
        """``Reading``s, then one ``Finished``; refusals are raised before anything is evaluated."""
        prompt = self._prompter.prompt(request).history()
        if prompt.tokens > self._plan.context_tokens:
            raise self._overflow(prompt.tokens)
        warming = Warming()
        if not self._turnstile.busy:
            self._current = warming
        self._running = self._warm(warming, prompt)
        return self._running

    def _warm(self, warming: "Warming", prompt: Prompt) -> Generator[Event, None, None]:
        with self._turnstile:
            self._current = warming
            clock, passes = Clock(), self.encoder_passes
            cached = self._held.position
            reason: FinishReason = "end"
            try:
                if prompt.units and self._held.units != prompt.units:
                    cached = self._held.keep_prefix(prompt.units)
                    self._context.watch(lambda: warming.cancelled)
                    self._held.evaluate((yield from self._read(prompt)))
            except Aborted:
                reason = "cancelled"
            finally:
                self._context.watch(None)
            clock.prompt_read()
            usage = Usage(
                prompt_tokens=prompt.tokens,
                cached_tokens=cached,
                evaluated_tokens=self._held.position - cached,
                generated_tokens=0,
                encoded_pictures=self.encoder_passes - passes,
            )
            yield Finished(reason, usage, clock.timings())

    def save(self, path: Path) -> int:
        """Write the cache to a file; the engine is busy only while it is copied out."""
        with self._turnstile:
            part = self._held.copy_out(path, self._fingerprint)
        return part.finish()

    def restore(self, path: Path) -> Restored:
        """Take a saved cache back, or say why not."""
        with self._turnstile:
            return self._held.take_back(path, self._fingerprint, self._plan.context_tokens)

    def _overflow(self, prompt_tokens: int) -> DoesNotFit:
        trained = self._model.trained_context_tokens
        hint = f"--ctx {_round_up(prompt_tokens)} reads it"
        if prompt_tokens >= trained:
            hint = f"this model reads at most {render_tokens(trained)}: give it less text"
        return DoesNotFit(
            f"the prompt needs {render_tokens(prompt_tokens)}, "
            f"the context holds {self._plan.context_tokens:,}",
            hint=hint,
        )

    def _answer(self, request: Request, limit: int) -> Answer:
        model = self._model
        constraint = None
        if request.constraint is not None:
            from gemma_edge.engine.constraint import GrammarConstraint  # noqa: PLC0415

            if self._vocabulary is None:
                self._vocabulary = grammar_vocabulary(model)
            constraint = GrammarConstraint(self._vocabulary, request.constraint)
        return Answer(
            request,
            self._speech,
            limit=limit,
            constraint=constraint,
            forcing=self._forcing,
        )

    def _generate(
        self, request: Request, answer: Answer, prompt: Prompt
    ) -> Generator[Event, None, None]:
        with self._turnstile:
            self._current = answer
            chooser = Chooser(request.sampling, self._defaults, self._model, scored=request.scored)
            clock = Clock()
            passes = self.encoder_passes
            try:
                cached = self._held.keep_prefix(prompt.units)
                yield from self._decode(answer, chooser, clock, prompt)
            except Aborted:
                answer.reason = "cancelled"
            finally:
                chooser.close()
                self._context.watch(None)
            yield from answer.flush()
            usage = Usage(
                prompt_tokens=prompt.tokens,
                cached_tokens=cached,
                evaluated_tokens=min(self._held.position, prompt.tokens) - cached,
                generated_tokens=answer.generated,
                thought_tokens=answer.thought_tokens,
                forced_tokens=answer.forced_tokens,
                encoded_pictures=self.encoder_passes - passes,
            )
            reason: FinishReason = answer.reason or "end"
            yield Finished(reason, usage, clock.timings(), closed_early=answer.closed_early)

    def _decode(
        self, answer: Answer, chooser: Chooser, clock: Clock, prompt: Prompt
    ) -> Generator[Event, None, None]:
        """Read the prompt up to its last run of tokens, then: evaluate, choose, follow."""
        self._context.watch(lambda: answer.cancelled)
        pending = yield from self._read(prompt)
        opening = answer.opening()
        self._held.evaluate([*pending, *opening])
        self._context.watch(None)
        clock.prompt_read()
        yield from answer.say(opening)
        while answer.reason is None:
            if answer.cancelled:
                answer.reason = "cancelled"
                return
            token = chooser.choose(self._context, answer.constraint)
            if answer.begins(token):
                token = chooser.choose(self._context, answer.constraint)
            tokens = answer.step(token)
            clock.token_chosen()
            yield from answer.say(tokens, chooser.odds)
            if answer.reason is None:
                self._held.evaluate(tokens)

    def _read(self, prompt: Prompt) -> Generator[Event, None, list[int]]:
        """Evaluate what the cache lacks, and mark the points to which the next turn, and another
        question about the same pictures, come back; return the rest, at least the header of the
        answer, not yet evaluated."""
        progress = Progress(prompt.tokens)
        run: list[int] = []
        places = (prompt.settled, prompt.shown)
        for index in range(len(self._held.units), len(prompt.units) + 1):
            if index in places:
                far = self._held.far_from_marks(prompt.units[:index])
                if far or len(run) > self._context.batch_tokens:  # else one batch does it all
                    yield from progress.follow(self._held.iter_evaluate(run))
                    run = []
                if far:
                    self._held.mark()
            if index == len(prompt.units):
                break
            unit = prompt.units[index]
            if isinstance(unit, Media):
                yield from progress.follow(self._held.iter_evaluate(run))
                self._see(unit, prompt.pictures[unit.digest])
                yield from progress.at(self._held.position)
                yield from self._told()
                run = []
            else:
                run.append(unit)
        return run

    def _see(self, unit: Media, picture: Picture) -> None:
        vision = self._vision
        assert vision is not None  # the prompter has refused pictures otherwise
        self._held.see(unit, lambda position: vision.decode(picture, self._context, position))

    def _told(self) -> Iterator[Notice]:
        """That pictures could not be remembered."""
        if self._vision is not None and (problem := self._vision.take_problem()):
            yield Notice(problem)

    @property
    def encoder_passes(self) -> int:
        """How often the projector's encoder has run."""
        return self._vision.sight.passes if self._vision else 0

    def next_logits(self, request: Request) -> NDArray[np.float32]:
        """Read a prompt, from the cache as far as it goes, and return ``float32[vocabulary]``."""
        prompt = self._prompter.prompt(request)
        with self._turnstile:
            self._held.keep_prefix(prompt.units)
            self._held.evaluate(_returned(self._read(prompt)))
            logits: NDArray[np.float32] = self._context.logits().copy()
            return logits

    def measure(self, tokens: int = 32) -> float:
        """Tokens a second of plain decoding, after a warm-up; the cache is empty afterwards."""
        with self._turnstile:
            return measure_speed(self._context, self._held, max(self._model.bos, 0), tokens)

    def cancel(self) -> None:
        """Stop the running answer before its next token."""
        if self._current is not None:
            self._current.cancelled = True

    def close(self) -> None:
        """End an answer that was left open, then free everything. Idempotent."""
        if self._running is not None:
            self._running.close()
            self._running = None
        if self._vision is not None:
            self._vision.close()
        self._context.close()
        self._model.close()


def _returned(work: Generator[Event, None, list[int]]) -> list[int]:
    """What a generator returns; its events are dropped."""
    try:
        while True:
            next(work)
    except StopIteration as end:
        value: list[int] = end.value
        return value


class Warming:
    """A reading of messages that is under way."""

    cancelled = False


def _round_up(tokens: int) -> int:
    """Room for the prompt and an answer, to the next 1,024."""
    return (tokens + 1024 + 1023) // 1024 * 1024
