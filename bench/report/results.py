"""Writes RESULTS.md and its charts from the JSON of a run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.report.plots import draw_bars, draw_line
from bench.run import KEYS

WHAT = {
    "settle_vs_celery_noop": "webhooks settled by 2 worker processes / no-op tasks of Celery's defaults, 2 processes",
    "settle_vs_celery_noop_own_settings": "the same / no-op tasks with the product's own Celery settings",
    "settle_vs_row_at_a_time": "the same / pgbench, one transaction a credit, 16 clients, same tables and constraints",
    "settle_hot_wallet": "all to one wallet / spread over 10,000",
    "settle_at_10m": "with history / with none",
    "intake_vs_hello": "webhooks verified, stored and answered / the same server's hello",
    "deposit_vs_hello": "deposits stored and answered / hello",
    "intake_with_backlog": "webhooks taken while others wait for workers / while none does",
    "webhook_to_socket_ms": "POST of the webhook to the browser's frame, idle",
    "deposit_to_redirect_overhead_ms": "`Prefer: wait` answer less the provider's own time",
    "sockets": "live sockets on one process",
    "provider_calls": "deposits brought to their pay page by one worker / one Celery task a call",
    "deliveries": "webhooks to a tenant's endpoint by one process / a bare loop of `requests`",
    "webhook_credited": "signed POST to credited, 16 callers / plain Flask and Celery",
    "whole_way": "deposit, provider, webhook, credit, frame / plain Flask and Celery without frames",
    "batch_fixed_cost": "a batch of one, in rows of a full batch, one process",
    "sustained": "the second so many webhooks in a row / the first",
    "drain_after_outage": "all due at once when the workers start / the settle rate",
}


def write_results(run: Mapping[str, Any], folder: Path) -> Path:
    """Write RESULTS.md and plots/*.svg below `folder`; return the path of RESULTS.md."""
    (folder / "plots").mkdir(parents=True, exist_ok=True)
    pictures = _draw(run)
    for name, picture in pictures.items():
        (folder / "plots" / f"{name}.svg").write_text(picture, encoding="utf-8")
    parts = [_head(run), _table(run), _details(run), describe_costs(run), describe_hops(run)]
    parts += [f"![{name.replace('-', ' ')}](plots/{name}.svg)\n" for name in pictures]
    path = folder / "RESULTS.md"
    path.write_text("\n".join(parts), encoding="utf-8")
    return path


def _head(run: Mapping[str, Any]) -> str:
    machine, versions = run["machine"], run["versions"]
    return (
        "# What was measured\n\n"
        f"Written by `make bench`, the {run['form']} form, {run['date']}, {run['seconds']} s. "
        f"{machine['processors']} processors ({machine['processor']}), {machine['memory_gb']} GB, {machine['system']}; "
        f"load average before the run {machine['load_before'][0]}. "
        + ", ".join(f"{name} {version}" for name, version in versions.items())
        + ".\n\nThe real product with everything on: embedded PostgreSQL with fsync and synchronous commits, Valkey, "
        "gunicorn, Celery workers with the product's settings, row-level security, double entry, audit and its seals, "
        "notifications. Clients and servers share the processors. Baselines are measured in the same run, interleaved; "
        "each figure is the median of its rounds, the spread is the largest minus the smallest round.\n"
    )


def _table(run: Mapping[str, Any]) -> str:
    rows = ["| key | what | goal | measured | ratio | met? |", "|---|---|---|---|---|---|"]
    for key in KEYS:
        figure = run.get(key)
        if figure is None or key not in WHAT:
            continue
        met = {True: "yes", False: "**no**"}.get(figure.get("met"), "no goal")
        goal, measured, ratio = _cells(key, figure)
        rows.append(f"| `{key}` | {WHAT[key]} | {goal} | {measured} | {ratio} | {met} |")
    return "\n".join(rows) + "\n"


def _cells(key: str, figure: Mapping[str, Any]) -> tuple[str, str, str]:
    """Return goal, measured and ratio as the table shows them."""
    if figure.get("error"):
        return "", f"failed: {figure['error'][:120]}", ""
    goal = figure["goal"]
    if key == "sockets":
        measured = (
            f"{figure['median']:,}; {figure['kb_each']} KB each; broadcast p99 {figure['broadcast_p99']['median']} s"
        )
        return f">= {goal['count']:,}; <= {goal['kb_each']} KB; <= {goal['broadcast_p99']} s", measured, ""
    if isinstance(goal, dict) and "p50" in goal:
        return (
            f"p50 <= {goal['p50']}, p99 <= {goal['p99']}",
            f"p50 {figure['median']}, p99 {figure['p99']['median']}",
            "",
        )
    rates = [(name, value) for name, value in figure.items() if isinstance(value, dict) and value.get("unit") == "1/s"]
    measured = ", ".join(f"{name.replace('_', ' ')} {value['median']:,.0f}/s" for name, value in rates)
    bound = f"<= {goal['at_most']:g}" if isinstance(goal, dict) else f">= {goal}"
    return "" if goal is None else bound, measured, f"{figure['median']} (spread {figure['spread']})"


def _details(run: Mapping[str, Any]) -> str:
    lines = []
    socket = run.get("webhook_to_socket_ms", {})
    if "at_half_rate" in socket:
        lines.append(f"- `webhook_to_socket_ms` while {socket['load_per_second']:,} others a second are settled: "
                     f"p50 {socket['at_half_rate']['p50']}, p99 {socket['at_half_rate']['p99']}.")  # fmt: skip
    history = run.get("settle_at_10m", {})
    if "history" in history:
        lines.append(f"- `settle_at_10m` had {history['history']:,} payments and webhooks of history in this run.")
    drain = run.get("drain_after_outage", {})
    if "due_at_once" in drain:
        lines.append(f"- `drain_after_outage` had {drain['due_at_once']:,} due at once; the workers took "
                     f"{drain['start_seconds']['median']} s to start, which is not in the rate.")  # fmt: skip
    if "connections" in run.get("intake_vs_hello", {}):
        lines.append(f"- `intake_vs_hello` and `deposit_vs_hello`: one web process, "
                     f"{run['intake_vs_hello']['connections']} connections, no worker running.")  # fmt: skip
    behind = run.get("intake_with_backlog", {})
    if "backlog" in behind:
        lines.append(f"- `intake_with_backlog`: {behind['backlog']:,} webhooks waited, and no worker ran; after all "
                     f"rounds {behind['doorbells_waiting']} doorbells waited in the broker.")  # fmt: skip
    messages = run.get("settle_by_batch_size", {}).get("messages_per_batch")
    if messages:
        lines.append(f"- A full batch takes {messages:g} messages to the database.")
    return "\n".join(lines) + "\n"


COST_KEYS = (
    *("settle_vs_celery_noop", "settle_vs_row_at_a_time", "intake_vs_hello", "deposit_vs_hello", "sockets"),
    *("provider_calls", "deliveries", "webhook_credited", "whole_way"),
)
# What is the product's own comes first, then its servers, then who asks.
COST_COLUMNS = (
    *("web", "sockets", "worker-settle", "worker-provider", "worker-deliver", "beat"),
    *("postgresql", "valkey", "load generator"),
)


def describe_costs(run: Mapping[str, Any]) -> str:
    """Return the table of processor time by operation and process; empty where nothing was charged."""
    rows = {cost["operation"]: cost["microseconds"] for key in COST_KEYS for cost in run.get(key, {}).get("costs", ())}
    names = [name for name in COST_COLUMNS if any(name in spent for spent in rows.values())]
    if not rows:
        return ""
    lines = [
        "## Where the time goes\n",
        "Processor time of each operation in microseconds, over all rounds. The machine has as many seconds a second "
        "as processors: no operation can be done more often than its sum fits into them.\n",
        f"| operation | {' | '.join(names)} | sum |",
        "|---" * (len(names) + 2) + "|",
    ]
    for operation, spent in rows.items():
        cells = [f"{spent[name]:,.0f}" if name in spent else "" for name in names]
        lines.append(f"| {operation} | {' | '.join(cells)} | {sum(spent.values()):,.0f} |")
    lines.append("\nThe numbering and sealing that trail a settled webhook are in its line.")
    return "\n".join(lines) + "\n"


def describe_hops(run: Mapping[str, Any]) -> str:
    """Return the table of a webhook's way to the browser; empty where none was followed."""
    hops = run.get("webhook_to_socket_ms", {}).get("hops")
    if not hops:
        return ""
    lines = ["A webhook on its way to the browser, idle; the median of each hop, in a round of its own:\n"]
    lines += ["| hop | ms |", "|---|---|", *(f"| {hop['hop']} | {hop['ms']:.1f} |" for hop in hops)]
    lines.append(f"| sum | {sum(hop['ms'] for hop in hops):.1f} |")
    return "\n".join(lines) + "\n"


def _draw(run: Mapping[str, Any]) -> dict[str, str]:
    """Return the charts for which the run has figures, by name."""
    pictures = {}
    batches = run.get("settle_by_batch_size", {}).get("points")
    if batches:
        points = [(point["batch"], point["per_second"]) for point in batches]
        title = "Webhooks settled per second by one process, against the size of its batches"
        pictures["batch-size"] = draw_line(title, "webhooks in a batch", "per second", points)
    history = run.get("settle_at_10m", {}).get("points")
    if history:
        points = [(point["payments"], point["per_second"]) for point in history]
        title = "Webhooks settled per second, against payments of history"
        pictures["history"] = draw_line(title, "payments of history", "per second", points)
    series = {
        "webhook to socket": run.get("webhook_to_socket_ms", {}).get("idle"),
        "at half rate": run.get("webhook_to_socket_ms", {}).get("at_half_rate"),
        "deposit to redirect": run.get("deposit_to_redirect_overhead_ms", {}).get("idle"),
    }
    known = {name: values for name, values in series.items() if values}
    if known:
        pictures["latency"] = draw_bars("Latency by percentile", "ms", known)
    return pictures
