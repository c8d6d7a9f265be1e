"""One question and its answer: for a command line, a pipe, a program."""

from collections.abc import Iterator

from gemma_edge.chat.history import Attachment
from gemma_edge.cli.chat import keeping
from gemma_edge.cli.chat.files import Opener
from gemma_edge.cli.chat.show import Show
from gemma_edge.cli.chat.wishes import ChatWishes
from gemma_edge.cli.context import Context
from gemma_edge.cli.inputs import read_pictures
from gemma_edge.cli.interrupt import cancel_on_interrupt
from gemma_edge.cli.loading.loading import Sight, open_engine, prepare
from gemma_edge.cli.options import ModelOptions
from gemma_edge.cli.output import Output
from gemma_edge.cli.streaming import conclude, render_status, stream_json
from gemma_edge.engine.protocol import Engine, Event, Finished
from gemma_edge.errors import ExitStatus


def answer_once(
    wishes: ChatWishes, model: ModelOptions, context: Context, output: Output, *, as_json: bool
) -> ExitStatus:
    """Answer ``wishes.question``; only where a session was named it is kept."""
    kept = wishes.session or wishes.resume
    journal = keeping.choose_journal(wishes, context) if kept else None
    model = keeping.with_its_model(model, journal, output.note)
    sight: Sight = "needed" if wishes.images else "possible" if kept or wishes.files else "unused"
    prepared = prepare(model, context, output, sight=sight, images=wishes.images)
    pictures = read_pictures(wishes.images, prepared.image_tokens, output)
    with open_engine(prepared, context, output) as engine:
        session = keeping.open_session(engine, prepared.wanted, wishes, journal)
        output.note(prepared.render(engine.info))
        for note in session.history.notes:
            output.note(note)
        keeping.wake(session, output.note)
        opener = Opener(
            session, engine, output, prepared.image_tokens,
            prepared.plan.image_tokens or prepared.image_tokens,
        )  # fmt: skip
        files: tuple[Attachment, ...] = ()
        for path in wishes.files:
            read, pages = opener.file(path)
            files, pictures = files + read, pictures + pages
        finished = _show(
            session.say(wishes.question, pictures, files), engine, context, output, as_json,
            plain=wishes.plain,
        )  # fmt: skip
        output.status(render_status(finished, engine.info))
        status = conclude(finished, output)
        keeping.leave(session, context, output.note)
        return status


def _show(  # noqa: PLR0913  (an answer and how it is to look)
    events: Iterator[Event], engine: Engine, context: Context, output: Output, as_json: bool,
    *, plain: bool,
) -> Finished:  # fmt: skip
    with cancel_on_interrupt(engine):
        if as_json:
            return stream_json(events, output)
        return Show(context, output, plain=plain, folds=False).answer(events, output)
