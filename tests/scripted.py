"""An engine that answers from a script: for tests and dry runs, used like the real one.

It counts one token a word, holds any constraint's text to itself (it does not check it), and
remembers every request, so a test can assert what the job asked.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

from gemma_edge.engine.protocol import (
    Chunk,
    EngineInfo,
    Event,
    Finished,
    FinishReason,
    PromptCount,
    Request,
    Restored,
    Sampling,
    Timings,
    TokenScore,
    Usage,
)
from gemma_edge.errors import DoesNotFit, EngineError, ProjectorError
from gemma_edge.units import render_tokens


class ScriptedEngine:
    """Answers each request with the next text of the script, a word a chunk.

    A script entry may hold a thought: ``("thought", "answer")``. ``probability`` is how sure it
    says to be of each word, where it is asked, ``legal`` the mass of what a constraint allowed."""

    def __init__(
        self,
        answers: Iterable[str | tuple[str, str]] = (),
        *,
        context_tokens: int = 8192,
        vision: bool = True,
        thinks: bool = True,
        calls: bool = True,
        speed: float = 0.0,
        probability: float = 1.0,
        legal: float | None = None,
    ) -> None:
        self.answers = list(answers)
        self.requests: list[Request] = []
        self.warmed: list[Request] = []
        self._vision, self._thinks, self._calls = vision, thinks, calls
        self._speed = speed
        self._probability = probability
        self._legal = max(probability, 0.5) if legal is None else legal
        self._context_tokens = context_tokens
        self._cancelled = False

    @property
    def info(self) -> EngineInfo:
        return EngineInfo(
            name="scripted",
            architecture="scripted",
            context_tokens=self._context_tokens,
            trained_context_tokens=self._context_tokens,
            vision=self._vision,
            device="no device",
            gpu_layers=0,
            layers=0,
            sampling=Sampling(temperature=1.0, top_p=0.95, top_k=64, min_p=0.0),
            thinks=self._thinks,
            calls=self._calls,
        )

    def loading(self, seconds: float = 0.0) -> None:
        """It is there at once."""

    def count(self, request: Request) -> PromptCount:
        """One token a word, the pictures' own count, two a turn."""
        pictures = [picture for message in request.messages for picture in message.pictures]
        if pictures and not self._vision:
            raise ProjectorError("an image, but no projector was loaded", hint="--mmproj FILE")
        words = sum(len(message.text.split()) for message in request.messages)
        picture_tokens = sum(picture.tokens for picture in pictures)
        template_tokens = 2 * len(request.messages)
        return PromptCount(
            total_tokens=words + picture_tokens + template_tokens,
            picture_tokens=picture_tokens,
            template_tokens=template_tokens,
        )

    def generate(self, request: Request) -> Iterator[Event]:
        """Play the next entry of the script."""
        self._cancelled = False
        prompt_tokens = self.count(request).total_tokens
        if prompt_tokens >= self._context_tokens:
            raise self._overflow(prompt_tokens)
        self.requests.append(request)
        if not self.answers:
            raise EngineError("the script has no answer left")
        entry = self.answers.pop(0)
        thought, answer = entry if isinstance(entry, tuple) else ("", entry)
        return self._play(request, prompt_tokens, thought if request.think else "", answer)

    def _scores(self, request: Request, word: str) -> tuple[TokenScore, ...]:
        if not request.scored:
            return ()
        legal = 1.0 if request.constraint is None else self._legal
        return (TokenScore(word, self._probability, legal),)

    def _overflow(self, prompt_tokens: int) -> DoesNotFit:
        return DoesNotFit(
            f"the prompt needs {render_tokens(prompt_tokens)}, "
            f"the context holds {self._context_tokens:,}",
            hint="--ctx N",
        )

    def _read_all(self, prompt_tokens: int) -> Finished:
        usage = Usage(
            prompt_tokens=prompt_tokens,
            cached_tokens=0,
            evaluated_tokens=prompt_tokens,
            generated_tokens=0,
        )
        timings = Timings(prompt_seconds=0.0, first_token_seconds=0.0, decode_seconds=0.0)
        return Finished("end", usage, timings)

    def _play(
        self, request: Request, prompt_tokens: int, thought: str, answer: str
    ) -> Iterator[Event]:
        pieces = [Chunk(piece, "thought") for piece in _words(thought)]
        pieces += [Chunk(p, "answer", self._scores(request, p)) for p in _words(answer)]
        words, thoughts = 0, 0
        reason: FinishReason = "end"
        for piece in pieces:
            if self._cancelled:
                reason = "cancelled"
                break
            if request.max_tokens is not None and words >= request.max_tokens:
                reason = "length"
                break
            words += 1
            thoughts += piece.channel == "thought"
            yield piece
        usage = Usage(
            prompt_tokens=prompt_tokens,
            cached_tokens=0,
            evaluated_tokens=prompt_tokens,
            generated_tokens=words,
            thought_tokens=thoughts,
        )
        timings = Timings(prompt_seconds=0.0, first_token_seconds=0.0, decode_seconds=0.0)
        yield Finished(reason, usage, timings)

    def warm(self, request: Request) -> Iterator[Event]:
        prompt_tokens = self.count(request).total_tokens
        if prompt_tokens > self._context_tokens:
            raise self._overflow(prompt_tokens)
        self.warmed.append(request)
        return iter([self._read_all(prompt_tokens)])

    def save(self, path: Path) -> int:
        """The requests so far, so that a test can see what was saved."""
        if not self.requests and not self.warmed:
            raise EngineError("there is nothing to save: the cache is empty")
        tokens = self.count([*self.requests, *self.warmed][-1]).total_tokens
        return path.write_text(f"scripted {tokens}", "utf-8")

    def restore(self, path: Path) -> Restored:
        """What ``save`` wrote."""
        try:
            name, tokens = path.read_text("utf-8").split()
            return Restored(int(tokens)) if name == "scripted" else Restored(0, "of another engine")
        except FileNotFoundError:
            return Restored(0, "nothing was saved")
        except ValueError:
            return Restored(0, f"{path.name} is damaged")

    def measure(self, tokens: int = 32, *, filled: bool = False) -> float:
        """The speed it was given, in tokens a second."""
        return self._speed

    def cancel(self) -> None:
        self._cancelled = True

    def close(self) -> None:
        """Nothing to free."""


def _words(text: str) -> list[str]:
    words = text.split(" ")
    return [word + " " for word in words[:-1]] + words[-1:] if text else []
