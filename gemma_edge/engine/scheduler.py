"""Several answers in one context of llama.cpp: what each wants evaluated next goes into one batch.

An answer is a generator, a ``Task``: it yields events, and what it wants evaluated, and goes on
when that is done. Alone it gets the batches that it asks for. Beside others, each choice that has
to be made is in every batch, and a prompt is read bit by bit, so that nobody waits for a long one.
All share the cells of the cache: what a prompt has in common with another is taken from there; what
is kept for later goes first when they run out, then the answer that began last, which is read again
when there is room.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress

from gemma_edge.engine.kv_cache import KvCache, Unit, common_prefix, position_of, undone
from gemma_edge.engine.llama import Aborted, LlamaContext, NoCells
from gemma_edge.engine.protocol import Event
from gemma_edge.errors import EngineError, OutOfMemory
from gemma_edge.planning.memory import output_rows
from gemma_edge.planning.plan import Plan
from gemma_edge.records import dataclass


@dataclass(frozen=True, slots=True)
class Tokens:
    """To be evaluated in one batch; ``rows`` are the places among them whose logits are wanted,
    None for the last. Those that are only ``read`` may be evaluated bit by bit, and are given up
    where the answer is cancelled."""

    tokens: Sequence[int]
    rows: Sequence[int] | None = None
    read: bool = False
    before: int = 0  # so many of it were evaluated already


@dataclass(frozen=True, slots=True)
class Alone:
    """To be done between two batches: a picture."""

    do: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Done:
    """``first`` is the place of the first token, in a batch of so many ``tokens``, that took so
    many ``seconds``."""

    first: int = 0
    tokens: int = 0
    seconds: float = 0.0

    def row(self, tokens: Sequence[int]) -> int:
        """The place of the last of these."""
        return self.first + len(tokens) - 1


Order = Tokens | Alone
Part = tuple["Job", Sequence[int], Sequence[int]]
"""Of a batch: whose, the tokens, and the rows among them whose logits are wanted."""
Task = Generator[Event | Order, Done | None, None]

SHARED_TOKENS = 64  # of a common beginning that is worth a wait, or a checkpoint
_ROOM_TOKENS = 512  # that an answer is given to begin with
_READ_SECONDS = 0.25  # of reading, between two tokens of others
_LEAST_READ, _FIRST_READ = 16, 64  # tokens at once; before anything was measured
_LEARN = 0.2
# From so many tokens in a batch on, ggml's attention on the CPU goes by tiles of so many rows: each
# cell that one of them may see is computed for all. That is quick for a prompt, which skips what
# is of others, and slow for rows of many answers, which together see all cells.
_TILE = 64


def in_batches(tokens: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    """As much at once as a batch takes."""
    return (tokens[start : start + size] for start in range(0, len(tokens), size))


class Job:
    """An answer that is under way, or waits for room. ``task`` makes it in the cache that it is
    given; ``read_again`` brings units back that it had to give up. ``places`` are the numbers of
    units behind which it comes by with all of them in its cache. One that ``warms`` wants the units
    there and no logits."""

    def __init__(  # noqa: PLR0913  (what is read, and what is made of it)
        self, units: Sequence[Unit], limit: int, task: Callable[[Job], Task],
        read_again: Callable[[Job, Sequence[Unit]], Task], *, fresh: bool = False,
        warms: bool = False, places: Sequence[int] = (),
    ) -> None:  # fmt: skip
        self.units, self.fresh, self.warms = units, fresh, warms
        self.places = set(places)
        self.room = position_of(units, len(units)) + min(limit, _ROOM_TOKENS)
        self.events: deque[Event] = deque()
        self.error: Exception | None = None
        self.over = self.cancelled = False
        self.left = False  # nobody takes its events any more
        self.order: Order | None = None
        self.beside = 0  # other answers under way
        self.rows = 0  # of logits that it may ask for
        self._task, self._read_again = task(self), read_again
        self._again: Task | None = None
        self._waiting: tuple[Order, list[Unit]] | None = None  # what was given up
        self._cache: KvCache | None = None

    @property
    def cache(self) -> KvCache:
        assert self._cache is not None  # it is under way
        return self._cache

    @property
    def is_reading(self) -> bool:
        return isinstance(self.order, Tokens) and self.order.read

    @property
    def wanted(self) -> Sequence[Unit]:
        """What is to be in its cache first."""
        return self._waiting[1] if self._waiting else self.units

    def begin(self, cache: KvCache) -> None:
        self._cache = cache
        if self._waiting is not None:
            self._again = self._read_again(self, self._waiting[1])
        self.go_on(None)

    def give_up(self) -> None:
        """Leave the cache, and remember what was in it."""
        if self._again is None:
            assert self.order is not None
            self._waiting = (self.order, [*self.cache.units])
        assert self._waiting is not None
        held = self._waiting[1]
        self.room = position_of(held, len(held)) + _ROOM_TOKENS
        self._again, self.order = None, None
        self.cache.forget()
        self._cache = None

    def go_on(self, done: Done | None, *, aborted: bool = False) -> None:
        """Up to its next order, or its end."""
        try:
            if self._again is not None and not aborted:
                with suppress(StopIteration):
                    self.order = self._run(self._again, done)
                    return
                assert self._waiting is not None
                self.order, self._again, self._waiting = self._waiting[0], None, None
                return
            if aborted:
                self._again = self._waiting = None
                self.order = self._run(self._task, self._task.throw(Aborted()))
            else:
                self.order = self._run(self._task, done)
        except StopIteration:
            self._end()
        except Exception as error:  # noqa: BLE001  (raised where its events are taken)
            self._end(error)

    def _run(self, task: Task, done: Done | Event | Order | None) -> Order:
        said = task.send(done) if done is None or isinstance(done, Done) else done
        while not isinstance(said, Order):
            self.events.append(said)
            said = task.send(None)
        return said

    def fail(self, error: Exception) -> None:
        self._task.close()
        self._end(error)

    def _end(self, error: Exception | None = None) -> None:
        self.error, self.over, self.order = error, True, None

    def close(self) -> None:
        """Without another word."""
        self._task.close()
        self._end()


class Scheduler:
    """Takes ``Job``s, as many at once as the context has sequences, and goes on ``step`` by step.
    ``rows`` of logits can be had of a batch. One thread at a time."""

    def __init__(self, context: LlamaContext, window: int, plan: Plan) -> None:
        self._context, self._rows, self._cells = context, output_rows(plan), plan.context_tokens
        self._patient = plan.patient
        self._window = window
        self._slots = [KvCache(context, window, number) for number in range(context.sequences)]
        self._used: list[KvCache] = [*self._slots]  # in the order in which they were
        self._warmed: set[KvCache] = set()  # a question about what they hold is about to come
        self._lent: dict[KvCache, tuple[KvCache, int]] = {}  # from which, and how many positions
        self._jobs: list[Job] = []  # under way, the oldest first
        self._held: deque[Job] = deque()  # wait for room
        self._token_seconds = 0.0  # of reading
        self._was_alone = False
        self._tiles = not plan.gpu_layers and plan.kv_type == "f16"
        self._read_left = 0  # tokens of prompts that may be read before answers go on
        self.steps = 0

    @property
    def latest(self) -> KvCache:
        """The cache that was used last."""
        return self._used[-1]

    @property
    def is_idle(self) -> bool:
        return not self._jobs and not self._held

    def add(self, job: Job) -> None:
        self._held.append(job)
        self._free_places()
        self._admit()

    def close(self) -> None:
        for job in [*self._jobs, *self._held]:
            job.left = True
        self._free_places()

    def _free_places(self) -> None:
        """Of those whose events nobody takes any more; what they have read is kept."""
        for job in [job for job in [*self._jobs, *self._held] if job.left]:
            (self._jobs if job in self._jobs else self._held).remove(job)
            job.close()

    def forget(self) -> KvCache:
        """All that is kept; an empty cache."""
        for cache in self._slots:
            self._forget(cache)
        return self._slots[0]

    def step(self) -> None:
        """Evaluate one batch, or one picture, and let those go on whose turn it was."""
        self.steps += 1
        self._free_places()
        self._admit()
        for job in [job for job in self._jobs if job.cancelled and job.is_reading]:
            self._advance(job, None, aborted=True)
        alone = next((job for job in self._jobs if isinstance(job.order, Alone)), None)
        others = any(isinstance(job.order, Tokens) for job in self._jobs)
        self._was_alone = alone is not None and not (others and self._was_alone)
        if self._was_alone and alone is not None:
            self._do_alone(alone)
        elif others:
            self._evaluate(self._pack())

    # ------------------------------------------------------------------ one batch

    def _pack(self) -> list[Part]:
        """What goes into the next batch: of each job the tokens and the rows among them."""
        parts, rows = self._next_choices()
        space = self._context.batch_tokens - sum(len(tokens) for _, tokens, _ in parts)
        reading = [job for job in self._jobs if job.is_reading]
        if parts and reading:  # others wait for their next token
            beside = self._beside(self._context.batch_tokens - space)
            if not beside and self._read_left >= _LEAST_READ:
                parts, rows, beside = [], self._rows, self._read_left
                space = self._context.batch_tokens
            space = min(space, beside)
        if parts:
            self._read_left = self._bit()
        for job in reading:
            assert isinstance(job.order, Tokens)
            tokens = job.order.tokens[:space]
            whole = len(tokens) == len(job.order.tokens)
            if tokens and (rows or not whole):
                parts.append((job, tokens, [len(tokens) - 1] if whole else []))
                space, rows = space - len(tokens), rows - whole
                self._read_left -= len(tokens)
        return parts

    def _next_choices(self) -> tuple[list[Part], int]:
        """What answers want, and how many rows are left."""
        space, rows = self._context.batch_tokens, self._rows
        parts: list[Part] = []
        turn = self.steps % len(self._jobs)
        for job in [*self._jobs[turn:], *self._jobs[:turn]]:
            order = job.order
            if not isinstance(order, Tokens) or order.read or len(order.tokens) > space:
                continue
            wanted = [len(order.tokens) - 1] if order.rows is None else order.rows
            if len(wanted) <= rows:
                parts.append((job, order.tokens, wanted))
                space, rows = space - len(order.tokens), rows - len(wanted)
        return parts, rows

    def _beside(self, tokens: int) -> int:
        """How much of prompts is read in a batch with so many tokens of answers; 0: none, they take
        turns with them."""
        bit = self._bit()
        if not self._tiles:
            return bit
        left = _TILE - 1 - tokens
        return 0 if bit >= 2 * _TILE or left < _LEAST_READ else min(bit, left)

    def _bit(self) -> int:
        """Tokens of prompts that are read beside answers."""
        if self._patient:
            return self._context.batch_tokens
        if not self._token_seconds:
            return _FIRST_READ
        return max(_LEAST_READ, int(_READ_SECONDS / self._token_seconds))

    def _evaluate(self, parts: list[Part]) -> None:
        readers = [job for job, _, _ in parts if job.is_reading]
        started, evaluated = time.perf_counter(), False
        with self._watching(readers):
            evaluated = self._decode(parts)
        if not evaluated:
            return
        count = sum(len(tokens) for _, tokens, _ in parts)
        seconds = time.perf_counter() - started
        if readers and len(self._slots) > 1:
            self._learn(count, seconds)
        first = 0
        for job, tokens, _ in parts:
            job.cache.took(tokens)
            self._go_on(job, len(tokens), Done(first, count, seconds))
            first += len(tokens)

    @contextmanager
    def _watching(self, jobs: Sequence[Job]) -> Iterator[None]:
        """What is evaluated inside ends as soon as one of them is cancelled."""
        if not jobs:
            yield
            return
        self._context.watch(lambda: any(job.cancelled for job in jobs))
        try:
            yield
        except Aborted:
            for job in jobs:
                if job.cancelled:
                    self._advance(job, None, aborted=True)
        finally:
            self._context.watch(None)

    def _decode(self, parts: list[Part]) -> bool:
        """Whether it is done; where cells ran out, it is tried again.
        Raises Aborted."""
        pieces = [job.cache.piece(tokens, rows) for job, tokens, rows in parts]
        try:
            with undone([job.cache for job, _, _ in parts]):
                self._context.decode(pieces)
            if len(self._slots) > 1 or not parts[0][0].is_reading:
                self._context.wait()
        except NoCells as error:
            self._make_room(error)
        except (EngineError, OutOfMemory) as error:
            self._fail([job for job, _, _ in parts], error)
        else:
            return True
        return False

    def _fail(self, jobs: Sequence[Job], error: Exception) -> None:
        for job in jobs:
            job.fail(error)
            self._leave(job)

    def _learn(self, tokens: int, seconds: float) -> None:
        if tokens >= _LEAST_READ:
            share = _LEARN if self._token_seconds else 1.0
            self._token_seconds += share * (seconds / tokens - self._token_seconds)

    def _go_on(self, job: Job, count: int, done: Done) -> None:
        """``count`` tokens of its order are evaluated."""
        order = job.order
        assert isinstance(order, Tokens)
        if count < len(order.tokens):
            job.order = Tokens(order.tokens[count:], None, True, order.before + count)
        else:
            self._advance(job, Done(done.first - order.before, done.tokens, done.seconds))

    def _do_alone(self, job: Job) -> None:
        assert isinstance(job.order, Alone)
        with self._watching([job]):
            try:
                job.order.do()
            except NoCells as error:
                self._make_room(error)
            except (EngineError, OutOfMemory) as error:
                self._fail([job], error)
            else:
                self._advance(job, Done())

    def _advance(self, job: Job, done: Done | None, *, aborted: bool = False) -> None:
        self._share(job)
        job.go_on(done, aborted=aborted)
        if job.over:
            self._leave(job)

    def _share(self, job: Job) -> None:
        job.beside = len(self._jobs) - 1
        job.rows = max(1, self._rows // len(self._jobs))

    def _leave(self, job: Job) -> None:
        if job in self._jobs:
            self._jobs.remove(job)
            self._touch(job.cache)
            if job.warms:
                self._warmed.add(job.cache)

    def _touch(self, cache: KvCache) -> None:
        self._used.remove(cache)
        self._used.append(cache)
        self._warmed.discard(cache)

    # ---------------------------------------------------------------- room for each

    def _admit(self) -> None:
        """Let those begin that have room, in order."""
        while self._held and len(self._jobs) < len(self._slots):
            job = self._held[0]
            if self._jobs and (self._is_read_now(job) or not self._has_room(job)):
                return
            self._held.popleft()
            cache = self._place(job)
            self._touch(cache)
            self._jobs.append(job)
            self._share(job)
            job.begin(cache)
            if job.over:
                self._leave(job)

    @property
    def _idle(self) -> Iterator[KvCache]:
        """Caches that nobody uses, the one first that was used longest ago; those last of which
        something will be asked."""
        busy = {job.cache for job in self._jobs}
        free = [cache for cache in self._used if cache not in busy]
        return iter(sorted(free, key=self._warmed.__contains__))

    def _is_read_now(self, job: Job) -> bool:
        """Whether another one is reading a beginning that this one will need, too."""
        if job.fresh:
            return False
        known = max((each.lent_to(job.wanted)[0] for each in self._slots), default=0)
        for other in self._jobs:
            common = common_prefix(other.units, job.wanted)
            if self._window:
                common = max((place for place in other.places if place <= common), default=0)
            if common >= known + SHARED_TOKENS and len(other.cache.units) < common:
                return True
        return False

    def _has_room(self, job: Job) -> bool:
        """Beside those under way, whatever is kept for later."""
        best = max((self._lendable(each, job) for each in self._slots), default=0)
        return self._needed + job.room - best <= self._cells

    @property
    def _needed(self) -> int:
        """Cells of those under way, with what they are given to begin with."""
        return sum(
            max(each.cache.position, each.room) - self._borrowed(each.cache) for each in self._jobs
        )

    def _borrowed(self, cache: KvCache) -> int:
        return self._lent[cache][1] if cache in self._lent else 0

    def _lendable(self, cache: KvCache, job: Job) -> int:
        return position_of(job.wanted, cache.lent_to(job.wanted)[0])

    def _place(self, job: Job) -> KvCache:
        """The cache of a job that begins, with as much in it as was there already."""
        idle = list(self._idle)
        wanted = job.wanted
        if job.fresh:
            self._forget(idle[0])
            return idle[0]
        same = next((each for each in idle if job.warms and each.units == wanted), None)
        if same is not None:
            return same
        if len(self._slots) == 1:
            idle[0].keep_prefix(wanted)
            return idle[0]
        best = max(idle, key=lambda each: each.kept_of(wanted))
        kept = best.kept_of(wanted)
        source = max(self._slots, key=lambda each: self._lendable(each, job))
        lent = self._lendable(source, job)
        self._plan_places(job, max(kept, lent))
        loses_little = 2 * kept >= best.position or kept >= lent + SHARED_TOKENS
        others = [each for each in idle if each is not source]
        empty = (each for each in idle if not each.position)
        if max(kept, lent) < SHARED_TOKENS:  # nobody holds much of it
            best = next(empty, idle[0])
        elif others and (kept < lent or not loses_little):
            best = next((each for each in others if not each.position), others[0])
            self._forget(best)
            if best.borrow(source, wanted):
                self._lent[best] = (source, best.position)
            self._drop_idle(job, best)
            return best
        self.let_go(best)
        best.keep_prefix(wanted)
        if best.position >= SHARED_TOKENS and best.worth_checkpoint(best.units):
            best.save_checkpoint()  # others may begin so, too
        self._drop_idle(job, best)
        return best

    def _plan_places(self, job: Job, known: int) -> None:
        """Where a window is worth a checkpoint: behind what others have in common with it."""
        if not self._window:
            return
        common = max(
            (common_prefix(units, job.wanted) for units in self._all_units(job)), default=0
        )
        if common >= known + SHARED_TOKENS:
            job.places.add(common)

    def _all_units(self, job: Job) -> Iterator[Sequence[Unit]]:
        yield from (each.units for each in self._slots)
        yield from (each.units for each in self._jobs)
        yield from (each.units for each in self._held if each is not job)

    def _drop_idle(self, job: Job, own: KvCache) -> None:
        """What is kept for later, until there is room for those under way and this one."""
        room = self._cells - self._needed - job.room + self._borrowed(own)
        kept = [each for each in self._idle if each is not own and each.position]
        while kept and sum(each.position - self._borrowed(each) for each in kept) > room:
            self._forget(kept.pop(0))

    def _forget(self, cache: KvCache) -> None:
        self.let_go(cache)
        cache.forget()

    def let_go(self, cache: KvCache) -> None:
        """What it holds is its own, or will be; what was lent from it belongs to the first borrower
        now."""
        self._lent.pop(cache, None)
        borrowers = [each for each, (source, _) in self._lent.items() if source is cache]
        for number, each in enumerate(borrowers):
            count = self._lent.pop(each)[1]
            if number:
                self._lent[each] = (borrowers[0], count)

    def _make_room(self, error: NoCells) -> None:
        """The cells ran out: what is kept for later goes, then the answer that began last.
        Where there is neither, the only one fails."""
        kept = next((each for each in self._idle if each.position), None)
        if kept is not None:
            self._forget(kept)
            return
        job = self._jobs[-1]
        self._jobs.remove(job)
        if not self._jobs:
            job.fail(error)
            return
        self.let_go(job.cache)
        job.give_up()
        self._held.appendleft(job)
