"""Which child processes still run, for the tests that ask what cancelling leaves behind."""

import psutil


def running(processes):
    """Those of the psutil processes that have not ended; a process may end while it is asked."""
    return [process for process in processes if _runs(process)]


def _runs(process):
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
