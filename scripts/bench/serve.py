"""``gemma-edge serve`` under load, beside llama-server's code: requests a second, first token, p50
and p99 at 1, 8 and 32 clients; and with ``--chaos`` clients that leave, read slowly or flood it
while its worker is killed.

All get the same texts to go on with (``/v1/completions``, streamed, greedy), each with words of
its own, so that nothing but the beginning is in a cache. llama-server's code comes twice: with the
context divided among the clients, its own way, and shared, so that a request may fill it, as here.
"""

import argparse
import asyncio
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
from measure import cores, note

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "models" / "demo" / "gemma-4-demo-Q8_0.gguf"
CONTEXT = 8192
AT_ONCE = 8
WORDS = 60  # of a prompt
TOKENS = 32  # of an answer
_TIMEOUT = httpx2.Timeout(600.0)
_ANEW = httpx2.Limits(max_keepalive_connections=0)  # llama-server closes connections by itself


@dataclass(slots=True)
class Seen:
    """What clients saw, in seconds."""

    first: list[float] = field(default_factory=list)
    whole: list[float] = field(default_factory=list)
    seconds: float = 0.0

    def figures(self) -> dict[str, Any]:
        return {
            "requests_per_second": round(len(self.whole) / self.seconds, 2),
            "first_token_p50": at(self.first, 50), "first_token_p99": at(self.first, 99),
            "whole_p50": at(self.whole, 50), "whole_p99": at(self.whole, 99),
        }  # fmt: skip


def at(values: Sequence[float], percent: int) -> float:
    """That percentile, in seconds."""
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, len(ordered) * percent // 100)], 3)


def main() -> None:
    """Measure, and print one object."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--peer-python")
    parser.add_argument("--model", default=str(DEMO), help="a GGUF file that both load")
    parser.add_argument("--clients", default="1,8,32")
    parser.add_argument("--requests", type=int, default=64, help="of all clients, in each run")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--chaos", action="store_true", help="with the bundled model, alone")
    parser.add_argument("--chaos-clients", type=int, default=200)
    parser.add_argument("--chaos-requests", type=int, default=2000)
    options = parser.parse_args()
    found: dict[str, Any] = {"cores": cores(), "load": os.getloadavg()[0]}
    if options.chaos:
        found["chaos"] = asyncio.run(
            chaos(options.chaos_clients, options.chaos_requests, options.threads)
        )
    else:
        found |= compare(options)
    print(json.dumps(found))


# ----------------------------------------------------------------------------
# Beside llama-server's code.


def compare(options: argparse.Namespace) -> dict[str, Any]:
    """All servers at each number of clients, one after the other in each round."""
    threads = options.threads
    servers = {
        "ours": ours(
            threads,
            "--model",
            options.model,
            "--ctx",
            str(CONTEXT),
            "--no-vision",
            "--at-once",
            str(AT_ONCE),
        )
    }
    if options.peer_python:
        servers["llama_server"] = peer(threads, options.peer_python, options.model)
        servers["llama_server_shared"] = peer(
            threads, options.peer_python, options.model, "--shared"
        )
    found: dict[str, Any] = {}
    for count in map(int, options.clients.split(",")):
        runs: dict[str, list[dict[str, Any]]] = {name: [] for name in servers}
        for turn in range(options.rounds):
            for name in sorted(servers, reverse=bool(turn % 2)):
                with servers[name].open() as url:
                    asyncio.run(ask_all(url, 2, 4))  # uncounted
                    seen = asyncio.run(ask_all(url, count, options.requests))
                runs[name].append(seen.figures())
                rate = runs[name][-1]["requests_per_second"]
                note(f"{count:3} clients  round {turn + 1}  {name:19} {rate:6.2f} requests/s")
        found[f"{count}_clients"] = {name: median(each) for name, each in runs.items()}
    return found


def median(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {name: round(statistics.median(run[name] for run in runs), 3) for name in runs[0]}


@dataclass(frozen=True, slots=True)
class Server:
    """A command that prints its address when it can be asked."""

    command: tuple[str, ...]

    @contextmanager
    def open(self) -> Iterator[str]:
        with self.start() as (_, url):
            yield url

    @contextmanager
    def start(self) -> Iterator[tuple[int, str]]:
        """Its process and its address."""
        with tempfile.TemporaryFile("w+") as said:
            process = subprocess.Popen(
                self.command, stdout=subprocess.PIPE, stderr=said, text=True, cwd=ROOT
            )
            assert process.stdout is not None
            with process:
                url = process.stdout.readline().strip()
                try:
                    if not url:
                        said.seek(0)
                        sys.exit(said.read()[-2000:])
                    yield process.pid, url
                finally:
                    process.terminate()


def ours(threads: int, *words: str) -> Server:
    command = (sys.executable, "-m", "gemma_edge", "serve", "--port", "0", *words)
    return Server((*command, "--threads", str(threads), "--max-waiting", "4000"))


def peer(threads: int, python: str, model: str, *more: str) -> Server:
    script = str(Path(__file__).with_name("serve_peer.py"))
    numbers = ("--context", str(CONTEXT), "--threads", str(threads), "--parallel", str(AT_ONCE))
    return Server((python, script, model, *numbers, *more))


async def ask_all(url: str, clients: int, requests: int) -> Seen:
    """So many clients, each asking again when it has its answer."""
    seen, left = Seen(), iter(range(requests))
    chance = random.Random(1)
    prompts = [" ".join(chance.choices(_NOUNS, k=WORDS)) for _ in range(requests)]

    async def client() -> None:
        async with httpx2.AsyncClient(base_url=url, timeout=_TIMEOUT, limits=_ANEW) as opened:
            name = (await opened.get("/v1/models")).json()["data"][0]["id"]
            for number in left:
                await ask(opened, name, prompts[number], seen)

    began = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    seen.seconds = time.perf_counter() - began
    return seen


async def ask(client: httpx2.AsyncClient, name: str, prompt: str, seen: Seen) -> None:
    body = {"model": name, "prompt": prompt, "max_tokens": TOKENS, "temperature": 0, "stream": True}
    began, first = time.perf_counter(), 0.0
    async with client.stream("POST", "/v1/completions", json=body) as response:
        response.raise_for_status()
        async for line in response.aiter_lines():
            if line.startswith("data: {") and '"text":""' not in line:
                first = first or time.perf_counter() - began
    seen.first.append(first)
    seen.whole.append(time.perf_counter() - began)


_NOUNS = tuple(
    word
    for line in (
        "apple river stone garden window letter music winter summer bridge paper silver candle",
        "forest mountain harbour kitchen market doctor teacher engine planet island castle yellow",
    )
    for word in line.split()
)


# ----------------------------------------------------------------------------
# Clients as they are.


_KILLS = 6  # of the worker
_FLOOD = 20  # connections of the one client that floods


async def chaos(clients: int, requests: int, threads: int) -> dict[str, Any]:
    """Answers must be whole and their own, memory flat, and nobody starved by the one who floods.
    Loopback has an address for each client."""
    server = ours(
        threads, "--model", "demo", "--ctx", str(CONTEXT), "--max-waiting", str(4 * clients)
    )
    told: Counter[str] = Counter()
    waits: dict[str, list[float]] = {"flood": [], "others": []}
    with server.start() as (process, url):
        async with httpx2.AsyncClient(base_url=url, timeout=_TIMEOUT) as first:
            for number in range(20):
                await question(first, number, "whole")
        memory = [resident(process)]
        left = iter(range(requests))
        over = asyncio.Event()

        async def client(number: int) -> None:
            flood = number < _FLOOD
            source = f"127.0.{1 + number // 250}.{1 + number % 250}" if not flood else "127.0.9.9"
            transport = httpx2.AsyncHTTPTransport(local_address=source)
            chance = random.Random(number)
            async with httpx2.AsyncClient(
                base_url=url, timeout=_TIMEOUT, transport=transport
            ) as opened:
                for each in left:
                    how = chance.choices(("whole", "stream", "slow", "leaves"), (4, 4, 1, 2))[0]
                    began = time.perf_counter()
                    told[await patiently(opened, each, how, chance, told)] += 1
                    waits["flood" if flood else "others"].append(time.perf_counter() - began)
                    if not flood:
                        await asyncio.sleep(chance.random())

        async def kill() -> None:
            while not over.is_set():
                with suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(over.wait(), 10)
                if not over.is_set() and told["killed"] < _KILLS:
                    told["killed"] += kill_workers(process)
                memory.append(resident(process))

        began = time.perf_counter()
        killing = asyncio.create_task(kill())
        await asyncio.gather(*(client(number) for number in range(clients)))
        seconds = time.perf_counter() - began
        over.set()
        await killing
        async with httpx2.AsyncClient(base_url=url, timeout=_TIMEOUT) as last:
            await asyncio.sleep(2)
            queue = (await last.get("/v1/status")).json()["queue"]
            metrics = (await last.get("/metrics")).text
            assert await question(last, 1, "whole") == "right"
            for word, said in list(_ODD.items()):  # the model's own mistakes are no crossing
                told["as alone" if await alone(last, word) == said else "not as alone"] += 1
    left_count = [
        line for line in metrics.splitlines() if line.startswith("gemma_edge_clients_left_total")
    ]
    return {
        "outcomes": dict(told), "odd": dict(_ODD), "seconds": round(seconds, 1),
        "queue_after": queue,
        "clients_left": left_count, "server_mib": [round(each / 2**20, 1) for each in memory],
        "wait_p50": {name: at(each, 50) for name, each in waits.items() if each},
        "wait_p99": {name: at(each, 99) for name, each in waits.items() if each},
    }  # fmt: skip


async def patiently(
    client: httpx2.AsyncClient, number: int, how: str, chance: random.Random, told: Counter[str]
) -> str:
    """Ask until there is an answer: again where the queue was full, or the worker died."""
    while True:
        outcome = await question(client, number, how, chance)
        if outcome not in ("full", "died"):
            return outcome
        told[outcome] += 1
        await asyncio.sleep(chance.random())


async def question(
    client: httpx2.AsyncClient, number: int, how: str, chance: random.Random | None = None
) -> str:
    """One question, whose answer has a number that is in no other."""
    word = f"{number * 7919 % 90000 + 10000}"
    body = asked_for(word, stream=how != "whole")
    if how == "whole":
        response = await client.post("/v1/chat/completions", json=body)
        if response.status_code != 200:
            return refused(response.json())
        return judge(response.json()["choices"][0]["message"]["content"], word)
    said, ended = "", False
    async with client.stream("POST", "/v1/chat/completions", json=body) as response:
        if response.status_code != 200:
            return refused(json.loads(await response.aread()))
        async for line in response.aiter_lines():
            ended |= line == "data: [DONE]"
            if not line.startswith("data: {"):
                continue
            piece = json.loads(line.removeprefix("data: "))
            if "error" in piece:
                return refused(piece)
            said += piece["choices"][0]["delta"].get("content", "") if piece["choices"] else ""
            if how == "leaves" and chance is not None and chance.random() < 0.3:
                return "left"
            if how == "slow":
                await asyncio.sleep(0.2)
    return judge(said, word) if ended else "cut"


def refused(body: dict[str, Any]) -> str:
    code = body["error"]["code"]
    kinds = {"overloaded": "full", "too_many_requests": "full", "engine_stopped": "died"}
    return kinds.get(code, f"refused: {code}: {body['error']['message'][:80]}")


def judge(said: str, word: str) -> str:
    if word in said:
        return "right"
    _ODD[word] = said
    return "other words"


_ODD: dict[str, str] = {}  # answers without the number that was asked for, by that number


async def alone(client: httpx2.AsyncClient, word: str) -> str:
    """The same question when nobody else asks."""
    response = await client.post("/v1/chat/completions", json=asked_for(word, stream=False))
    text: str = response.json()["choices"][0]["message"]["content"]
    return text


def asked_for(word: str, *, stream: bool) -> dict[str, Any]:
    messages = [{"role": "user", "content": f"Repeat: {word}"}]
    return {
        "model": "demo", "messages": messages, "temperature": 0, "max_tokens": 24,
        "stream": stream,
    }  # fmt: skip


def kill_workers(process: int) -> int:
    """Kill the engine's processes: the children that hold a model."""
    killed = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            if int(path.read_text().rpartition(")")[2].split()[1]) == process:
                maps = path.with_name("maps").read_text()
                if ".gguf" in maps:
                    os.kill(int(path.parent.name), signal.SIGKILL)
                    killed = 1
    return killed


def resident(process: int) -> int:
    """Bytes of memory that a process has."""
    text = Path(f"/proc/{process}/statm").read_text()
    return int(text.split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    main()
