"""Sends one webhook many times at once; run in processes of their own."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import requests


def send_copies(url: str, body: bytes, headers: dict[str, str], copies: int) -> list[tuple[int, bool]]:
    """Return (status code, duplicate) of each copy's answer."""

    def send(_: int) -> tuple[int, bool]:
        answer = requests.post(url, data=body, headers=headers, timeout=30)
        return answer.status_code, bool(answer.json().get("duplicate"))

    with ThreadPoolExecutor(copies) as pool:
        return list(pool.map(send, range(copies)))
