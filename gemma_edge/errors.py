"""Every error a person can meet, and the exit status that belongs to it.

    GemmaEdgeError                 1  the engine or the machine failed
    |- UsageError                  2  the command line cannot be carried out as written
    |- InputError                  3  a file that was named cannot be read as what it should be
    |  `- SchemaError              3  a schema is not JSON, or cannot be enforced
    |- ModelError                  4  a model file is missing, damaged or of another kind
    |  `- ProjectorError           4  an image without a projector, or one of another model
    |- DoesNotFit                  5  context, memory or disk is too small
    |  `- OutOfMemory              5  llama.cpp could not allocate what the plan asks for
    |- ResultError                 6  the answer is not what was asked for; it was printed as it is
    `- EngineError                 1  llama.cpp refused or failed
       |- EngineStopped            1  its process died in an answer; the next one can be asked
       `- BuildError               1  llama.cpp as it is installed does not run on this machine
    Interrupted                  130  Ctrl-C (not an error: what was said is kept)

Messages name the value that is wrong; hints are a command or a change. A built-in ``ValueError``
that reaches the boundary is a bug and looks like one.
"""

from enum import IntEnum
from typing import ClassVar


class ExitStatus(IntEnum):
    """What the process returns; the README's table is made from this."""

    OK = 0
    FAILED = 1
    USAGE = 2
    INPUT = 3
    MODEL = 4
    DOES_NOT_FIT = 5
    RESULT = 6
    UNFINISHED = 75
    INTERRUPTED = 130

    @property
    def meaning(self) -> str:
        """One line for the README and ``--help``."""
        return _MEANINGS[self]


_MEANINGS = {
    ExitStatus.OK: "done; what was printed as data is valid",
    ExitStatus.FAILED: "the engine or the machine failed",
    ExitStatus.USAGE: "the command line cannot be carried out as written",
    ExitStatus.INPUT: "a document, image or schema cannot be read",
    ExitStatus.MODEL: "a model file is missing, damaged or of another kind",
    ExitStatus.DOES_NOT_FIT: "context, memory or disk is too small",
    ExitStatus.RESULT: "the answer is not valid or not complete; it was printed with its problems",
    ExitStatus.UNFINISHED: "stopped before the last file, as it was told; run it again to go on",
    ExitStatus.INTERRUPTED: "Ctrl-C; what was said is kept",
}


class GemmaEdgeError(Exception):
    """The root: a message of one line that names the value, whatever breaks and tabs stand in
    that, and a hint that is a command or a change."""

    exit_status: ClassVar[ExitStatus] = ExitStatus.FAILED

    def __init__(self, message: str, *, hint: str = "") -> None:
        message = " ".join(message.splitlines()).replace("\t", " ")
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(GemmaEdgeError):
    """The command line cannot be carried out as written."""

    exit_status = ExitStatus.USAGE


class InputError(GemmaEdgeError):
    """A file that was named cannot be read as what it should be."""

    exit_status = ExitStatus.INPUT


class SchemaError(InputError):
    """A schema is not JSON, or asks for something that cannot be enforced."""


class ModelError(GemmaEdgeError):
    """A model file is missing, damaged or of another kind."""

    exit_status = ExitStatus.MODEL


class ProjectorError(ModelError):
    """An image without a projector, or a projector that belongs to another model."""


class DoesNotFit(GemmaEdgeError):
    """Context, memory or disk is too small; the message carries both numbers."""

    exit_status = ExitStatus.DOES_NOT_FIT


class OutOfMemory(DoesNotFit):
    """llama.cpp could not allocate what the plan asks for; a smaller plan may still load."""


class ResultError(GemmaEdgeError):
    """The answer is not what was asked for; it was printed as it is, with its problems."""

    exit_status = ExitStatus.RESULT


class EngineError(GemmaEdgeError):
    """llama.cpp refused or failed."""


class EngineStopped(EngineError):
    """The engine's process died in the middle of an answer. It is being started again: the same
    can be asked once more."""


class BuildError(EngineError):
    """llama.cpp as it is installed does not run on this machine: it cannot be loaded, or its code
    dies by itself. Asking again changes nothing."""


class Interrupted(GemmaEdgeError):
    """Ctrl-C: what was said is kept."""

    exit_status = ExitStatus.INTERRUPTED
