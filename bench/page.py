"""docs/performance.md and its charts, made of a report: `python -m bench.page` makes them of the committed one."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from bench.charts import bars, line
from bench.report import Report
from bench.table import COMPARED, compared_rows, goal_rows, obstacles, shares

_ROOT = Path(__file__).parents[1]
LATEST = _ROOT / "bench" / "results" / "latest.json"
PAGE = _ROOT / "docs" / "performance.md"
CHARTS = _ROOT / "docs" / "performance"

_INTRODUCTION = """\
# Performance

<!-- Written by bench/page.py from bench/results/latest.json. Run `make bench` for both. -->

<!-- not run: takes 25 minutes, and writes this page -->
```bash
make bench          # all of this, about 25 minutes; writes this page
make bench-quick    # two minutes, figures that are about right, no page
make bench-live     # the part over a real vLLM worker on CPU; installs vLLM (2.4 GB) when it is missing
```

`BENCH_WORKERS=http://worker:8000` takes a worker of yours for the last of these, `BENCH_WORKERS_API_KEY` its key.
LiteLLM and vllm-router are installed in a virtual environment of their own, nginx and HAProxy when root runs it on
Debian; what isn't installed is left out, and named below. `.venv/bin/python -m bench split mixed` measures two parts.
"""
# What the report calls the runs over a real worker.
_LIVE = {
    "live_ms": "one real vLLM worker whose model computes next to nothing, p50",
    "live_ms.cpu": "one real vLLM worker that computes on the same cores, p50",
}
_MANY_CLIENTS = "10 clients, 32 documents, none known"
_MANY = {
    "many_p50_ms": "p50, ms",
    "many_cpu_ms": "CPU per request, probes included, ms",
    "many_probing_percent": "CPU of probes without requests, % of a core",
    "many_scrape_ms": "a scrape of `/metrics`, ms",
    "many_livez_p50_ms": "`/livez`, p50, ms",
    "many_livez_ms": "`/livez`, the slowest, beside that scrape, ms",
    "many_memory_mb": "memory, MB",
}
_METHOD = """\
## How it is measured

- The measured server has the first core for itself; workers and load share the others. CPU time is that of all its
  processes, kernel included.
- Fake workers (`bench/fake_worker.py`) are processes of their own and answer as vLLM 0.32.0 does. For CPU and added
  latency they take no time. Elsewhere they score one call after another: in 2 ms and 0.75 ms per document, which is
  what vLLM's host side takes however fast the GPU is, or in 11 ms and 1.7 ms, which a tiny model on CPU takes.
- Who is compared takes turns in 15 rounds of 0.5 s, so that what disturbs the machine hits all. CPU time and p50 are
  those of the best round, since what else runs can only add to them; other figures are medians.
- At a constant rate, latency counts from when a request was due, not from when it could be sent.
- The gateway and the peers run on the same Python. One that was built with profile-guided optimization, as
  distributions and images have it, takes 8 to 29 % less CPU time than one built without: in a fresh clone,
  `make bench PYTHON=/usr/bin/python3` takes the distribution's.
- CPU times of two runs can be compared only as far as the machine was as fast in both; `speed` below says how fast, and
  nginx's figures how fast for requests.
- Every server gets the same requests: a model's name, documents of 600 or 700 bytes, and a query of its own each,
  unless all shall be known.
"""


def main() -> None:
    """Write the page anew from the committed report."""
    write_page(Report.read(LATEST))


def write_page(report: Report) -> None:
    """Write the page and its charts."""
    PAGE.write_text(page(report))
    CHARTS.mkdir(exist_ok=True)
    for name, chart in charts(report).items():
        (CHARTS / f"{name}.svg").write_text(chart)


def page(report: Report) -> str:
    """The page as Markdown."""
    drawn = charts(report)
    sections = [_INTRODUCTION, *_goals(report), *_compared(report, drawn), *_split(report, drawn)]
    sections += [*_further(report), *_many(report), *_memory(report, drawn), _METHOD, *_setting(report)]
    return "\n".join(sections)


def charts(report: Report) -> dict[str, str]:
    """The charts by name, of what was measured."""
    figures, drawn = report.figures, {}
    if costs := figures.get("cpu_ms.unknown"):
        drawn["cpu"] = bars("CPU time per request of 32 documents", _ascending(costs), unit="ms")
    if latencies := figures.get("p50_ms.10"):
        drawn["latency"] = bars(
            "Latency p50, 10 clients, a worker that takes no time", _ascending(latencies), unit="ms"
        )
    if times := figures.get("thousand_ms.gpu"):
        drawn["split"] = bars("1000 documents, fast GPU", _workers(times), unit="ms")
    if samples := report.series.get("memory_mb"):
        drawn["memory"] = line("Memory of the gateway at full rate", samples, unit="MB", of="of new pairs")
    return drawn


def _goals(report: Report) -> Iterator[str]:
    yield "## Goals\n"
    yield from _table(["what", "goal", "accepted", "measured", "met?"], [row for row, _ in goal_rows(report)])
    if report.note:
        yield f"{report.note}\n"
    yield "What keeps the rest from its goal:\n"
    yield from (f"- {what}: {obstacle}." for what, obstacle in obstacles(report))
    yield ""


def _compared(report: Report, drawn: Mapping[str, str]) -> Iterator[str]:
    yield "## Compared\n"
    yield "Milliseconds per request; latencies over a worker that takes no time. The worker is called directly.\n"
    yield from _table(["server", *COMPARED.values()], compared_rows(report))
    yield f"{shares(report)}\n"
    yield from _pictures(drawn, "cpu", "latency")
    yield from (f"- {name}: {remark}." for name, remark in report.remarks.items())
    yield from (f"- Not measured: {name}. `{reason.splitlines()[-1]}`" for name, reason in report.missing.items())
    yield ""


def _split(report: Report, drawn: Mapping[str, str]) -> Iterator[str]:
    yield "## 1000 documents over several workers\n"
    for what, heading in (("gpu", "fast GPU, p50"), ("cpu", "tiny model on CPU, p50")):
        if times := report.figures.get(f"thousand_ms.{what}"):
            yield from _table([heading, "ms"], _rows(_workers(times)))
    for what, heading in _LIVE.items():
        if times := report.figures.get(what):
            yield from _table([heading, "ms"], _rows(times))
    yield from _pictures(drawn, "split")


def _further(report: Report) -> Iterator[str]:
    figures = report.figures
    yield "## Searches, mixed sizes, the cache\n"
    if scored := figures.get("scored_per_distinct"):
        yield from _table(
            ["searches of 8 clients at once, queries by Zipf", "pairs scored per distinct pair"], _rows(scored)
        )
    if "mixed_per_s" in figures:
        rows = [(f"p50, p99, percent refused: {name}", _mixed(report, name)) for name in ("idle", "busy")]
        yield from _table([f"up to 10 documents beside up to 200, 4 workers ({_peak(report)})", "ms, ms, %"], rows)
    if pair := figures.get("pair_us"):
        yield from _table(["a pair in the cache", "us of CPU"], _rows(pair))


def _many(report: Report) -> Iterator[str]:
    if "many_p50_ms" not in report.figures:
        return
    yield "## Very many workers\n"
    counts = list(report.figures["many_p50_ms"])
    rows = [(head, *(f"{report.figures[what][count]:.4g}" for count in counts)) for what, head in _MANY.items()]
    yield from _table([f"all are one fake worker; {_MANY_CLIENTS}", *(f"{count} workers" for count in counts)], rows)


def _memory(report: Report, drawn: Mapping[str, str]) -> Iterator[str]:
    yield "## Memory\n"
    if sizes := report.figures.get("memory_mb"):
        yield from _table(["resident memory of the gateway", "MB"], _rows(sizes))
    if pairs := report.figures.get("pairs_mb"):
        yield from _table(["pairs in the cache, each in place of an earlier one", "MB"], _rows(pairs))
    yield from _pictures(drawn, "memory")


def _setting(report: Report) -> Iterator[str]:
    quick = " by a quick run, so only about right" if report.is_quick else ""
    yield f"## Setting\n\nTaken at {report.taken_at}{quick}.\n"
    yield from _table(["machine", ""], list(report.machine.items()))
    yield from _table(["version", ""], list(report.versions.items()))


def _peak(report: Report) -> str:
    return f"{report.figures['mixed_per_s']['peak']:.0f} requests per second at most, 90 % of it when busy"


def _mixed(report: Report, name: str) -> str:
    p50_ms, p99_ms, refused = (
        report.figures[f"mixed_{what}"][name] for what in ("p50_ms", "p99_ms", "refused_percent")
    )
    return f"{p50_ms:.1f}, {p99_ms:.1f}, {refused:.1f}"


def _rows(values: Mapping[str, float]) -> list[Sequence[str]]:
    return [(name, f"{value:.4g}") for name, value in values.items()]


def _table(heads: Sequence[str], rows: Iterator[Sequence[str]] | Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(heads)} |"
    yield f"|{'---|' * len(heads)}"
    yield from (f"| {' | '.join(row)} |" for row in rows)
    yield ""


def _pictures(drawn: Mapping[str, str], *names: str) -> Iterator[str]:
    yield from (f"![{name}](performance/{name}.svg)\n" for name in names if name in drawn)


def _ascending(values: Mapping[str, float]) -> dict[str, float]:
    return dict(sorted(values.items(), key=lambda one: one[1]))


def _workers(times: Mapping[str, float]) -> dict[str, float]:
    """In the order of a reader's questions: what one call takes, then the gateway over ever more workers."""
    return {"one call to one worker": times["one call"]} | {
        f"{name.replace(', ', ' over ')} worker{'s' * (not name.endswith('1'))}": value
        for name, value in times.items()
        if name != "one call"
    }


if __name__ == "__main__":
    main()
