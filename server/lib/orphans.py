"""Work in a process of its own ends with the server that started it.

Comes in: nothing. Goes out: a thread that watches. After a kill of the server nobody could stop such work, or read what
it says, and it would stand in the way of the next one.
"""

from __future__ import annotations

import os
import threading
import time

CHECK_S = 1.0


def end_with_parent() -> None:
    """End this process at once when its parent is gone."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(CHECK_S)
        os._exit(1)

    threading.Thread(target=watch, name="orphans", daemon=True).start()
