"""Commands about how answers are made: ``/set``, ``/think``, ``/system``, and what ``/show`` and
``/stats`` say."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from gemma_edge.cli.chat.talk import Talk
from gemma_edge.cli.inputs import read_value
from gemma_edge.cli.streaming import render_status
from gemma_edge.errors import UsageError
from gemma_edge.units import parse_tokens, render_tokens

OWN = ("default", "auto")  # back to the model's own
_TRUE, _FALSE = "on", "off"


@dataclass(frozen=True, slots=True)
class Setting:
    """``parse`` raises ValueError; ``wanted`` says in words what it takes."""

    name: str
    wanted: str
    parse: Callable[[str], Any]


def _share(text: str) -> float:
    value = float(text)
    if not 0.0 <= value <= 1.0:
        raise ValueError(text)
    return value


def _positive(text: str) -> float:
    value = float(text)
    if not 0.0 <= value < float("inf"):
        raise ValueError(text)
    return value


def _whole(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise ValueError(text)
    return int(text)


SETTINGS = (
    Setting("temperature", "a number from 0", _positive),
    Setting("top_p", "a number from 0 to 1", _share),
    Setting("top_k", "a whole number", _whole),
    Setting("min_p", "a number from 0 to 1", _share),
    Setting("seed", "a whole number", _whole),
    Setting("stop", "a text that ends an answer", str),
    Setting("max_tokens", "a number of tokens", parse_tokens),
)


def configure(talk: Talk, value: str) -> None:
    """``/set``: all of them; ``/set NAME VALUE`` changes one, ``default`` takes the model's own."""
    name, _, wanted = value.replace("=", " ", 1).partition(" ")
    if not name:
        talk.output.note("\n".join(render_settings(talk)))
        return
    setting = next((each for each in SETTINGS if each.name == name.replace("-", "_")), None)
    if setting is None:
        names = ", ".join(each.name for each in SETTINGS)
        raise UsageError(f"there is no setting `{name}`", hint=f"/set {names}")
    if wanted.strip():
        _change(talk, setting, wanted.strip())
    talk.output.note(_line(talk, setting.name))


def render_settings(talk: Talk) -> list[str]:
    """A line a setting, with what the model asks for itself."""
    return [_line(talk, each.name) for each in SETTINGS]


def _change(talk: Talk, setting: Setting, wanted: str) -> None:
    own = wanted in OWN
    try:
        value = None if own else setting.parse(wanted)
    except ValueError:
        raise UsageError(
            f"`{wanted}` is not {setting.wanted}", hint=f"/set {setting.name} default"
        ) from None
    session = talk.session
    if setting.name == "max_tokens":
        session.max_tokens = value
    elif setting.name == "stop":
        session.stop = () if own else (_unescaped(wanted),)
    else:
        changes: dict[str, Any] = {setting.name: value}
        session.sampling = replace(session.sampling, **changes)


def _line(talk: Talk, name: str) -> str:
    session = talk.session
    if name == "max_tokens":
        most = session.max_tokens
        shown = render_tokens(most) if most else "as many as the context leaves"
        return f"{name:12} {shown}"
    if name == "stop":
        return f"{name:12} {', '.join(map(repr, session.stop)) or 'nothing'}"
    value = getattr(session.sampling, name)
    own = getattr(talk.engine.info.sampling, name)
    default = "by chance" if name == "seed" else f"{own:g}" if own is not None else "none"
    if value is None:
        return (
            f"{name:12} {default} (the model's own)" if name != "seed" else f"{name:12} {default}"
        )
    shown = f"{value:g}" if isinstance(value, float) else str(value)
    return f"{name:12} {shown}" + ("" if name == "seed" else f" (the model's own: {default})")


def _unescaped(text: str) -> str:
    r"""A line's end is typed as ``\n``."""
    return text.replace("\\n", "\n").replace("\\t", "\t")


def think(talk: Talk, value: str) -> None:
    """``on``, ``off``, a budget in tokens; alone: the other way."""
    session = talk.session
    if value in ("", _TRUE, _FALSE):
        session.think = value == _TRUE if value else not session.think
        if value != _FALSE:
            session.max_thought_tokens = None
    else:
        try:
            session.max_thought_tokens = parse_tokens(value)
        except ValueError:
            raise UsageError(
                f"`{value}` is neither on nor off, nor a number of tokens",
                hint="/think on, /think off, /think 500",
            ) from None
        session.think = True
    talk.output.note(_thinking(talk))


def _thinking(talk: Talk) -> str:
    session = talk.session
    if not session.think:
        return "not thinking"
    if session.max_thought_tokens is None:
        return "thinking before each answer"
    return f"thinking up to {render_tokens(session.max_thought_tokens)} before each answer"


def system(talk: Talk, value: str) -> None:
    """Who the model is to be; alone: what was said of that."""
    if value:
        talk.session.system = None if value in OWN else read_value(value, talk.output)
    talk.output.note(f"system: {talk.session.system or 'none'}")


def stats(talk: Talk, _value: str) -> None:
    """The last answer in numbers, and what the context holds."""
    talk.output.note("\n".join(_stats(talk)))


def _stats(talk: Talk) -> list[str]:
    meter = talk.session.meter()
    lines = []
    if talk.last is not None:
        usage, timings = talk.last.usage, talk.last.timings
        lines += [
            render_status(talk.last, talk.engine.info),
            f"{'prompt':12} {usage.prompt_tokens:,} tokens: {usage.cached_tokens:,} remembered, "
            f"{usage.evaluated_tokens:,} read in {timings.prompt_seconds:.1f} s",
            f"{'answer':12} {usage.generated_tokens:,} tokens, {usage.thought_tokens:,} of them "
            f"thought, in {timings.decode_seconds:.1f} s",
        ]
    lines.append(
        f"{'context':12} {meter.used_tokens:,} of {meter.context_tokens:,} tokens: "
        f"{meter.text_tokens:,} text, {meter.picture_tokens:,} images, "
        f"{meter.template_tokens:,} template"
    )
    return lines


def show(talk: Talk, value: str) -> None:
    """A part of what is going on."""
    shows: dict[str, Callable[[], list[str]]] = {
        "": lambda: [*_model(talk), *_told_system(talk), _thinking(talk), *render_settings(talk)],
        "model": lambda: _model(talk),
        "system": lambda: _told_system(talk),
        "settings": lambda: [_thinking(talk), *render_settings(talk)],
        "thought": lambda: [talk.show.thought.strip() or "there was no thought"],
        "summary": lambda: [talk.session.history.summary or "nothing was summed up"],
        "messages": lambda: _messages(talk),
    }
    if value not in shows:
        raise UsageError(f"there is no `{value}` to show", hint=f"/show {', '.join(shows)[2:]}")
    talk.output.note("\n".join(shows[value]()))


SHOWN = ("model", "system", "settings", "thought", "summary", "messages")


def _model(talk: Talk) -> list[str]:
    info = talk.engine.info
    lines = [talk.loaded.prepared.render(info)]
    sees = "images are seen" if info.vision else "no images"
    trained = f"trained for {info.trained_context_tokens:,}"
    lines.append(f"{info.context_tokens:,} tokens of context ({trained}), {sees}")
    return lines


def _told_system(talk: Talk) -> list[str]:
    return [f"system: {talk.session.system or 'none'}"]


def _messages(talk: Talk) -> list[str]:
    lines: list[str] = []
    for exchange in talk.session.history.exchanges:
        asked = exchange.question
        names = [*(each.name for each in asked.pictures), *(each.name for each in asked.files)]
        lines += [f"› {asked.text}", *(f"  {name}" for name in names), exchange.answer]
    return lines or ["nothing was said yet"]


def sampling_names() -> tuple[str, ...]:
    """For completion."""
    return tuple(each.name for each in SETTINGS)
