"""The engine on llama.cpp: prompt to units, units to the cache, and one decode loop."""

from __future__ import annotations

import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
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
from gemma_edge.engine.kv_cache import KvCache, Media, Unit, fingerprint
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
from gemma_edge.engine.prefix_cache import PrefixCache
from gemma_edge.engine.prompt import Prompt, PromptBuilder
from gemma_edge.engine.protocol import (
    Answer,
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
from gemma_edge.engine.scheduler import (
    Alone,
    Done,
    Job,
    Order,
    Scheduler,
    Task,
    Tokens,
    in_batches,
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
        self._scheduler = Scheduler(self._context, model.window, plan)
        self._paces = (Pace(), Pace())  # of free answers, and of those under a constraint
        self._guess_paces = (GuessPace(), GuessPace())
        self._request_lock = RequestLock(plan.sequences)
        self._turn = threading.Lock()  # of the thread that goes a step
        self._answers: weakref.WeakSet[Answer] = weakref.WeakSet()
        self._grammar_vocabulary: GrammarVocabulary | None = None
        self._fingerprint = fingerprint(
            plan, template=model.chat_template, version=VERSION,
            flash_attention=self._context.flash_attention,
        )  # fmt: skip
        self._prefixes: PrefixCache | None = None
        if plan.remember is not None:
            folder = plan.remember / "read"
            self._prefixes = PrefixCache(
                folder, self._fingerprint, plan.remember_bytes, shared=plan.sequences > 1
            )
        smoke_decode(self._context, self._cache, max(model.bos, 0))
        report = end_report()  # with what adapters make of the buffers at the first decode
        self._guesser, beside = open_drafter(plan, model, self._context)
        if self._guesser is not None:
            smoke_decode(self._context, self._cache, max(model.bos, 0))
        self._allocated = (*parse_report(report), *beside)
        fallback = fallback_note(plan, model.layers, parse_splits(report))
        self._notes = (*self._prompter.notes, *judge_load(plan, self._allocated))
        self._notes += (fallback,) if fallback else ()

    @property
    def _cache(self) -> KvCache:
        """What was used last."""
        return self._scheduler.latest

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
            thinks=self._vocabulary.opens is not None and "enable_thinking" in model.chat_template,
            calls=None not in self._vocabulary.calls,
        )  # fmt: skip

    @staticmethod
    def loading(seconds: float = 0.0) -> Loading | None:
        return None

    def render(self, request: Request) -> str:
        """The prompt as text, each picture as its slot; for people, peers and tests."""
        return self._prompter.render(request)

    def count(self, request: Request) -> PromptCount:
        return self._prompter.prompt(request).count

    def generate(self, request: Request) -> Answer:
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
        making = partial(self._generate, request, answer, prompt)
        return self._begin(self._job(prompt, making, limit, fresh=request.fresh))

    def warm(self, request: Request) -> Answer:
        prompt = self._prompter.prompt(request).history()
        if prompt.tokens > self._plan.context_tokens:
            raise self._overflow(prompt.tokens)
        return self._begin(self._job(prompt, partial(self._warm, prompt), warms=True))

    def _job(
        self, prompt: Prompt, task: Callable[[Job], Task], limit: int = 0, *,
        fresh: bool = False, warms: bool = False,
    ) -> Job:  # fmt: skip
        def read_again(job: Job, units: Sequence[Unit]) -> Task:
            run = yield from self._read(job, replace(prompt, units=units), Clock())
            yield from self._evaluate(run)

        places = (prompt.history_units, prompt.shown, *prompt.documents[-1:])
        return Job(prompt.units, limit, task, read_again, fresh=fresh, warms=warms, places=places)

    def _begin(self, job: Job) -> Answer:
        answer = Answer(self._events(job), partial(setattr, job, "cancelled", True))
        self._answers.add(answer)
        return answer

    def _events(self, job: Job) -> Generator[Event | None, None, None]:
        """Those of one answer, and None after a step without any. Whoever waits for one goes a step
        with all that are under way, if nobody else went one since it looked last."""
        seen = -1
        with self._request_lock.answering():
            try:
                with self._turn:
                    self._scheduler.add(job)
                while True:
                    with self._turn:
                        if not (job.events or job.over) and seen in (-1, self._scheduler.steps):
                            self._scheduler.step()
                        seen = self._scheduler.steps
                        events, job.events = job.events, deque()
                        over = job.over
                    yield from events
                    if over:
                        break
                    yield None
                if job.error is not None:
                    raise job.error
            finally:
                job.left = True

    def _warm(self, prompt: Prompt, job: Job) -> Task:
        clock, passes = Clock(), self.encoder_passes
        restored = self._restore(job, prompt, clock)
        cached = job.cache.position
        reason: FinishReason = "end"
        try:
            if prompt.units and job.cache.units != prompt.units:
                yield from self._evaluate((yield from self._read(job, prompt, clock)))
        except Aborted:
            reason = "cancelled"
        clock.prompt_read()
        yield from self._take_notes()
        usage = Usage(
            prompt_tokens=prompt.tokens, cached_tokens=cached, restored_tokens=restored,
            evaluated_tokens=job.cache.position - cached, generated_tokens=0,
            encoded_pictures=self.encoder_passes - passes,
        )  # fmt: skip
        yield Finished(reason, usage, clock.timings())

    def save(self, path: Path) -> int:
        with self._request_lock.alone():
            part = self._cache.copy_out(path, self._fingerprint)
        return part.finish()

    def restore(self, path: Path) -> Restored:
        with self._request_lock.alone():
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
            if isinstance(constraint, JsonConstraint):
                vocabulary = self._grammar_vocabulary
                assert vocabulary is not None  # it was needed for the constraint
                grounding = constraint.grounding
                text = grounding.text if grounding else request.messages[-1].text
                lookups.append(ValueLookup(text, vocabulary.encode, self._model.piece))
            lookups.append(TokenLookup([unit for unit in prompt.units if isinstance(unit, int)]))
        held = request.constraint is not None
        return Drafter(lookups, self._paces[held], self._guesser, self._guess_paces[held])

    def _generate(self, request: Request, answer: RunningAnswer, prompt: Prompt, job: Job) -> Task:
        """Read the prompt up to its last run of tokens, then: evaluate, choose, follow."""
        sampler = Sampler(
            request.sampling, self._defaults, self._model, scored=request.scored, top=request.top
        )
        clock, passes = Clock(), self.encoder_passes
        restored = self._restore(job, prompt, clock)
        cached = job.cache.position
        steps = Steps(job, self._drafter(request, prompt), self._context.batch_tokens)
        try:
            pending = yield from self._read(job, prompt, clock)
            opening = answer.opening()
            steps.row = yield from self._evaluate([*pending, *opening])
            clock.prompt_read()
            yield from answer.emit(opening)
            while answer.reason is None:
                if job.cancelled:
                    answer.reason = "cancelled"
                    break
                token = sampler.choose(self._context, answer.constraint, steps.row)
                if answer.begins(token):
                    token = sampler.choose(self._context, answer.constraint, steps.row)
                tokens = answer.step(token)
                clock.token_chosen()
                yield from answer.emit(tokens, sampler.odds)
                if answer.reason is None:
                    yield from steps.follow(tokens, answer)
        except Aborted:
            answer.reason = "cancelled"
        finally:
            sampler.close()
        steps.end()
        yield from answer.flush()
        if self._guesser is not None and (problem := self._guesser.take_problem()):
            yield Notice(problem)
        if self._prefixes is not None:
            self._prefixes.wait()
        yield from self._take_notes()
        usage = Usage(
            prompt_tokens=prompt.tokens, cached_tokens=cached, restored_tokens=restored,
            evaluated_tokens=min(job.cache.position, prompt.tokens) - cached,
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

    def _evaluate(self, tokens: Sequence[int]) -> Generator[Tokens, Done | None, int]:
        """Of a prompt; return the row of the last one's logits."""
        row = -1
        for part in in_batches(tokens, self._context.batch_tokens):
            done = yield Tokens(part, read=True)
            assert done is not None
            row = done.row(part)
        return row

    def _restore(self, job: Job, prompt: Prompt, clock: Clock) -> int:
        """Take back from the disk what was kept of a prompt, if that is more than the cache of its
        job holds; how many tokens."""
        if self._prefixes is None or job.fresh:
            return 0
        held = job.cache.position
        restored = self._prefixes.take(job.cache, prompt, self._plan.context_tokens)
        if job.cache.position != held:
            self._scheduler.let_go(job.cache)
        if restored.tokens:
            clock.restored(restored.read_seconds)
        if restored.tokens and not job.warms:
            job.cache.keep_prefix(prompt.units)  # something is left to choose a word after
        return restored.tokens

    def _take_notes(self) -> Iterator[Notice]:
        yield from map(Notice, self._prefixes.take_notes() if self._prefixes else ())

    def _read(
        self, job: Job, prompt: Prompt, clock: Clock
    ) -> Generator[Event | Order, Done | None, list[int]]:
        """Evaluate what the cache lacks, and save checkpoints to which the next turn, and another
        question about the same pictures or documents, come back; return the rest, at least the
        header of the answer, not yet evaluated."""
        progress = PromptProgress(prompt.tokens)
        run: list[int] = []
        size = self._context.batch_tokens
        begun = job.cache.position
        for index in range(len(job.cache.units), len(prompt.units) + 1):
            unit = prompt.units[index] if index < len(prompt.units) else None
            place = index in job.places
            far = place and job.cache.worth_checkpoint(prompt.units[:index])
            kept = self._prefixes is not None and self._prefixes.wants(prompt, index)
            if far or kept or isinstance(unit, Media) or (place and len(run) > size):
                for part in in_batches(run, size):
                    yield Tokens(part, read=True)
                    yield from progress.at(job.cache.position)
                run = []
            if kept:
                self._keep(job.cache, clock, begun)
            if far:
                job.cache.save_checkpoint()
            if isinstance(unit, Media):
                vision = self._vision
                assert vision is not None  # the prompter has refused pictures otherwise
                see = partial(vision.decode, prompt.pictures[unit.digest], self._context)
                yield Alone(partial(_see, job, unit, see))
                yield from progress.at(job.cache.position)
                if problem := vision.take_problem():
                    yield Notice(problem)
            elif unit is not None:
                run.append(unit)
        return run

    def _keep(self, cache: KvCache, clock: Clock, begun: int) -> None:
        """Keep on disk what a cache holds, which was read from the position ``begun`` on."""
        assert self._prefixes is not None  # else it wants nothing
        self._context.wait()
        seconds = clock.rate(cache.position - begun) * cache.position
        self._prefixes.keep(cache, seconds)

    @property
    def encoder_passes(self) -> int:
        return self._vision.cache.passes if self._vision else 0

    def next_logits(self, request: Request) -> NDArray[np.float32]:
        """Read a prompt, from the cache as far as it goes, and return ``float32[vocabulary]``."""
        prompt = self._prompter.prompt(request)
        found: list[NDArray[np.float32]] = []

        def task(job: Job) -> Task:
            run = yield from self._read(job, prompt, Clock())
            row = yield from self._evaluate(run)
            found.append(self._context.logits(row).copy())

        list(self._begin(self._job(prompt, task)))
        return found[0]

    def measure(self, tokens: int = 32, *, filled: bool = False) -> float:
        with self._request_lock.alone():
            cache = self._cache if filled else self._scheduler.forget()
            return measure_speed(self._context, cache, max(self._model.bos, 0), tokens)

    def cancel(self) -> None:
        for answer in list(self._answers):
            answer.cancel()

    def close(self) -> None:
        for answer in list(self._answers):
            answer.close()
        self._scheduler.close()
        if self._prefixes is not None:
            self._prefixes.wait()
        if self._vision is not None:
            self._vision.close()
        self._prompter.close()
        if self._guesser is not None:
            self._guesser.close()
        self._context.close()
        self._model.close()


def _see(job: Job, unit: Media, decode: Callable[[int, int], None]) -> None:
    job.cache.see(unit, decode)


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

    def __init__(self, job: Job, drafter: Drafter, batch_tokens: int) -> None:
        self.drafter = drafter
        self.row = -1
        self._job, self._batch_tokens = job, batch_tokens
        self._drafted: list[Segment] = []
        self._rows: list[int] = []
        self._accepted = 0

    def follow(
        self, tokens: list[int], answer: RunningAnswer
    ) -> Generator[Tokens, Done | None, None]:
        """Go on by what was chosen: with the draft, if it says the same, else with another."""
        if self._accepted < len(self._drafted) and self._drafted[self._accepted] == tokens:
            self._accepted += 1
            self.row = self._rows[self._accepted]
            return
        self.end()
        most = min(MOST, self._job.rows - 1, answer.limit - answer.generated - 1)
        self.drafter.beside = self._job.beside
        drafted = self.drafter.draft(tokens, answer.constraint, most, self._place)
        ahead = [token for segment in drafted for token in segment]
        if len(tokens) + len(ahead) > self._batch_tokens:
            drafted, ahead = [], []
        rows = list(rows_of(tokens, drafted)) if ahead else None
        done = Done()
        for part in in_batches([*tokens, *ahead], self._batch_tokens):
            done = (yield Tokens(part, rows)) or done
            self.row = done.row(part)
        self.drafter.took(done.tokens, len(drafted), done.seconds)
        if rows is not None:  # of one batch
            self._drafted, self._rows = drafted, [done.first + row for row in rows]
            self.row = self._rows[0]

    @property
    def _place(self) -> Place:
        return Place(self._job.cache.position, self.row, self._job.cache.sequence)

    def end(self) -> None:
        """Take back what was drafted in vain."""
        self.drafter.judge(self._accepted, len(self._drafted))
        self._job.cache.drop(sum(map(len, self._drafted[self._accepted :])))
        accepted = [token for each in self._drafted[: self._accepted] for token in each]
        self.drafter.add(accepted)
        self._drafted, self._accepted = [], 0


class Clock:
    """Started with the answer; in seconds."""

    def __init__(self) -> None:
        self._start = self._began = time.perf_counter()
        self._read = self._first = self._saved = 0.0

    def restored(self, read_seconds: float) -> None:
        """Something came from the disk that once took so long to read."""
        self._began = time.perf_counter()
        self._saved = max(0.0, read_seconds - (self._began - self._start))

    def rate(self, tokens: int) -> float:
        """Seconds a token, of those that were read since the start or what was restored."""
        return (time.perf_counter() - self._began) / tokens if tokens else 0.0

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
            saved_seconds=self._saved,
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
