"""What a page does with the client module, and what its server answers."""

from __future__ import annotations

import json
from typing import Any

from flask import Response, jsonify
from playwright.sync_api import Page

DEPOSIT = """async (options) => {
  try {
    return await sluice.deposit({ getToken: async () => 'ct_one', amount: '25.00', currency: 'USD', ...options });
  } catch (error) {
    return { name: error.name, status: error.status, errors: error.errors, message: error.message };
  }
}"""

WATCH = """(options) => {
  window.seen = { messages: [], states: [], resets: [], tokens: 0, errors: [] };
  window.handle = sluice.watch({
    getToken: async () => ({ token: `ct_${(seen.tokens += 1)}`, expires_at: '2099-01-01T00:00:00.000000Z' }),
    onMessage: (message) => seen.messages.push(message),
    onReset: (hello) => seen.resets.push(hello.last_id),
    onState: (state) => seen.states.push(state),
    onError: (error) => seen.errors.push(String(error)),
    ...options,
  });
}"""


def seen(page: Page) -> dict[str, Any]:
    result: dict[str, Any] = page.evaluate("() => ({ ...seen, lastId: handle.lastId })")
    return result


def ids(page: Page) -> list[int]:
    return [message["id"] for message in seen(page)["messages"]]


def message(number: int) -> dict[str, Any]:
    return {"id": number, "type": "payment.completed", "payment": {"id": f"p{number}"}, "at": "2025-01-01T00:00:00Z"}


def pending(status: int = 202) -> tuple[Response, int]:
    return jsonify({"id": "p1", "status": "pending", "redirect_url": None}), status


def refused(status: int, body: dict[str, Any], **headers: str) -> Response:
    return Response(json.dumps(body), status, headers, mimetype="application/problem+json")
