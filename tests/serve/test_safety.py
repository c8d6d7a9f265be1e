"""Who may ask, from where, how much; and what is never done for a request."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx2
import pytest

from gemma_edge.serve.safety import Trusted
from gemma_edge.serve.server import Settings
from gemma_edge.serve.service import Limits
from tests.scripted import ScriptedEngine
from tests.serve.conftest import HELLO, Running, chat, image_uri, open_server, run
from tests.serve.test_openai import error
from tests.serve.test_queue import until

KEY = "a-key-of-somebody"


def trusting(**trusted: object) -> Settings:
    """Settings that trust so."""
    return Settings(trusted=Trusted(**trusted))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:80", "127.0.0.1", "[::1]:8765", "192.168.1.4:99", "localhost."],
)
def test_a_host_that_is_this_machine(client: httpx2.Client, host: str) -> None:
    assert client.get("/health", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.nip.io", "a b", "", "x@localhost"]
)
def test_a_name_that_was_pointed_here_is_refused(client: httpx2.Client, host: str) -> None:
    """DNS rebinding: a browser asks 127.0.0.1 in the name of a page from elsewhere."""
    assert error(client.get("/v1/models", headers={"Host": host}))[:2] == (403, "forbidden_host")


def test_a_name_may_be_allowed() -> None:
    with open_server(ScriptedEngine(), trusting(hosts=("gemma.example.org",))) as client:
        known = client.get("/health", headers={"Host": "gemma.example.org"})
        assert known.status_code == 200
        assert client.get("/health", headers={"Host": "example.org"}).status_code == 403


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:1"])
def test_a_page_of_another_server_may_not_ask(client: httpx2.Client, origin: str) -> None:
    response = client.post("/v1/chat/completions", headers={"Origin": origin}, json={})
    assert error(response)[:2] == (403, "forbidden_origin")
    assert not [name for name in response.headers if name.startswith("access-control")]


def test_its_own_page_may_ask(client: httpx2.Client) -> None:
    own = str(client.base_url).rstrip("/")
    assert client.get("/v1/models", headers={"Origin": own}).status_code == 200


def test_a_page_may_be_allowed() -> None:
    origin = "https://app.example"
    asked = {"Origin": origin, "Access-Control-Request-Method": "POST",
             "Access-Control-Request-Headers": "content-type"}  # fmt: skip
    with open_server(ScriptedEngine(["Hi"]), trusting(origins=(origin,))) as client:
        allowed = client.options("/v1/chat/completions", headers=asked)
        assert allowed.headers["access-control-allow-origin"] == origin
        body = {"model": "demo", "messages": HELLO}
        answer = client.post("/v1/chat/completions", json=body, headers={"Origin": origin})
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == origin
        other = client.get("/v1/models", headers={"Origin": "https://evil.example"})
        assert other.status_code == 403
        assert "access-control-allow-origin" not in other.headers


@pytest.mark.parametrize(
    "said", ["", "Bearer", "Bearer x", f"Bearer {KEY}x", f"Basic {KEY}", KEY, "Bearer \u00e9"]
)
def test_without_the_key_nothing_is_answered(said: str) -> None:
    headers = {"Authorization": said.encode()} if said else {}
    with open_server(ScriptedEngine(["Hi"]), trusting(keys=("another-key", KEY))) as client:
        for path in ("/v1/models", "/v1/status", "/metrics", "/openapi.json", "/nothing"):
            response = client.get(path, headers=headers)  # type: ignore[arg-type]
            assert error(response)[:2] == (401, "invalid_api_key")
        for path in ("/health", "/ready"):
            assert client.get(path, headers=headers).status_code == 200  # type: ignore[arg-type]
        right = client.get("/v1/models", headers={"Authorization": f"Bearer {KEY}"})
        assert right.status_code == 200


def test_a_header_that_is_there_twice_is_refused(client: httpx2.Client) -> None:
    headers = [("Origin", str(client.base_url)), ("Origin", "https://evil.example")]
    assert client.get("/v1/models", headers=headers).status_code == 400


def test_a_body_has_a_limit() -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(20):
            yield b" " * 1000

    json = {"Content-Type": "application/json"}
    with open_server(ScriptedEngine(), trusting(body_bytes=10_000)) as client:
        known = client.post("/v1/chat/completions", content=b" " * 10_001, headers=json)
        assert error(known)[:2] == (413, "too_large")
        unknown = client.post("/v1/chat/completions", content=pieces(), headers=json)
        assert error(unknown)[:2] == (413, "too_large")


def test_all_bodies_together_have_a_limit() -> None:
    """Many clients that send much and never end would fill the memory."""
    head = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10000\r\n"
    half = f"{head}Content-Type: application/json\r\n\r\n{' ' * 9000}".encode()
    asked = b" " * 9000
    json = {"Content-Type": "application/json"}
    with open_server(ScriptedEngine(), trusting(body_bytes=10_000)) as client:
        url = client.base_url
        address = (url.host, url.port or 0)
        with ExitStack() as stack:
            for _ in range(8):
                opened = stack.enter_context(socket.create_connection(address, timeout=60))
                opened.sendall(half)
            client.get("/health")
            refused = client.post("/v1/chat/completions", content=asked, headers=json)
            assert error(refused)[:2] == (503, "overloaded")
        until(lambda: client.post("/tokenize", content=asked, headers=json).status_code == 400)


def test_tokens_have_a_limit() -> None:
    settings = Settings(limits=Limits(max_tokens=2))
    with open_server(ScriptedEngine(["one two three four"] * 2), settings) as client:
        for asked in ({}, {"max_tokens": 100}):
            answer = chat(client, **asked).json()
            assert answer["choices"][0]["finish_reason"] == "length"
            assert answer["usage"]["completion_tokens"] == 2


def test_a_browser_is_told_to_run_nothing_from_elsewhere(client: httpx2.Client) -> None:
    headers = client.get("/health").headers
    assert "default-src 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert "server" not in headers


@pytest.mark.parametrize("name", ["../server.py", "..%2fserver.py", "%2e%2e/openapi.yaml", "x"])
def test_the_page_is_its_files_and_no_other(client: httpx2.Client, name: str) -> None:
    assert client.get(f"/page/{name}").status_code == 404


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_nothing_of_a_request_is_logged(tmp_path: Path) -> None:
    secret = "the secret of Bob"
    quiet, logging = Running(home=tmp_path), Running("--log", home=tmp_path)
    told = []
    for running in (quiet, logging):
        with httpx2.Client(base_url=running.url, timeout=120) as client:
            chat(client, messages=[{"role": "user", "content": secret}])
            chat(client, banana=secret)
            client.get("/v1/models")
        status, said = running.end()
        assert status == 0
        assert secret not in said
        told.append(said)
    assert "/v1/chat/completions" not in told[0]
    assert "POST /v1/chat/completions 200" in told[1]
    assert "POST /v1/chat/completions 400" in told[1]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.1", "example.org"])
def test_another_address_needs_a_key(tmp_path: Path, host: str) -> None:
    done = run("serve", "--model", "demo", "--host", host, home=tmp_path)
    assert done.status == 2
    assert "--api-key KEY" in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--api-key", "short"), "characters"),
        (("--api-key", "with a space"), "spaces"),
        (("--api-key", KEY, "--no-key"), "not both"),
        (("--allow-origin", "example.org"), "no origin"),
        (("--port", "70000"), "70000"),
        (("--max-body", "lots"), "size"),
        (("--api-key", "@no-such-file"), "no-such-file"),
    ],
)
def test_flags_that_cannot_be(tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    done = run("serve", "--model", "demo", *words, home=tmp_path)
    assert done.status in (2, 3)
    assert said in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("library", ["starlette", "uvicorn", "prometheus_client"])
def test_without_its_libraries_it_says_how_to_have_them(tmp_path: Path, library: str) -> None:
    code = (
        f"import sys; sys.modules[{library!r}] = None; from gemma_edge.cli.main import main;"
        "from gemma_edge.cli.context import Context;"
        "sys.exit(main(['serve', '--model', 'demo'], Context.from_process()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False,
        stdin=subprocess.DEVNULL, env={**os.environ, "XDG_DATA_HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        f"error: `gemma-edge serve` needs {library}, which is not installed",
        'hint: pip install "gemma-edge[serve]"',
    ]


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_port_that_is_taken(real: Running, tmp_path: Path) -> None:
    port = real.url.rpartition(":")[2]
    done = run("serve", "--model", "demo", "--port", port, home=tmp_path)
    assert done.status == 2
    assert f"127.0.0.1:{port}" in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_the_key_may_come_from_the_environment(tmp_path: Path) -> None:
    running = Running(home=tmp_path, GEMMA_EDGE_API_KEY=KEY)
    assert httpx2.get(f"{running.url}/v1/models").status_code == 401
    headers = {"Authorization": f"Bearer {KEY}"}
    assert httpx2.get(f"{running.url}/v1/models", headers=headers).status_code == 200
    assert running.end(signal.SIGINT)[0] == 130


def test_nothing_of_a_request_stays_on_the_disk(tmp_path: Path) -> None:
    """Whatever the person at the terminal remembers of their own documents."""
    running = Running(home=tmp_path, GEMMA_EDGE_REMEMBER="1")
    try:
        picture = {"type": "image_url", "image_url": {"url": image_uri()}}
        content = [picture, {"type": "text", "text": "What is it?"}]
        with httpx2.Client(base_url=running.url, timeout=120) as client:
            asked = chat(client, messages=[{"role": "user", "content": content}], max_tokens=4)
        assert asked.status_code == 200
    finally:
        running.end()
    assert not list(tmp_path.rglob("*.kv")) and not list(tmp_path.rglob("*.seen"))
