"""The engine on llama.cpp: prompt to units, units to the cache, and one decode loop."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gemma_edge.engine.answer import AnswerVocabulary, RunningAnswer, Sampler, model_sampling
from gemma_edge.engine.drafting import (
    MOST,
    Drafter,
    GuessPace,
    Lookup,
    Pace,
    Place,
    Segment,
    TokenLookup,
    ValueLookup,
    rows_of,
)
from gemma_edge.engine.fallback import RequestLock
from gemma_edge.engine.kv_cache import KvCache, Media, fingerprint
from gemma_edge.engine.llama import (
    VERSION,
    Aborted,
    LlamaContext,
    LlamaModel,
    add_adapters,
    end_report,
    grammar_vocabulary,
    start_report,
)
from gemma_edge.engine.mtp import MtpDrafter
from gemma_edge.engine.prompt import Prompt, PromptBuilder
from gemma_edge.engine.protocol import (
    EngineInfo,
    Event,
    Finished,
    FinishReason,
    JsonConstraint,
    Loading,
    Notice,
    Prefill,
    PromptCount,
    Request,
    Restored,
    Timings,
    Usage,
)
from gemma_edge.engine.vision import LlamaVision
from gemma_edge.errors import DoesNotFit, EngineError
from gemma_edge.planning.dry_run import differences, fallback_note, parse_report, parse_splits
from gemma_edge.planning.plan import Allocated, Plan
from gemma_edge.units import render_tokens

if TYPE_CHECKING:
    from gemma_edge.engine.constraint import GrammarVocabulary


class LlamaEngine:
    """Gemma 4, or any other GGUF that llama.cpp reads, as an ``Engine``. ``forcing=False`` is for
    measurements: what do forced tokens save? ``flash_attention=False`` is for proofs: on a CPU it
    adds in 16 bits, so the order of cells shows."""

    def __init__(
        self, plan: Plan, *, forcing: bool = True, flash_attention: bool = True,
        tell: Callable[[float], None] | None = None,
    ) -> None:  # fmt: skip
        self._plan = plan
        self._forcing = forcing
        start_report()
        self._model = LlamaModel(plan.model, plan, tell=tell)
        self._context = LlamaContext(self._model, plan, flash_attention=flash_attention)
        add_adapters(self._model, self._context, plan.adapters)
        self._vision: LlamaVision | None = None
        if plan.projector is not None:
            self._vision = LlamaVision(plan.projector, self._model, plan)
        model = self._model
        self._prompter = PromptBuilder(model, self._vision.markers if self._vision else None)
        self._vocabulary = AnswerVocabulary(
            piece=model.piece, ends=model.ends, opens=model.token("<|channel>"),
            closes=model.token("<channel|>"), newline=model.tokenize("\n", special=False),
            calls=(model.token("<|tool_call>"), model.token("<tool_call|>")),
        )  # fmt: skip
        self._defaults = model_sampling(model)
        self._cache = KvCache(self._context, model.window)
        self._paces = (Pace(), Pace())  # of free answers, and of those under a constraint
        self._guess_paces = (GuessPace(), GuessPace())
        self._request_lock = RequestLock()
        self._running: Generator[Event, None, None] | None = None
        self._current: RunningAnswer | Warming | None = None
        self._grammar_vocabulary: GrammarVocabulary | None = None
        self._fingerprint = fingerprint(
            plan, template=model.chat_template, version=VERSION,
            flash_attention=self._context.flash_attention,
        )  # fmt: skip
        report = end_report()
        self._guesser, beside = open_drafter(plan, model, self._context)
        smoke_decode(self._context, self._cache, max(model.bos, 0))
        self._allocated = (*parse_report(report), *beside)
        fallback = fallback_note(plan, model.layers, parse_splits(report))
        self._notes = (*self._prompter.notes, *judge_load(plan, self._allocated))
        self._notes += (fallback,) if fallback else ()

    @property
    def info(self) -> EngineInfo:
        model = self._model
        return EngineInfo(
            name=self._plan.name or model.metadata("general.name") or self._plan.model.stem,
            architecture=model.metadata("general.architecture"),
            context_tokens=self._plan.context_tokens,
            trained_context_tokens=model.trained_context_tokens, vision=self._vision is not None,
            device=model.device, gpu_layers=model.gpu_layers, layers=model.layers,
            sampling=self._defaults, notes=self._notes, allocated=self._allocated, plan=self._plan,
        )  # fmt: skip

    @staticmethod
    def loading(seconds: float = 0.0) -> Loading | None:
        return None

    def render(self, request: Request) -> str:
        """The prompt as text, each picture as its slot; for people, peers and tests."""
        return self._prompter.render(request)

    def count(self, request: Request) -> PromptCount:
        return self._prompter.prompt(request).count

    def generate(self, request: Request) -> Iterator[Event]:
        prompt = self._prompter.prompt(request)
        prompt_tokens = prompt.tokens
        space = self._plan.context_tokens - prompt_tokens
        if space <= 0:
            raise self._overflow(prompt_tokens)
        limit = space if request.max_tokens is None else min(request.max_tokens, space)
        answer = self._answer(request, limit)
        if answer.shortest > space:
            raise DoesNotFit(
                f"the prompt takes {prompt_tokens:,} of {render_tokens(self._plan.context_tokens)} "
                f"and the shortest answer to this schema {answer.shortest:,}: too much",
                hint=f"--ctx {prompt_tokens + 2 * answer.shortest}",
            )
        if not self._request_lock.busy:
            self._current = answer  # to be cancelled before its first event too
        self._running = self._generate(request, answer, prompt)
        return self._running

    def warm(self, request: Request) -> Iterator[Event]:
        prompt = self._prompter.prompt(request).history()
        if prompt.tokens > self._plan.context_tokens:
            raise self._overflow(prompt.tokens)
        warming = Warming()
        if not self._request_lock.busy:
            self._current = warming
        self._running = self._warm(warming, prompt)
        return self._running

    def _warm(self, warming: Warming, prompt: Prompt) -> Generator[Event, None, None]:
        with self._request_lock:
            self._current = warming
            clock, passes = Clock(), self.encoder_passes
            cached = self._cache.position
            reason: FinishReason = "end"
            try:
                if prompt.units and self._cache.units != prompt.units:
                    cached = self._cache.keep_prefix(prompt.units)
                    self._context.watch(lambda: warming.cancelled)
                    self._cache.evaluate((yield from self._read(prompt)))
            except Aborted:
                reason = "cancelled"
            finally:
                self._context.watch(None)
            clock.prompt_read()
            usage = Usage(
                prompt_tokens=prompt.tokens, cached_tokens=cached,
                evaluated_tokens=self._cache.position - cached, generated_tokens=0,
                encoded_pictures=self.encoder_passes - passes,
            )  # fmt: skip
            yield Finished(reason, usage, clock.timings())

    def save(self, path: Path) -> int:
        with self._request_lock:
            part = self._cache.copy_out(path, self._fingerprint)
        return part.finish()

    def restore(self, path: Path) -> Restored:
        with self._request_lock:
            return self._cache.take_back(path, self._fingerprint, self._plan.context_tokens)

    def _overflow(self, prompt_tokens: int) -> DoesNotFit:
        trained = self._model.trained_context_tokens
        hint = f"--ctx {(prompt_tokens + 2047) // 1024 * 1024} reads it"
        if prompt_tokens >= trained:
            hint = f"this model reads at most {render_tokens(trained)}: give it less text"
        return DoesNotFit(
            f"the prompt needs {render_tokens(prompt_tokens)}, "
            f"the context holds {self._plan.context_tokens:,}",
            hint=hint,
        )

    def _answer(self, request: Request, limit: int) -> RunningAnswer:
        model = self._model
        constraint = None
        if request.constraint is not None:
            from gemma_edge.engine.constraint import GrammarConstraint  # noqa: PLC0415

            if self._grammar_vocabulary is None:
                self._grammar_vocabulary = grammar_vocabulary(model)
            constraint = GrammarConstraint(self._grammar_vocabulary, request.constraint)
        return RunningAnswer(
            request, self._vocabulary, limit=limit, constraint=constraint, forcing=self._forcing
        )

    def _drafter(self, request: Request, prompt: Prompt) -> Drafter:
        """What drafts this answer: nothing, where it is not to, or cannot be taken back."""
        lookups: list[Lookup] = []
        if self._plan.draft == "lookup" and self._model.can_take_back:
            constraint = request.constraint
            if isinstance(constraint, JsonConstraint) and constraint.grounding is not None:
                vocabulary = self._grammar_vocabulary
                assert vocabulary is not None  # it was needed for the constraint
                text = constraint.grounding.text
                lookups.append(ValueLookup(text, vocabulary.encode, self._model.piece))
            lookups.append(TokenLookup([unit for unit in prompt.units if isinstance(unit, int)]))
        held = request.constraint is not None
        return Drafter(lookups, self._paces[held], self._guesser, self._guess_paces[held])

    def _generate(
        self, request: Request, answer: RunningAnswer, prompt: Prompt
    ) -> Generator[Event, None, None]:
        """Read the prompt up to its last run of tokens, then: evaluate, choose, follow."""
        with self._request_lock:
            self._current = answer
            sampler = Sampler(request.sampling, self._defaults, self._model, scored=request.scored)
            clock, passes = Clock(), self.encoder_passes
            steps = Steps(self._cache, self._drafter(request, prompt), self._context.batch_tokens)
            try:
                if request.fresh:
                    self._cache.forget()
                cached = self._cache.keep_prefix(prompt.units)
                self._context.watch(lambda: answer.cancelled)
                pending = yield from self._read(prompt)
                opening = answer.opening()
                self._cache.evaluate([*pending, *opening])
                self._context.watch(None)
                clock.prompt_read()
                yield from answer.emit(opening)
                while answer.reason is None:
                    if answer.cancelled:
                        answer.reason = "cancelled"
                        break
                    token = sampler.choose(self._context, answer.constraint, steps.row)
                    if answer.begins(token):
                        token = sampler.choose(self._context, answer.constraint, steps.row)
                    tokens = answer.step(token)
                    clock.token_chosen()
                    yield from answer.emit(tokens, sampler.odds)
                    if answer.reason is None:
                        steps.follow(tokens, answer)
            except Aborted:
                answer.reason = "cancelled"
            finally:
                sampler.close()
                self._context.watch(None)
            steps.end()
            yield from answer.flush()
            if self._guesser is not None and (problem := self._guesser.take_problem()):
                yield Notice(problem)
            usage = Usage(
                prompt_tokens=prompt.tokens, cached_tokens=cached,
                evaluated_tokens=min(self._cache.position, prompt.tokens) - cached,
                generated_tokens=answer.generated, thought_tokens=answer.thought_tokens,
                forced_tokens=answer.forced_tokens, encoded_pictures=self.encoder_passes - passes,
                drafted_tokens=steps.drafter.drafted, accepted_tokens=steps.drafter.accepted,
                guessed_tokens=steps.drafter.guessed,
                guesses_accepted=steps.drafter.guesses_accepted,
                guess_seconds=steps.drafter.guess_seconds,
            )  # fmt: skip
            reason: FinishReason = answer.reason or "end"
            timings = clock.timings(sampler.mask_seconds)
            yield Finished(reason, usage, timings, closed_early=answer.closed_early)

    def _read(self, prompt: Prompt) -> Generator[Event, None, list[int]]:
        """Evaluate what the cache lacks, and save checkpoints to which the next turn, and another
        question about the same pictures, come back; return the rest, at least the header of the
        answer, not yet evaluated."""
        progress = PromptProgress(prompt.tokens)
        run: list[int] = []
        size = self._context.batch_tokens
        places = (prompt.history_units, prompt.shown)
        for index in range(len(self._cache.units), len(prompt.units) + 1):
            unit = prompt.units[index] if index < len(prompt.units) else None
            far = index in places and self._cache.worth_checkpoint(prompt.units[:index])
            if far or isinstance(unit, Media) or (index in places and len(run) > size):
                for start in range(0, len(run), size):
                    self._cache.evaluate(run[start : start + size])
                    yield from progress.at(self._cache.position)
                run = []
            if far:
                self._cache.save_checkpoint()
            if isinstance(unit, Media):
                vision = self._vision
                assert vision is not None  # the prompter has refused pictures otherwise
                see = partial(vision.decode, prompt.pictures[unit.digest], self._context)
                self._cache.see(unit, see)
                yield from progress.at(self._cache.position)
                if problem := vision.take_problem():
                    yield Notice(problem)
            elif unit is not None:
                run.append(unit)
        return run

    @property
    def encoder_passes(self) -> int:
        return self._vision.cache.passes if self._vision else 0

    def next_logits(self, request: Request) -> NDArray[np.float32]:
        """Read a prompt, from the cache as far as it goes, and return ``float32[vocabulary]``."""
        prompt = self._prompter.prompt(request)
        with self._request_lock:
            self._cache.keep_prefix(prompt.units)
            self._cache.evaluate(_returned(self._read(prompt)))
            logits: NDArray[np.float32] = self._context.logits().copy()
            return logits

    def measure(self, tokens: int = 32, *, filled: bool = False) -> float:
        with self._request_lock:
            if not filled:
                self._cache.forget()
            return measure_speed(self._context, self._cache, max(self._model.bos, 0), tokens)

    def cancel(self) -> None:
        if self._current is not None:
            self._current.cancelled = True

    def close(self) -> None:
        if self._running is not None:
            self._running.close()
            self._running = None
        if self._vision is not None:
            self._vision.close()
        self._prompter.close()
        if self._guesser is not None:
            self._guesser.close()
        self._context.close()
        self._model.close()


_WARM_UP_TOKENS = 4


def smoke_decode(context: LlamaContext, cache: KvCache, token: int) -> None:
    """Evaluate one token and look at the result; the cache is empty afterwards. It reads the
    weights once, so the first question does not wait for the disk. Raises EngineError: what comes
    out are no numbers."""
    cache.evaluate([token])
    sound = bool(np.isfinite(context.logits()).all())
    cache.forget()
    if not sound:
        raise EngineError(
            "the first decode gave no numbers: the weights are damaged, or llama.cpp computes wrong"
            " here",
            hint="gemma-edge verify checks the file, gemma-edge doctor the build",
        )


def open_drafter(
    plan: Plan, model: LlamaModel, context: LlamaContext
) -> tuple[MtpDrafter | None, tuple[Allocated, ...]]:
    """The plan's drafter, and what llama.cpp allocated for it."""
    if plan.drafter is None or plan.draft == "off":
        return None, ()
    start_report()
    drafter = MtpDrafter(plan.drafter, model, context, plan)
    rows = parse_report(end_report())  # those of its model's cache, which it shares, have no place
    return drafter, tuple(replace(row, part="drafter") for row in rows if row.place)


def judge_load(plan: Plan, allocated: tuple[Allocated, ...]) -> tuple[str, ...]:
    """Where llama.cpp's own report differs from the ledger, as sentences.
    Raises EngineError: the plan uses a GPU on which llama.cpp put nothing."""
    used = [(row.place, row.part) for row in allocated]
    shares = plan.split or (1,) * len(plan.devices)
    for device, share in zip(plan.devices, shares, strict=True):
        if plan.gpu_layers and share and not {(device, "weights"), (device, "compute")} <= {*used}:
            raise EngineError(
                f"the plan computes on {device}, but llama.cpp put nothing there",
                hint="gemma-edge doctor finds out why",
            )
    return differences(plan.ledger, allocated) if plan.ledger is not None else ()


def measure_speed(context: LlamaContext, cache: KvCache, token: int, tokens: int) -> float:
    """Tokens a second, one after another and greedy, behind what the cache holds; left empty."""
    cache.evaluate([token] * _WARM_UP_TOKENS)
    started = time.perf_counter()
    for _ in range(tokens):
        cache.evaluate([int(context.logits().argmax())])
    seconds = time.perf_counter() - started
    cache.forget()
    return tokens / seconds


class Steps:
    """What is evaluated after each choice: what was chosen, and a draft behind it. ``row`` is the
    place in the last batch whose logits the next choice is made from."""

    def __init__(self, cache: KvCache, drafter: Drafter, batch_tokens: int) -> None:
        self.drafter = drafter
        self.row = -1
        self._cache, self._batch_tokens = cache, batch_tokens
        self._drafted: list[Segment] = []
        self._rows: list[int] = []
        self._accepted = 0

    def follow(self, tokens: list[int], answer: RunningAnswer) -> None:
        """Go on by what was chosen: with the draft, if it says the same, else with another."""
        if self._accepted < len(self._drafted) and self._drafted[self._accepted] == tokens:
            self._accepted += 1
            self.row = self._rows[self._accepted]
            return
        self.end()
        left = answer.limit - answer.generated
        self._drafted = self.drafter.draft(
            tokens, answer.constraint, min(MOST, left - 1), Place(self._cache.position, self.row)
        )
        ahead = [token for segment in self._drafted for token in segment]
        if len(tokens) + len(ahead) > self._batch_tokens:
            self._drafted, ahead = [], []
        self._rows = list(rows_of(tokens, self._drafted)) if ahead else []
        started = time.perf_counter()
        self._cache.evaluate([*tokens, *ahead], self._rows)
        self._cache.wait()
        self.drafter.took(len(tokens) + len(ahead), time.perf_counter() - started)
        self.row = self._rows[0] if ahead else -1

    def end(self) -> None:
        """Take back what was drafted in vain."""
        self.drafter.judge(self._accepted, len(self._drafted))
        self._cache.drop(sum(map(len, self._drafted[self._accepted :])))
        accepted = [token for each in self._drafted[: self._accepted] for token in each]
        self.drafter.add(accepted)
        self._drafted, self._accepted = [], 0


class Clock:
    """Started with the answer; in seconds."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self._read = self._first = 0.0

    def prompt_read(self) -> None:
        self._read = time.perf_counter()

    def token_chosen(self) -> None:
        self._first = self._first or time.perf_counter()

    def timings(self, mask_seconds: float = 0.0) -> Timings:
        now = time.perf_counter()
        read = self._read or now
        return Timings(
            prompt_seconds=read - self._start,
            first_token_seconds=(self._first or now) - self._start,
            decode_seconds=now - read,
            mask_seconds=mask_seconds,
        )


_QUIET_SECONDS = 1.0
_PAUSE_SECONDS = 0.25


class PromptProgress:
    """``Prefill`` events for a prompt of ``total_tokens``: none in the first second, then at most
    four a second. ``clock`` is in seconds."""

    def __init__(self, total_tokens: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._total_tokens = total_tokens
        self._clock = clock
        self._next = clock() + _QUIET_SECONDS

    def at(self, position: int) -> Iterator[Prefill]:
        now = self._clock()
        if now >= self._next:
            self._next = now + _PAUSE_SECONDS
            yield Prefill(position, self._total_tokens)


class Warming:
    """A reading of messages that is under way."""

    cancelled = False


def _returned(work: Generator[Event, None, list[int]]) -> list[int]:
    try:
        while True:
            next(work)
    except StopIteration as end:
        value: list[int] = end.value
        return value
