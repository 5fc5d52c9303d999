"""Lets redis-py's own tests run against a strait gateway.

What strait leaves out on purpose (docs/OPERATING.md, "Redis commands") is skipped with the server's
own words as the reason. Whatever else fails must stand in left-out.txt, with a word why. The tests that
pass stand in passes.txt: one that does not pass any more fails the run, and so does a new one, until
the list is written anew (STRAIT_PASSES=write).
"""

import os
import pathlib

import pytest
import redis
import redis.asyncio

PASSES = pathlib.Path(__file__).with_name("passes.txt")


def lines(path):
    return [line for line in path.read_text().splitlines() if line and not line.startswith("#")]


LEFT_OUT = dict(line.split(": ", 1) for line in lines(PASSES.with_name("left-out.txt")))


def left_out(test):
    """Why a test is; one that runs several times has a word in brackets behind its name."""
    return LEFT_OUT.get(test) or LEFT_OUT.get(test.partition("[")[0])


# How strait says that something is left out.
ABSENT = (
    "unknown command",
    "unknown subcommand",
    "is not an integer",
    "users stand in strait.toml",
)

def flushdb(self, *args, **kwargs):
    """There is no FLUSHDB: nobody may empty all sites by a slip."""
    if keys := list(self.scan_iter(count=1000)):
        self.delete(*keys)
    return True


async def async_flushdb(self, *args, **kwargs):
    if keys := [key async for key in self.scan_iter(count=1000)]:
        await self.delete(*keys)
    return True


redis.Redis.flushdb = flushdb
redis.asyncio.Redis.flushdb = async_flushdb


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if not report.failed:
        return
    said = str(call.excinfo.value)
    why = next((said for words in ABSENT if words in said), None)
    why = why or left_out(item.nodeid)
    if why:
        report.outcome = "skipped"
        report.longrepr = (str(item.path), item.location[1], f"left out: {why}")


collected, passed = set(), set()


def pytest_collection_finish(session):
    collected.update(item.nodeid for item in session.items)


def pytest_runtest_logreport(report):
    if report.when == "call" and report.passed and not hasattr(report, "wasxfail"):
        passed.add(report.nodeid)
    elif not report.passed:
        passed.discard(report.nodeid)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session):
    if os.environ.get("STRAIT_PASSES") == "write":
        # Of those that were not asked for nothing is known.
        passed.update(set(lines(PASSES)) - collected)
        PASSES.write_text("".join(f"{test}\n" for test in sorted(passed)))
        return
    listed = set(lines(PASSES))
    # Asked for single tests, only those are looked at.
    for test in sorted((listed & collected) - passed):
        print(f"\npassed before, and does not: {test}")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    for test in sorted(passed - listed):
        print(f"\npasses, and is not in passes.txt: {test}")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    for test in filter(left_out, sorted(passed)):
        print(f"\npasses, and stands in left-out.txt: {test}")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
