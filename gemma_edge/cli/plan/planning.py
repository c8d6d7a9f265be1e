"""From flags to a Plan: what was pinned, the machine that it is for, and how llama.cpp is asked."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from gemma_edge import gguf
from gemma_edge.cli.context import Context
from gemma_edge.cli.options import ModelOptions
from gemma_edge.cli.output import Output
from gemma_edge.errors import DoesNotFit, EngineError
from gemma_edge.fit.candidate import AdapterFile
from gemma_edge.fit.candidate import Candidate, Wishes
from gemma_edge.fit.measure import Compute, Measure
from gemma_edge.fit.plan import Adapter, Placement, Plan
from gemma_edge.fit.planning import Row, matrix, plan
from gemma_edge.fit.quick import quick_measure
from gemma_edge.fit.shape import Shape
from gemma_edge.hardware.machine import Hardware
from gemma_edge.store import StoreSettings
from gemma_edge.store.measurements import Measurement, read_measurements


@dataclass(frozen=True, slots=True, kw_only=True)
class Planner:
    """A machine and all that plans for it are made of, but for the models. ``quick`` measures by
    numbers from elsewhere, for a choice among many."""

    hardware: Hardware
    measure: Measure
    quick: Measure
    speeds: tuple[Measurement, ...] = ()
    busy_programs: int | None = None

    def plan(self, candidates: Sequence[Candidate], wishes: Wishes) -> Plan:
        """The best of them. Among many the choice is quick, and the chosen one is measured.

        Raises:
            DoesNotFit: none fits; the message has the numbers.
        """
        if len(candidates) == 1:
            return self._plan(candidates, wishes, self.measure)
        choice = self._plan(candidates, wishes, self.quick)
        chosen = [each for each in candidates if each.name == choice.name]
        try:
            exact = self._plan(chosen, wishes, self.measure)
        except DoesNotFit:  # so close to the edge that only measuring tells
            return self._plan(candidates, wishes, self.measure)
        return replace(
            exact, reasons=(*choice.reasons[:1], *exact.reasons[1:]),
            rungs=choice.rungs, alternatives=choice.alternatives,
        )  # fmt: skip

    def matrix(self, candidates: Sequence[Candidate], wishes: Wishes) -> tuple[Row, ...]:
        """Each by itself, quickly."""
        return matrix(self.hardware, candidates, wishes, self.quick, self.speeds)

    def _plan(self, candidates: Sequence[Candidate], wishes: Wishes, measure: Measure) -> Plan:
        return plan(
            self.hardware, candidates, wishes, measure, self.speeds,
            busy_programs=self.busy_programs,
        )  # fmt: skip


@contextmanager
def open_planner(
    context: Context, settings: StoreSettings, output: Output, pretended: Hardware | None = None
) -> Iterator[Planner]:
    """For this machine, or for one that somebody thought up."""
    hardware = pretended or context.detect_hardware(context.environment)
    speeds, note = read_measurements(settings)
    if note:
        output.note(note)
    quick = quick_measure(hardware)
    with context.open_measure(pretended) as measure:
        yield Planner(
            hardware=hardware, measure=_or_quick(measure, quick, output), quick=quick,
            speeds=speeds,
            busy_programs=None if pretended else context.busy_programs(),
        )  # fmt: skip


def _or_quick(measure: Measure, quick: Measure, output: Output) -> Measure:
    """A llama.cpp that cannot be asked (a broken build) is no reason not to plan; loading says
    what is wrong with it."""
    failed = False

    def careful(shape: Shape, placement: Placement) -> Compute:
        nonlocal failed
        try:
            return quick(shape, placement) if failed else measure(shape, placement)
        except EngineError as error:
            failed = True
            output.note(f"buffers are estimated: {error.message}")
            return quick(shape, placement)

    return careful


def open_quick_planner(context: Context, settings: StoreSettings) -> Planner:
    """For a page that must be there at once: llama.cpp is not asked."""
    hardware = context.detect_hardware(context.environment)
    quick = quick_measure(hardware)
    return Planner(
        hardware=hardware, measure=quick, quick=quick, speeds=read_measurements(settings)[0]
    )


def wishes_of(
    options: ModelOptions, *, vision: bool | None, image_tokens: int | None = None
) -> Wishes:
    """What was pinned; ``vision`` is what the command needs, where no flag says otherwise.

    Raises:
        ModelError: the file of an adapter cannot be read.
    """
    return Wishes(
        context_tokens=options.context_tokens,
        gpu_layers=options.gpu_layers,
        cpu_expert_layers=options.cpu_expert_layers,
        threads=options.threads,
        image_tokens=image_tokens,
        kv_type=options.kv_type,
        require_gpu=options.require_gpu,
        min_speed=options.min_speed,
        vision=vision if options.vision is None else options.vision,
        adapters=tuple(map(_read_adapter, options.adapters)),
    )


def _read_adapter(named: Adapter) -> AdapterFile:
    adapter = replace(named, path=named.path.expanduser())
    return AdapterFile(adapter=adapter, header=gguf.read_header(adapter.path))
