"""Order: whose turn it is, who leaves, what takes too long, how it ends, and a worker that dies."""

import asyncio
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.requests import Request as HttpRequest

from gemma_edge.app.loaded import LoadedEngine
from gemma_edge.app.runtime import library_runtime
from gemma_edge.engine.protocol import Chunk, Event, Finished, Request
from gemma_edge.errors import EngineStopped, UsageError
from gemma_edge.serve.protocol import Refusal
from gemma_edge.serve.queue import FairQueue
from gemma_edge.serve.safety import Trusted
from gemma_edge.serve.server import Settings, listen, open_service
from gemma_edge.serve.service import Limits
from tests.scripted import ScriptedEngine
from tests.serve.conftest import HELLO, Running, chat, open_server, prepared
from tests.serve.test_openai import TEXT, error


def order(*clients: str, places: int = 1) -> list[str]:
    """In which order they had a place, who came while all places were taken."""
    served: list[str] = []

    async def one(queue: FairQueue, client: str) -> None:
        place = await queue.take(client)
        served.append(client)
        await asyncio.sleep(0)
        place.free()

    async def everybody() -> None:
        queue = FairQueue(places, waiting=100, each=100)
        first = [await queue.take("first") for _ in range(places)]
        tasks = [asyncio.create_task(one(queue, client)) for client in clients]
        await asyncio.sleep(0)
        assert queue.waiting == len(clients)
        for place in first:
            place.free()
            place.free()  # once more is nothing
        await asyncio.gather(*tasks)
        assert (queue.active, queue.waiting) == (0, 0)

    asyncio.run(everybody())
    return served


def test_each_client_has_its_turn() -> None:
    assert order("a", "a", "a", "a", "b", "c", "b") == ["a", "b", "c", "a", "b", "a", "a"]


def whose(*keys: str, host: str = "127.0.0.1", said: str = "", user: str = "") -> str:
    """Whose turn a request has, where the server has these keys."""
    settings = Settings(trusted=Trusted(keys=keys))
    engine = LoadedEngine(ScriptedEngine(), prepared(), lambda _text: None)
    service = open_service(engine, library_runtime(), settings)
    service.close()
    scope = {"type": "http", "client": (host, 5), "headers": [(b"authorization", said.encode())]}
    return service.client_of(HttpRequest(scope), user)


def test_programs_of_this_machine_are_told_apart() -> None:
    """By what they send; from elsewhere an address is one client whatever it says."""
    here = {whose(), whose(said="Bearer a"), whose(said="Bearer b"), whose(user="x")}
    assert len(here) == 4
    assert whose(said="Bearer a") == whose(said="Bearer a")
    assert whose("k", said="Bearer k", user="x") != whose("k", said="Bearer k", user="y")
    far = {whose(host="192.0.2.1", said=said, user=user) for said in "ab" for user in "xy"}
    assert far == {"192.0.2.1"}
    keys = ("k", "l")
    by_key = {whose(*keys, said=said, user=user) for said in keys for user in "xy"}
    assert len(by_key) == 2


def test_several_places_are_had_at_once() -> None:
    assert sorted(order("a", "a", "b", "c", places=3)) == ["a", "a", "b", "c"]


def test_the_queue_has_an_end() -> None:
    async def fill() -> tuple[Refusal, Refusal, int]:
        queue = FairQueue(1, waiting=3, each=2)
        await queue.take("a")
        tasks = [asyncio.create_task(queue.take("a")) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(Refusal) as own:
            await queue.take("a")
        tasks.append(asyncio.create_task(queue.take("b")))
        await asyncio.sleep(0)
        with pytest.raises(Refusal) as full:
            await queue.take("c")
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return own.value, full.value, queue.waiting

    own, full, left = asyncio.run(fill())
    assert (own.status, own.code, full.status, full.code) == (
        429, "too_many_requests", 503, "overloaded",
    )  # fmt: skip
    assert own.retry_after and full.retry_after
    assert left == 0  # who stopped waiting waits no more


def test_a_place_that_comes_as_its_client_leaves_is_not_lost() -> None:
    async def race() -> tuple[int, int]:
        queue = FairQueue(1, waiting=9, each=9)
        place = await queue.take("a")
        waits = asyncio.create_task(queue.take("b"))
        await asyncio.sleep(0)
        place.free()  # b has it now, and does not know
        waits.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waits
        return queue.active, queue.waiting

    assert asyncio.run(race()) == (0, 0)


class Slow(ScriptedEngine):
    """Says a word, then nothing until ``go`` is set; then as many as there are asked for, and knows
    how many answers were open at once."""

    def __init__(self, words: int = 3, error: Exception | None = None) -> None:
        super().__init__()
        self.begun, self.go = threading.Semaphore(0), threading.Event()
        self.stopped: list[str] = []
        self.open = self.most = 0
        self._words, self._error = words, error

    def generate(self, request: Request) -> Iterator[Event]:
        return self._say(request)

    def _say(self, request: Request) -> Iterator[Event]:
        self.open += 1
        self.most = max(self.most, self.open)
        said = request.messages[-1].text
        try:
            yield Chunk(f"{said} ", "answer")
            self.begun.release()
            for number in range(self._words):
                while not self.go.wait(0.02):
                    yield Chunk("", "answer")  # a token without a whole character
                if self._error is not None:
                    raise self._error
                yield Chunk(f"{number} ", "answer")
            yield Finished("end", self._read_all(3).usage, self._read_all(3).timings)
        finally:
            self.open -= 1
            self.stopped.append(said)


def ask(client: httpx2.Client, text: str, **more: Any) -> httpx2.Response:
    return chat(client, messages=[{"role": "user", "content": text}], **more)


def test_one_at_a_time_and_each_its_own() -> None:
    engine = Slow()
    with open_server(engine) as client, ThreadPoolExecutor(8) as threads:
        asked = [threads.submit(ask, client, f"q{number}") for number in range(8)]
        assert engine.begun.acquire(timeout=60)
        engine.go.set()
        answers = [each.result().json()["choices"][0]["message"]["content"] for each in asked]
    assert answers == [f"q{number} 0 1 2 " for number in range(8)]
    assert engine.most == 1


def raw_request(client: httpx2.Client, text: str, *, stream: bool) -> socket.socket:
    """A connection on which was asked."""
    url = client.base_url
    messages = [{"role": "user", "content": text}]
    said = json.dumps({"model": "demo", "messages": messages, "stream": stream})
    connection = socket.create_connection((url.host, url.port or 0), timeout=60)
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {url.host}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(said)}\r\n\r\n"
    connection.sendall((head + said).encode())
    return connection


def until(true: Any, seconds: float = 60.0) -> None:
    """Wait for it."""
    ends = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < ends
        time.sleep(0.01)


@pytest.mark.parametrize("streamed", [False, True])
def test_a_client_that_leaves_frees_its_place(streamed: bool) -> None:
    engine = Slow()
    with open_server(engine) as client:
        connection = raw_request(client, "leaves", stream=streamed)
        assert engine.begun.acquire(timeout=60)
        connection.close()
        until(lambda: engine.stopped == ["leaves"])  # while it still had much to say
        engine.go.set()
        assert ask(client, "stays").json()["choices"][0]["message"]["content"] == "stays 0 1 2 "
        until(lambda: client.get("/v1/status").json()["queue"]["active"] == 0)
        assert "gemma_edge_clients_left_total 1.0" in client.get("/metrics").text


def test_a_client_that_leaves_the_queue_is_not_asked_for() -> None:
    engine = Slow()
    with open_server(engine) as client, ThreadPoolExecutor(1) as threads:
        first = threads.submit(ask, client, "first")
        assert engine.begun.acquire(timeout=60)
        connection = raw_request(client, "leaves", stream=False)
        until(lambda: client.get("/v1/status").json()["queue"]["waiting"] == 1)
        connection.close()
        until(lambda: client.get("/v1/status").json()["queue"]["waiting"] == 0)
        engine.go.set()
        assert first.result().status_code == 200
    assert engine.stopped == ["first"]


def test_a_reader_that_is_slow_holds_no_place() -> None:
    engine = Slow(words=2000)
    engine.go.set()
    with open_server(engine) as client:
        connection = raw_request(client, "slow", stream=True)  # and nothing of it is read
        until(lambda: engine.stopped == ["slow"])
        assert ask(client, "next").status_code == 200
        data = b""
        while b"[DONE]" not in data:
            data += connection.recv(1 << 16)
        connection.close()
    assert data.count(b'"content":"1999 "') == 1  # all of it came, late


def test_what_takes_too_long_ends() -> None:
    engine = Slow()
    with open_server(engine, Settings(limits=Limits(seconds=1.0))) as client:
        assert error(ask(client, "whole"))[:2] == (504, "deadline")
        streamed = ask(client, "streamed", stream=True)
        assert streamed.status_code == 200
        assert '"code":"deadline"' in streamed.text.split("\n\n")[-2]
        assert "[DONE]" not in streamed.text
        until(lambda: engine.stopped == ["whole", "streamed"])


def test_a_queue_that_is_full_says_when_to_come_again() -> None:
    engine = Slow()
    with (
        open_server(engine, Settings(limits=Limits(waiting=1, each=1))) as client,
        ThreadPoolExecutor(2) as threads,
    ):
        asked = [threads.submit(ask, client, "first")]
        assert engine.begun.acquire(timeout=60)
        asked.append(threads.submit(ask, client, "second"))
        until(lambda: client.get("/v1/status").json()["queue"]["waiting"] == 1)
        refused = ask(client, "third")
        assert error(refused)[:2] == (429, "too_many_requests")
        assert int(refused.headers["retry-after"]) >= 1
        engine.go.set()
        assert [each.result().status_code for each in asked] == [200, 200]


def test_several_are_answered_at_once_and_each_its_own(client: httpx2.Client) -> None:
    assert client.get("/v1/status").json()["queue"]["places"] == 4  # what 8,192 tokens give room
    words = [f"Repeat: {number * 7919 % 90000 + 10000}" for number in range(24)]

    def say(text: str) -> str:
        said: str = ask(client, text, max_tokens=24).json()["choices"][0]["message"]["content"]
        return said

    with ThreadPoolExecutor(12) as threads:
        together = list(threads.map(say, words))
    assert sum(word.split()[1] in said for word, said in zip(words, together, strict=True)) > 20
    assert together == [say(word) for word in words]


@pytest.mark.parametrize("streamed", [False, True])
def test_an_engine_that_dies_fails_its_own_request(streamed: bool) -> None:
    engine = Slow(error=EngineStopped("it was killed", hint="ask it again"))
    engine.go.set()
    with open_server(engine) as client:
        response = ask(client, "x", stream=streamed)
        if streamed:
            assert '"code":"engine_stopped"' in response.text.split("\n\n")[-2]
        else:
            assert error(response)[:2] == (503, "engine_stopped")
        engine._error = None
        assert ask(client, "y").status_code == 200


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_worker_that_is_killed_is_there_for_the_next(tmp_path: Path) -> None:
    running = Running(home=tmp_path)
    workers = Path(f"/proc/{running.process.pid}/task/{running.process.pid}/children")
    if not workers.exists():
        running.end()
        pytest.skip("no /proc")
    with httpx2.Client(base_url=running.url, timeout=120) as client:
        assert chat(client).status_code == 200
        for child in workers.read_text().split():
            os.kill(int(child), signal.SIGKILL)
        answer = chat(client)
        assert answer.json()["choices"][0]["message"]["content"] == TEXT
    assert running.end()[0] == 0


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_answers_under_way_come_to_their_end(tmp_path: Path) -> None:
    running = Running(home=tmp_path)
    body = {"model": "demo", "messages": HELLO, "temperature": 0, "stream": True, "n": 8}
    with httpx2.stream(
        "POST", f"{running.url}/v1/chat/completions", json=body, timeout=120
    ) as response:
        lines = response.iter_lines()
        next(lines)
        running.process.send_signal(signal.SIGTERM)
        rest = list(lines)
    assert "data: [DONE]" in rest
    assert sum('"finish_reason":"stop"' in line for line in rest) == 8
    assert running.process.communicate(timeout=120)[0] == ""
    assert running.end()[0] == 0
    with pytest.raises(httpx2.TransportError):
        httpx2.get(f"{running.url}/health")


def test_no_token_waits_for_the_one_before_to_be_acknowledged() -> None:
    with listen("127.0.0.1", 0) as listening, socket.create_connection(listening.getsockname()):
        accepted, _ = listening.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_port_that_is_taken_is_told_once() -> None:
    with listen("127.0.0.1", 0) as listening:
        port = listening.getsockname()[1]
        with pytest.raises(UsageError) as caught:
            listen("127.0.0.1", port)
    assert caught.value.message.count(str(port)) == 1
