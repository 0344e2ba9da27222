"""The fixture `measure`, and one table of all rates at the end of a run.

    python -m pytest bench --benchmark-enable --benchmark-quiet

On a machine with other work, one thread and the processor's time instead of the clock's still give steady rates:

    FASTCNN_NUM_THREADS=1 python -m pytest bench --benchmark-enable --benchmark-timer=time.process_time

Nothing of fastcnn is imported before the first benchmark runs: tests/conftest.py chooses the kernel cache first.
"""

from pathlib import Path
from typing import Any

import pytest

ROWS = pytest.StashKey[list]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--benchmark-table", metavar="FILE", help="write rates and ceilings to a Markdown file")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[ROWS] = []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Short rounds, many of them, unless a file says otherwise: what is reported is the fastest."""
    settings = {"warmup": True, "warmup_iterations": 5, "min_time": 0.0002, "max_time": 0.3}
    for item in items:
        if item.path.parent == Path(__file__).parent and not item.get_closest_marker("benchmark"):
            item.add_marker(pytest.mark.benchmark(group=item.path.stem, **settings))


@pytest.fixture
def measure(benchmark: Any, request: pytest.FixtureRequest) -> Any:
    """See `bench.measure.Meter`."""
    from bench.measure import Meter

    return Meter(benchmark, request.node.name.removeprefix("bench_"), request.config.stash[ROWS])


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    rows = config.stash[ROWS]
    if not rows:
        return
    from bench import report

    timer = str(config.getoption("--benchmark-timer"))
    terminalreporter.section("rates and ceilings")
    for line in [*report.circumstances(rows[0].ceilings, timer), "", *report.plain_table(rows)]:
        terminalreporter.line(line)
    if config.getoption("--benchmark-table"):
        Path(config.getoption("--benchmark-table")).write_text(report.markdown(rows, timer), encoding="utf-8")
