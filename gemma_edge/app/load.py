"""From a request to an open engine: choose a model, fetch it, check it, plan it, load it."""

import os
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from gemma_edge import gguf
from gemma_edge.app.loaded import (
    BUNDLED,
    LoadedEngine,
    Prepared,
    Seen,
    VisionMode,
    render_fix,
    start_engine,
)
from gemma_edge.app.models import (
    Target,
    find_model,
    name_of,
    offered_quants,
)
from gemma_edge.app.request import AUTO, ModelRequest
from gemma_edge.app.runtime import Runtime, remembered_dir
from gemma_edge.app.stock import Stock, fetch_header, of_hub, with_projector
from gemma_edge.engine.fallback import next_plan, render_change
from gemma_edge.errors import (
    BuildError,
    DoesNotFit,
    EngineError,
    ModelError,
    ProjectorError,
    UsageError,
)
from gemma_edge.hardware.claims import (
    MAIN_MEMORY,
    Claim,
    deciding,
    free_of,
    leave,
    place_of,
    without,
)
from gemma_edge.hardware.claims import read as read_claims
from gemma_edge.hardware.findings import say_build, why_unloadable
from gemma_edge.hardware.machine import Finding, Hardware
from gemma_edge.isolation import Once
from gemma_edge.planning.memory import Compute, Measure, quick_measure
from gemma_edge.planning.model import Shape, check_adapter, check_drafter, check_model, check_pair
from gemma_edge.planning.plan import (
    RAM,
    Account,
    Candidate,
    Constraints,
    Placement,
    Plan,
    with_fallbacks,
)
from gemma_edge.planning.planner import Planner
from gemma_edge.planning.render import brief_title
from gemma_edge.planning.speed import pays_at_once
from gemma_edge.store.measurements import read_measurements
from gemma_edge.store.remote import StoreSettings
from gemma_edge.units import render_bytes

if TYPE_CHECKING:
    from gemma_edge.standby import Status


_VISION = {"needed": True, "possible": None, "unused": False}


def prepare(  # noqa: PLR0913  (what is asked, of what, and the environment)
    request: ModelRequest, runtime: Runtime, *, vision: VisionMode,
    image_tokens: int | None = None, images: Sequence[Path] = (), at_once: Sequence[int] = (),
    if_faster: bool = False,
) -> Prepared:  # fmt: skip
    """Everything that can be refused before a model is loaded. What is missing of it is fetched,
    after a yes, and not for ``images`` that cannot be read or for a plan that does not fit. A
    projector that no picture will pass through is checked but not loaded. The first number of
    answers in ``at_once`` that costs nothing but memory that is there is planned for; with
    ``if_faster`` only where all of them are there sooner than one after another.
    Raises BuildError, ModelError, ProjectorError, DoesNotFit; and what fetching raises."""
    vision = _agreed_vision(request, vision)
    constraints = constraints_of(request, vision=_VISION[vision], image_tokens=image_tokens)
    offered = Once(partial(_offer_all, request, runtime))  # made while the machine is asked
    ahead = offered if request.model == AUTO else None
    with open_planner(runtime, meanwhile=ahead) as planner:
        refuse_broken(planner.hardware)
        if request.model == AUTO:
            asked = request
            request, agreed = choose(request, constraints, planner, runtime, offered)
            _tell_smaller(asked, request.model, constraints, planner, runtime)
            runtime = replace(runtime, agreed=agreed)
        files = find_model(
            request, runtime, with_projector=vision != "unused",
            check_inputs=partial(_check_inputs, request, vision, images),
            check_plan=partial(_check_plan, request, constraints, planner, runtime),
        )  # fmt: skip
        stock = Stock(runtime.store)
        candidate = stock.with_drafter(_check_files(stock.local(files), vision), request)
        for _, header in constraints.adapters:
            check_adapter(candidate.header, header)
        planner, plan = _plan_beside_others(planner, candidate, constraints, runtime)
        if not if_faster or pays_at_once(plan, candidate.layers):
            plan = _plan_for_many(planner, candidate, constraints, plan, at_once)
    if request.threads and plan.threads < request.threads:
        cores = planner.hardware.cpu.reason
        runtime.note(f"--threads {request.threads}: {plan.threads} are used ({cores})")
    for lost in _lost_gpus(planner.hardware) if request.gpu_layers != 0 else ():
        runtime.note(lost)
    plan = as_asked(plan, request, runtime)
    assert candidate.files is not None
    budget = image_tokens or plan.image_tokens or files.image_tokens
    seen = Seen(candidate, planner.hardware)
    return Prepared(candidate.files, plan, budget, lambda: seen, runtime.store)


def as_asked(plan: Plan, request: ModelRequest, runtime: Runtime) -> Plan:
    """A plan with what is no matter of memory: how answers are drafted, and what is kept."""
    plan = with_fallbacks(plan, draft="off" if request.draft == "off" else "lookup")
    if not (request.remember or runtime.remember):
        return plan
    folder = remembered_dir(runtime.store.data_dir)
    return with_fallbacks(plan, remember=folder, remember_bytes=runtime.remember_bytes)


_SHARE_TOKENS = 2048  # of the context, that an answer among several has: a page, rules, an answer


def _plan_for_many(
    planner: Planner, candidate: Candidate, constraints: Constraints, plan: Plan,
    at_once: Sequence[int],
) -> Plan:  # fmt: skip
    """The same plan for the first of these numbers of answers, else as it is."""
    for count in at_once:
        if count * _SHARE_TOKENS > plan.context_tokens:
            continue
        wanted = replace(constraints, context_tokens=plan.context_tokens, sequences=count)
        try:
            shared = planner.plan([candidate], wanted)
        except DoesNotFit:
            continue
        if replace(shared.placement, sequences=1) == plan.placement:
            return replace(shared, reasons=plan.reasons, attempts=plan.attempts)
    return plan


_ABOUT_GPUS = ("GPU", "MIG", "driver", "CUDA libraries", "llama.cpp")


def _lost_gpus(hardware: Hardware) -> Iterator[str]:
    """What keeps a GPU of this machine from being used, or slows it down: the plan goes on without
    it, and not in silence."""
    for each in hardware.findings:
        if each.what in _ABOUT_GPUS and each.state != "fine":
            yield f"{each.text}; gemma-edge doctor"


def load(prepared: Prepared, runtime: Runtime) -> "LoadedEngine":
    """Begin to load the plan; the first use waits for it. Whoever asked closes it. Where another
    process was faster, it is the next step of the plan that still fits, with a line about it."""
    seen = runtime.hardware
    claim = partial(claim_of, candidate=prepared.candidate, seen=seen)
    with deciding(claims_folder(runtime.store)) as desk:
        beside = _apart(desk.others, runtime)
        plan = _still_fitting(prepared, beside.machine(seen))
        held = desk.take(claim(plan))
    if change := render_change(prepared.plan, plan):
        runtime.note(f"{_name(beside.others, seen)} came first: {change}")
    held.use()
    _make_room(plan, seen, beside, runtime)
    engine = start_engine(plan, runtime, stay=prepared.stay)
    return LoadedEngine(engine, prepared, runtime.note, held, claim)


# One machine, several processes: each leaves to the others what they have planned to take
# (hardware/claims.py), and says so.

WAIT_SECONDS = 60.0  # for memory that another process holds, where nothing fits beside it
_LOOK_SECONDS = 0.25


class _Beside(NamedTuple):
    """Those beside which is planned, and those that only ``wait`` for the next command: their
    memory counts as free, and they are ended where it is needed."""

    others: tuple[Claim, ...]
    waiting: tuple[Claim, ...]

    def machine(self, hardware: Hardware) -> Hardware:
        """As it is for one more."""
        left = leave(hardware, self.others)
        return without(left, self.waiting) if self.waiting else left


def _apart(claims: Sequence[Claim], runtime: Runtime) -> _Beside:
    pids = {each.pid for each in waiting(runtime)} if claims else set()
    return _Beside(
        tuple(each for each in claims if each.pid not in pids),
        tuple(each for each in claims if each.pid in pids),
    )


def _read_beside(runtime: Runtime) -> _Beside:
    return _apart(read_claims(claims_folder(runtime.store)), runtime)


def waiting(runtime: Runtime) -> "list[Status]":
    """Engines on standby that nobody uses now, the newest first."""
    if runtime.standby is None:
        return []
    from gemma_edge.standby import statuses  # noqa: PLC0415  (where there may be some)

    return [each for each in statuses(runtime.standby) if not each.busy]


def _make_room(plan: Plan, seen: Hardware, beside: _Beside, runtime: Runtime) -> None:
    """End those that only wait, the oldest first, until the plan fits beside the rest of them."""
    places = _places(seen)
    left = list(beside.waiting)

    def fits(account: Account) -> bool:
        place = places.get(account.place, "")
        taken = sum(each.taken.get(place, 0) for each in left)
        return account.budget_bytes is None or account.total_bytes + taken <= account.budget_bytes

    for status in reversed(waiting(runtime)) if left else ():
        if plan.ledger is None or all(map(fits, plan.ledger.accounts)):
            return
        own = next((each for each in left if each.pid == status.pid), None)
        if own is None:
            continue
        from gemma_edge.standby import stop  # noqa: PLC0415

        left.remove(own)
        if stop(status):
            runtime.note(f"{own.title} waited for the next command; its memory is needed now")


def claims_folder(settings: StoreSettings) -> Path:
    """Where processes say what they take of the memory."""
    return settings.data_dir / "running"


def _plan_beside_others(
    planner: Planner, candidate: Candidate, constraints: Constraints, runtime: Runtime
) -> tuple[Planner, Plan]:
    """The plan in the memory that other processes leave, and a line where they change it. Where
    nothing fits beside them and something would without, they are waited for.
    Raises DoesNotFit: it does not fit without them either, or they did not end in time."""
    deadline, others = 0.0, _read_beside(runtime).others
    while True:
        alone = _plan_alone(planner, candidate, constraints, others)
        try:
            plan = planner.plan([candidate], constraints)
        except DoesNotFit as error:
            if alone is None:
                raise
            name = _name(others, planner.hardware)
            if not deadline:
                runtime.note(f"waiting for memory that {name} holds; Ctrl-C stops")
                deadline = time.monotonic() + WAIT_SECONDS
            elif time.monotonic() > deadline:
                hint = f"{name} holds memory: close it, or wait; {error.hint}"
                raise DoesNotFit(error.message, hint=hint) from None
            others = _wait_for_change(others, runtime, deadline)
            planner = _moved(planner, _read_beside(runtime).machine(runtime.look_again()))
            continue
        if alone is not None and (change := render_change(alone, plan)):
            runtime.note(f"beside {_name(others, planner.hardware)}: {change}")
        return planner, plan


def tell_others(runtime: Runtime) -> None:
    """A line about the processes beside which is planned."""
    if others := _read_beside(runtime).others:
        runtime.note(f"planned beside {_name(others, runtime.hardware)}")


def _tell_smaller(
    asked: ModelRequest, chosen: str, constraints: Constraints, planner: Planner, runtime: Runtime
) -> None:
    """A line where another model would answer, were it not for the others."""
    others = _read_beside(runtime).others
    if not others:
        return
    alone = _moved(planner, without(planner.hardware, others))
    better = best_here(Stock(runtime.store), asked, constraints, alone)
    if better is not None and better.model_name != chosen:
        name = _name(others, planner.hardware)
        runtime.note(f"beside {name} there is no room for {brief_title(better)}")


def _plan_alone(
    planner: Planner, candidate: Candidate, constraints: Constraints, others: Sequence[Claim]
) -> Plan | None:
    """What would be planned without the others; None where there are none, or nothing would."""
    if not others:
        return None
    try:
        return _moved(planner, without(planner.hardware, others)).plan([candidate], constraints)
    except DoesNotFit:
        return None


def _moved(planner: Planner, hardware: Hardware) -> Planner:
    return replace(planner, hardware=hardware, _planned=[])


def _wait_for_change(
    others: tuple[Claim, ...], runtime: Runtime, deadline: float
) -> tuple[Claim, ...]:
    """Until one of them is gone, or the time is over."""
    now, pids = others, {each.pid for each in others}
    while pids <= {each.pid for each in now} and time.monotonic() < deadline:
        time.sleep(_LOOK_SECONDS)
        now = _read_beside(runtime).others
    return now


def _still_fitting(prepared: Prepared, left: Hardware) -> Plan:
    """The plan, or the first of its fallbacks that fits into what is ``left``; the plan itself
    where none does: then loading tells."""
    plan: Plan | None = prepared.plan
    before, now = free_of(prepared.hardware), free_of(left)
    places = _places(left)

    def fits(account: Account) -> bool:
        place = places.get(account.place, "")
        lost = before.get(place, 0) - now.get(place, 0)
        return account.budget_bytes is None or account.total_bytes + lost <= account.budget_bytes

    while plan is not None:
        if plan.ledger is None or all(map(fits, plan.ledger.accounts)):
            return plan
        plan = next_plan(plan)
    return prepared.plan


def _places(hardware: Hardware) -> dict[str, str]:
    """The memories by the names of their devices."""
    return {device.name: place_of(device) for device in hardware.devices} | {RAM: MAIN_MEMORY}


def claim_of(plan: Plan, candidate: Candidate, seen: Hardware) -> Claim:
    """What the plan takes of each memory: all but margins and pages of the file."""
    places = _places(seen)
    taken: dict[str, int] = {}
    for account in plan.ledger.accounts if plan.ledger else ():
        own = (p for p in account.parts if p.name != "margin" and not p.reclaimable)
        if place := places.get(account.place, ""):
            taken[place] = taken.get(place, 0) + sum(part.size_bytes for part in own)
    return Claim(
        pid=os.getpid(), title=candidate.title, at=seen.measured_at or time.time(), taken=taken,
        free=free_of(seen),
    )  # fmt: skip


def _name(others: Sequence[Claim], hardware: Hardware) -> str:
    """``gemma-edge 4711 (Gemma 4 E4B, 4.1 GiB of RTX 4060)``, each of them."""
    titles = {place_of(device): device.title for device in hardware.devices if device.usable}
    named = []
    for each in others:
        on_cards = [
            f"{render_bytes(count)} of {titles[place]}"
            for place, count in each.taken.items() if titles.get(place)
        ]  # fmt: skip
        in_ram = [f"{render_bytes(each.taken.get(MAIN_MEMORY, 0))} of main memory"]
        named.append(f"gemma-edge {each.pid} ({', '.join([each.title, *(on_cards or in_ram)])})")
    return " and ".join(named) or "another gemma-edge"


def refuse_broken(hardware: Hardware) -> None:
    """Before anything is fetched, planned or loaded.
    Raises BuildError: llama.cpp cannot be loaded; what ``gemma-edge doctor`` says, with its fix."""
    found = why_unloadable(hardware)
    if found is not None:
        raise BuildError(say_build(found), hint=render_fix(found.fix))


def _agreed_vision(request: ModelRequest, vision: VisionMode) -> VisionMode:
    if request.vision is None:
        return vision
    if request.vision:
        return "needed"
    if vision == "needed":
        raise UsageError("there is an image to look at, and --no-vision", hint="not both")
    return "unused"


def _check_files(candidate: Candidate, vision: VisionMode) -> Candidate:
    """The files belong together; what is not needed is left out."""
    check_model(candidate.header)
    if candidate.drafter is not None:
        check_drafter(candidate.header, candidate.drafter)
    if candidate.projector is not None:
        check_pair(candidate.header, candidate.projector)
    elif vision == "needed":  # often the right one lies beside it
        path = candidate.header.path
        beside = (p for p in sorted(path.parent.glob("*.gguf")) if _fits(candidate.header, p))
        hint = f"--mmproj {next(beside, 'FILE, the mmproj-....gguf of the same model')}"
        raise ProjectorError(f"`{path.name}` sees no images without its projector", hint=hint)
    return candidate.without_projector() if vision == "unused" else candidate


def _fits(header: gguf.Header, path: Path) -> bool:
    try:
        check_pair(header, gguf.read_header(path))
    except ModelError:
        return False
    return True


def _check_inputs(
    request: ModelRequest, vision: VisionMode, images: Sequence[Path], has_projector: bool
) -> None:
    """Before a download: pictures can be read, and there is something to see them with.
    Raises ProjectorError, InputError, ModelError: not so."""
    if vision == "needed" and not has_projector:
        raise ProjectorError(
            f"`{request.model}` is not in the catalogue, which would know its projector",
            hint="--mmproj FILE; gemma-edge pull hf:owner/repo/mmproj.gguf fetches it",
        )
    if images:
        from gemma_edge.documents.images import open_image  # noqa: PLC0415

        for path in images:
            open_image(path)
    if request.mmproj is not None:
        with gguf.named_by("--mmproj"):
            gguf.read_header(request.mmproj.expanduser())


def _check_plan(  # noqa: PLR0913, PLR0917  (what was asked for, of which process)
    request: ModelRequest, constraints: Constraints, planner: Planner, runtime: Runtime,
    target: Target, agreed: bool,
) -> None:  # fmt: skip
    """Before a download: it will run here. Before anybody ``agreed``, what is known has to do; only
    where that says no, the header is fetched (15 MiB), because an estimate refuses nobody.
    Raises DoesNotFit: it will not, by its own header; ModelError: it is no language model."""
    if target.wanted is None and not agreed:
        return
    if agreed:
        target = fetch_header(target, runtime)
    stock = Stock(runtime.store)
    candidate = stock.with_drafter(of_hub(target, stock, runtime.store), request)
    if request.mmproj is not None:
        candidate = with_projector(candidate, request.mmproj.expanduser(), runtime.store)
    try:
        planner.plan([candidate], constraints)
    except DoesNotFit:
        if candidate.exact:
            raise
        _check_plan(request, constraints, planner, runtime, target, True)


@contextmanager
def open_planner(
    runtime: Runtime, pretended: Hardware | None = None, *,
    meanwhile: Callable[[], object] | None = None,
) -> Iterator[Planner]:  # fmt: skip
    """``meanwhile`` is done where the machine is still being asked."""
    busy = None if pretended else runtime.count_busy()  # before programs of our own are started
    with runtime.open_measure(pretended) as measure:
        if meanwhile is not None:
            meanwhile()
        hardware = pretended or _read_beside(runtime).machine(runtime.hardware)
        speeds, note = read_measurements(runtime.store)
        if note:
            runtime.note(note)
        quick = quick_measure(hardware)
        broken = None if pretended else why_unloadable(hardware)
        yield Planner(
            hardware=hardware, measure=_or_quick(measure, quick, runtime.note, broken), quick=quick,
            speeds=speeds, busy_programs=busy,
        )  # fmt: skip


def _or_quick(
    measure: Measure, quick: Measure, note: Callable[[str], None], broken: Finding | None
) -> Measure:
    """A llama.cpp that cannot be asked (a ``broken`` build) is no reason not to plan."""
    failed = False

    def careful(shape: Shape, placement: Placement) -> Compute:
        nonlocal failed
        if broken is not None and not failed:
            failed = True
            note(f"{say_build(broken)}; buffers are estimated. To run it: {render_fix(broken.fix)}")
        try:
            return quick(shape, placement) if failed else measure(shape, placement)
        except EngineError as error:
            failed = True
            note(f"buffers are estimated: {error.message}")
            return quick(shape, placement)

    return careful


def open_quick_planner(runtime: Runtime) -> Planner:
    """For a page that must be there at once: llama.cpp is not asked."""
    measure, (speeds, _) = quick_measure(runtime.hardware), read_measurements(runtime.store)
    hardware = _read_beside(runtime).machine(runtime.hardware)
    return Planner(hardware=hardware, measure=measure, speeds=speeds)


def constraints_of(
    request: ModelRequest, *, vision: bool | None, image_tokens: int | None = None
) -> Constraints:
    """What was pinned; ``vision`` is what the command needs, where no flag says otherwise.
    Raises ModelError: the file of an adapter cannot be read; UsageError: a drafter was named, and
    none is wanted."""
    if request.drafter is not None and not request.guesses:
        raise UsageError(f"a drafter was named, and --draft {request.draft}", hint="not both")
    adapters = [replace(each, path=each.path.expanduser()) for each in request.adapters]
    with gguf.named_by("--lora"):
        headers = [gguf.read_header(each.path) for each in adapters]
    return Constraints(
        context_tokens=request.context_tokens, image_tokens=image_tokens,
        gpu_layers=request.gpu_layers, cpu_expert_layers=request.cpu_expert_layers,
        threads=request.threads, kv_type=request.kv_type, require_gpu=request.require_gpu,
        min_speed=request.min_speed,
        vision=vision if request.vision is None else request.vision,
        adapters=tuple(zip(adapters, headers, strict=True)),
        sequences=request.at_once,
    )  # fmt: skip


def choose(
    request: ModelRequest, constraints: Constraints, planner: Planner, runtime: Runtime,
    offered: Callable[[], list[Candidate] | None],
) -> tuple[ModelRequest, bool]:  # fmt: skip
    """No model was named: the best one on this machine, else the one that it would run if it were
    fetched, else the bundled one. The request with that model in it, and whether its download was
    agreed to; a quant that was named holds for all sizes.
    Raises ModelError: no size has the quant that was named."""
    stock = Stock(runtime.store, runtime.note)
    found = best_here(stock, request, constraints, planner)
    if found is not None:
        return replace(request, model=found.model_name, quant=None), runtime.agreed
    bundled = replace(request, model=BUNDLED, quant=None), runtime.agreed
    if runtime.store.offline or not (runtime.agreed or runtime.confirm):  # it is only told
        planner = replace(planner, measure=planner.quick or planner.measure, _planned=[])
    hub = offered() or stock.quants(offered_quants(request))
    found = _best(_with_drafters(hub, request, stock), constraints, planner)
    if found is None:
        runtime.note("no Gemma 4 fits on this machine as asked; the bundled demo model answers")
        return bundled
    size = "" if found.download_bytes is None else f" ({render_bytes(found.download_bytes)})"
    would = f"this machine would run {brief_title(found)}{size}"
    agreed = runtime.agreed
    if not runtime.store.offline and not agreed and runtime.confirm is not None:
        agreed = runtime.confirm(f"{would}: download it? no: the demo model answers")
    if agreed and not runtime.store.offline:
        return replace(request, model=found.name, quant=None), True
    command = f"gemma-edge pull {shlex.quote(found.name)}"
    runtime.note(f"the bundled demo model answers; {would}: {command}")
    return bundled


def _offer_all(request: ModelRequest, runtime: Runtime) -> list[Candidate] | None:
    """What may be chosen of the catalogue; None where a file on disk is damaged, which is of no
    interest where another one answers."""
    try:
        return Stock(runtime.store, runtime.note).quants(offered_quants(request))
    except ModelError:
        return None


def best_here(
    stock: Stock, request: ModelRequest, constraints: Constraints, planner: Planner
) -> Candidate | None:
    """The best of those on this machine, which answers before any other is fetched; None where
    none fits."""
    here = stock.on_disk()
    if request.quant is not None:
        offered = {name_of(*pair) for pair in offered_quants(request)}
        here = [each for each in here if each.name in offered]
    return _best(_with_drafters(here, request, stock), constraints, planner)


def _with_drafters(
    candidates: Sequence[Candidate], request: ModelRequest, stock: Stock
) -> list[Candidate]:
    """None, where none of them has the drafter that was asked for."""
    try:
        return stock.with_drafters(candidates, request)
    except ModelError:
        return []


def _best(
    candidates: list[Candidate], constraints: Constraints, planner: Planner
) -> Candidate | None:
    try:
        plan = planner.plan(candidates, constraints) if candidates else None
    except DoesNotFit:
        return None
    return next((each for each in candidates if plan and each.name == plan.name), None)
