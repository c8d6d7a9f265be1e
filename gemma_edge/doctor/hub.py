"""One question to the hub, with a short patience: does anything answer there?"""

import re
import threading
import time

from gemma_edge.doctor.facts import Hub

SECONDS = 2.0  # the whole answer of `doctor` is to come within three
_NUMBER = re.compile(r"^\[Errno -?\d+\] ")
_REFUSES = 500  # from this status on the server itself says that it does not work


def ask_hub(endpoint: str, seconds: float = SECONDS) -> Hub:
    """One HEAD request, through the client and the proxies that a download takes. Looking up a name
    knows no time limit, so it is the thread that is not waited for."""
    answers: list[Hub] = []
    started = time.monotonic()
    thread = threading.Thread(
        target=lambda: answers.append(_ask(endpoint, started, seconds)), daemon=True
    )
    thread.start()
    thread.join(seconds)
    late = Hub(endpoint, seconds, f"no answer within {seconds:g} s")
    return answers[0] if answers else late


def _ask(endpoint: str, started: float, seconds: float) -> Hub:
    import httpx2  # noqa: PLC0415  (the hub library's HTTP client; 0.1 s)

    try:
        answer = httpx2.head(endpoint, timeout=seconds)
    except (httpx2.HTTPError, httpx2.InvalidURL, ImportError, ValueError) as error:
        # ImportError and ValueError: a proxy that nobody here can speak to.
        said = _NUMBER.sub("", str(error)) or type(error).__name__
        return Hub(endpoint, time.monotonic() - started, said)
    status = answer.status_code
    trouble = f"it answers with status {status}" if status >= _REFUSES else ""
    return Hub(endpoint, time.monotonic() - started, trouble)
