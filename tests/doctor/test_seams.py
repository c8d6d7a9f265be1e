"""What really asks: the hub, and the decode in a child process."""

import contextlib
import http.server
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from gemma_edge.doctor import CPU, ask_hub, try_decode
from gemma_edge.engine.process import RemoteEngine
from gemma_edge.engine.protocol import Event, Notice, Request
from gemma_edge.planning.plan import Plan
from tests.doctor.machines import GREETING
from tests.engine.faults import program
from tests.scripted import ScriptedEngine


@pytest.fixture
def closed_port() -> str:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


class _Answers(http.server.BaseHTTPRequestHandler):
    status, methods = 200, []

    def do_HEAD(self) -> None:
        self.methods.append(self.command)
        self.send_response(self.status)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def server() -> Iterator[tuple[str, type[_Answers]]]:
    answers = type("Answers", (_Answers,), {"methods": []})
    with http.server.HTTPServer(("127.0.0.1", 0), answers) as served:
        threading.Thread(target=served.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{served.server_port}", answers
        served.shutdown()


def test_the_hub_answers_with_one_head(server):
    endpoint, answers = server
    for status, trouble in ((200, ""), (404, ""), (503, "it answers with status 503")):
        answers.status = status
        assert ask_hub(endpoint, seconds=30).trouble == trouble
    assert answers.methods == ["HEAD"] * 3


def test_the_hub_does_not_answer(closed_port):
    assert "refused" in ask_hub(closed_port, seconds=30).trouble.lower()
    assert "protocol" in ask_hub("ftp://hub", seconds=30).trouble
    with socket.socket() as deaf:  # takes connections in, and says nothing
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        started = time.monotonic()
        answer = ask_hub(f"http://127.0.0.1:{deaf.getsockname()[1]}", seconds=0.3)
    assert answer.trouble
    assert time.monotonic() - started < 20


def test_a_hub_that_dribbles_is_not_waited_for():
    """Each byte starts the client's own time limit anew; a name that is never found is like it."""
    with socket.create_server(("127.0.0.1", 0)) as slow:

        def dribble() -> None:
            connection, _ = slow.accept()
            with connection, contextlib.suppress(OSError):
                for byte in b"HTTP/1.1 200 OK\r\n\r\n":
                    connection.sendall(bytes([byte]))
                    time.sleep(0.2)

        threading.Thread(target=dribble, daemon=True).start()
        answer = ask_hub(f"http://127.0.0.1:{slow.getsockname()[1]}", seconds=0.5)
    assert answer.trouble == "no answer within 0.5 s"


def test_the_processor_decodes():
    decode = try_decode(CPU)
    assert (decode.trouble, decode.answer) == ("", GREETING)
    assert decode.tokens > 20
    assert decode.seconds > 0


def test_a_device_that_is_not_there_is_told():
    decode = try_decode("CUDA9")
    assert decode.trouble
    assert not decode.answer


@pytest.mark.parametrize(
    ("fault", "seconds", "trouble"),
    [
        ("illegal", 60, "an instruction that this processor refuses"),
        ("abort", 60, "GGML_ASSERT(batch > 0) failed"),
        ("sleepy", 1, "it did not end within 1 s"),
    ],
)
def test_what_a_decode_does_to_its_process(fault: str, seconds: float, trouble: str):
    def load(plan: Plan) -> RemoteEngine:
        return RemoteEngine(plan, program=program(fault))

    assert trouble in try_decode(CPU, load=load, limit_seconds=seconds).trouble


class _Restarted(ScriptedEngine):
    """Says what an engine says that had to be started again."""

    def generate(self, request: Request) -> Iterator[Event]:
        yield Notice("it was started again")
        yield from super().generate(request)

    def close(self) -> None:
        """Nothing to end."""


class _OnTheProcessor(_Restarted):
    def generate(self, request: Request) -> Iterator[Event]:
        return ScriptedEngine.generate(self, request)


@pytest.mark.parametrize(
    ("engine", "device", "trouble"),
    [
        (_Restarted, CPU, "it was started again"),
        (_OnTheProcessor, "CUDA0", "it decoded on no device instead"),
        (_OnTheProcessor, CPU, ""),
    ],
)
def test_an_answer_from_elsewhere_is_told(engine, device, trouble):
    found = try_decode(device, load=lambda _: engine([GREETING]))
    assert (found.answer, found.trouble) == (GREETING, trouble)
