"""``gemma-edge describe``: say what is in one or several images."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from gemma_edge.cli import options as flags
from gemma_edge.cli.context import Context
from gemma_edge.cli.inputs import read_pictures, whole_text
from gemma_edge.cli.interrupt import cancel_on_interrupt
from gemma_edge.cli.loading import open_engine, prepare, render_loaded
from gemma_edge.cli.options import Job, ModelOptions, ShowOptions, StoreOptions
from gemma_edge.cli.output import Output
from gemma_edge.cli.streaming import collect, conclude, render_status, stream_text
from gemma_edge.describe.job import describe
from gemma_edge.documents.picture import Picture
from gemma_edge.engine.protocol import Engine, Event, Finished, Sampling
from gemma_edge.errors import ExitStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribeOptions:
    """What the command line asks of a description; ``detail_tokens`` is a budget an image."""

    files: tuple[Path, ...]
    question: str | None = None
    detail_tokens: int | None = None
    sampling: Sampling = Sampling()
    max_tokens: int | None = None


def command(  # noqa: PLR0913, PLR0917  (one parameter a flag)
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE", help="Images, looked at together.")
    ],
    question: Annotated[
        str | None,
        typer.Option("--question", "-q", metavar="TEXT", help="Ask something about them instead."),
    ] = None,
    detail: flags.Detail = None,
    temperature: flags.Temperature = None,
    seed: flags.Seed = None,
    max_tokens: flags.MaxTokens = None,
    model: flags.Model = "demo",
    mmproj: flags.Mmproj = None,
    ctx: flags.Ctx = None,
    gpu_layers: flags.GpuLayers = None,
    threads: flags.Threads = None,
    models_dir: flags.ModelsDir = None,
    offline: flags.Offline = False,
    yes: flags.Yes = False,
    json: flags.Json = False,
    quiet: flags.Quiet = False,
    show_help: flags.Help = False,
) -> Job:
    """Look at images and say what they show.

    \b
    gemma-edge describe photo.jpg
    gemma-edge describe before.png after.png -q "what changed?"
    gemma-edge describe scan.png --detail max
    """
    placed = ModelOptions(
        model=model, mmproj=mmproj, context_tokens=ctx, gpu_layers=gpu_layers, threads=threads,
        store=StoreOptions(offline=offline, models_dir=models_dir, yes=yes),
    )  # fmt: skip
    show = ShowOptions(json=json, quiet=quiet)
    asked = DescribeOptions(
        files=tuple(files),
        question=whole_text(question) if question else None,
        detail_tokens=detail,
        sampling=Sampling(temperature=temperature, seed=seed),
        max_tokens=max_tokens,
    )
    return partial(run, asked, placed, show)


def run(
    asked: DescribeOptions,
    model: ModelOptions,
    show: ShowOptions,
    context: Context,
    output: Output,
) -> ExitStatus:
    """Open the images first: a wrong one is told before a model is loaded."""
    output.quiet = show.quiet
    prepared = prepare(
        model, context, output, sight="needed", image_tokens=asked.detail_tokens, images=asked.files
    )
    pictures = read_pictures(asked.files, prepared.image_tokens, output)
    with open_engine(prepared, context, output) as engine:
        output.note(render_loaded(prepared.files, engine.info))
        events = describe(
            engine,
            pictures,
            asked.question,
            max_tokens=asked.max_tokens,
            sampling=asked.sampling,
        )
        finished = _show(events, engine, pictures, output, show.json)
        output.status(render_status(finished, engine.info))
        return conclude(finished, output)


def _show(
    events: Iterator[Event],
    engine: Engine,
    pictures: tuple[Picture, ...],
    output: Output,
    as_json: bool,
) -> Finished:
    with cancel_on_interrupt(engine):
        if not as_json:
            return stream_text(events, output)
        answer, finished = collect(events)
    images = [
        {"name": picture.name, "width": picture.width, "height": picture.height,
         "tokens": picture.tokens, "resized": picture.lost or None}
        for picture in pictures
    ]  # fmt: skip
    output.document(
        {"model": engine.info.name, "images": images, "answer": answer, **asdict(finished)}
    )
    return finished
