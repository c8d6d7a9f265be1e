"""From flags to an open engine: choose, check the headers, plan, load; and close it always."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from gemma_edge import gguf
from gemma_edge.catalog import ModelFiles
from gemma_edge.cli.context import Context
from gemma_edge.cli.loading.timing import Timed
from gemma_edge.cli.options import AUTO, REMEMBER_VARIABLE, ModelOptions
from gemma_edge.cli.output import Output
from gemma_edge.cli.plan.words import brief_title, render_devices, render_first_line
from gemma_edge.cli.store.storing import store_settings
from gemma_edge.engine.protocol import Engine, EngineInfo
from gemma_edge.errors import ModelError, ProjectorError, UsageError
from gemma_edge.fit.adapter import check_adapter
from gemma_edge.fit.candidate import Candidate
from gemma_edge.fit.pair import check_model, check_pair
from gemma_edge.fit.plan import Plan, everywhere
from gemma_edge.hardware.machine import Hardware
from gemma_edge.store import StoreSettings

Sight = Literal["needed", "possible", "unused"]
_VISION = {"needed": True, "possible": None, "unused": False}


@dataclass(frozen=True, slots=True)
class Prepared:
    """Files that were checked and the plan for them; nothing is loaded yet."""

    files: ModelFiles
    plan: Plan
    image_tokens: int
    candidate: Candidate
    hardware: Hardware
    settings: StoreSettings

    def render(self, info: EngineInfo | None = None) -> str:
        """``E4B Q4 QAT on RTX 4060 Laptop: 42/42 layers, 32k context, 4.1 of 7.6 GiB``; after
        loading of the plan that was loaded, which may be a fallback."""
        plan = (info.plan if info else None) or self.plan
        return render_first_line(plan, self.candidate, self.hardware)

    @property
    def brief(self) -> str:
        """``E4B Q4 QAT on RTX 4060 Laptop``."""
        where = render_devices(self.plan, self.hardware) if self.plan.devices else "the CPU"
        return f"{brief_title(self.candidate)} on {where}"

    @property
    def wanted(self) -> str:
        """What ``--model`` takes for the same model."""
        return self.candidate.name if self.candidate.size_name else str(self.files.model)


def prepare(  # noqa: PLR0913  (the wish, the world, and what for)
    options: ModelOptions,
    context: Context,
    output: Output,
    *,
    sight: Sight,
    image_tokens: int | None = None,
    images: Sequence[Path] = (),
) -> Prepared:
    """Everything that can be refused before a model is loaded. What is missing of it is fetched,
    after a yes, and not for ``images`` that cannot be read or for a plan that does not fit. A
    projector that no picture will pass through is checked but not loaded.

    Raises:
        ModelError, ProjectorError, DoesNotFit; and what fetching raises.
    """
    # What only loading needs: 40 ms that --help and the other commands do without.
    from gemma_edge.cli.loading.choosing import choose  # noqa: PLC0415
    from gemma_edge.cli.loading.guard import Guard  # noqa: PLC0415
    from gemma_edge.cli.plan.candidates import Stock  # noqa: PLC0415
    from gemma_edge.cli.plan.planning import open_planner, wishes_of  # noqa: PLC0415
    from gemma_edge.cli.store.fetching import find_model  # noqa: PLC0415

    sight = _agreed_sight(options, sight)
    settings = store_settings(options.store, context)
    wishes = wishes_of(options, vision=_VISION[sight], image_tokens=image_tokens)
    with open_planner(context, settings, output) as planner:
        if options.model == AUTO:
            options = choose(options, wishes, planner, settings, context, output)
        guard = Guard(
            options=options, images=images, sight=sight, wishes=wishes, planner=planner,
            settings=settings, context=context, output=output,
        )  # fmt: skip
        files = find_model(
            options, settings, context, output, with_projector=sight != "unused",
            check_inputs=guard.check_inputs, check_plan=guard.check_plan,
        )  # fmt: skip
        candidate = _check_files(Stock(settings).local(files), sight)
        for adapter in wishes.adapters:
            check_adapter(candidate.header, adapter.header)
        decided = planner.plan([candidate], wishes)
    if options.remember or context.is_on(REMEMBER_VARIABLE):
        decided = everywhere(decided, remember=settings.data_dir / "seen")
    assert candidate.files is not None
    budget = image_tokens or decided.image_tokens or files.image_tokens
    return Prepared(candidate.files, decided, budget, candidate, planner.hardware, settings)


@contextmanager
def open_engine(
    prepared: Prepared, context: Context, output: Output, *, wait: bool = True
) -> Iterator[Engine]:
    """Load the plan and pass on what the engine has to say; it is closed whatever happens. Without
    ``wait`` it is still loading, and no time is spent on measuring it at the end."""
    engine = load(prepared, context, output)
    try:
        for note in engine.info.notes if wait else ():
            output.note(note)
        yield engine
        if wait:
            engine.learn()
    finally:
        engine.close()


def load(prepared: Prepared, context: Context, output: Output) -> Timed:
    """Begin to load the plan; the first use waits for it. Whoever asked closes it."""
    return Timed(
        context.load(prepared.plan), prepared.plan, prepared.candidate, prepared.hardware,
        prepared.settings, output.note,
    )  # fmt: skip


def _agreed_sight(options: ModelOptions, sight: Sight) -> Sight:
    """What the command needs and what the flags say."""
    if options.vision is None:
        return sight
    if options.vision:
        return "needed"
    if sight == "needed":
        raise UsageError("there is an image to look at, and --no-vision", hint="not both")
    return "unused"


def _check_files(candidate: Candidate, sight: Sight) -> Candidate:
    """The files belong together; what is not needed is left out."""
    check_model(candidate.header)
    if candidate.projector is not None:
        check_pair(candidate.header, candidate.projector)
    elif sight == "needed":
        raise _sightless(candidate.header)
    if sight == "unused" and candidate.files is not None:
        files = replace(candidate.files, projector=None)
        return replace(candidate, projector=None, files=files)
    return candidate


def _sightless(header: gguf.Header) -> ProjectorError:
    """An image for a model without a projector; often the right one lies beside it."""
    beside = (path for path in sorted(header.path.parent.glob("*.gguf")) if _fits(header, path))
    found = next(beside, "FILE, the mmproj-....gguf of the same model")
    return ProjectorError(
        f"`{header.path.name}` sees no images without its projector", hint=f"--mmproj {found}"
    )


def _fits(header: gguf.Header, path: Path) -> bool:
    try:
        check_pair(header, gguf.read_header(path))
    except ModelError:
        return False
    return True
