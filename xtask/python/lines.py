"""The line protocol that lets `cargo xtask bench` take turns among several workers.

A worker is a process. It prints one JSON object a line:

    {"ready": true, ...}     once it has warmed up
    {"seconds": ..., ...}    each time it reads the bench's word for one turn, `step` or `run`
    {"peak_rss_bytes": ...}  when it reads `end`; then it exits

Between turns it only waits. A closed stdin ends it as well: no worker outlives its bench.
"""

import json
import sys


def say(**fields):
    """Prints one line of the protocol."""
    print(json.dumps(fields), flush=True)


def serve(word, turn, ready, end):
    """Takes a `turn()` for every line that reads `word`. `ready` is a dict, `end` a function that makes one."""
    say(ready=True, **ready)
    for line in sys.stdin:
        asked = line.strip()
        if asked == word:
            say(**turn())
        elif asked == "end":
            say(**end())
            return
        else:
            sys.exit(f"asked for {asked!r}; this worker knows {word!r} and 'end'")


def peak_rss_bytes():
    """The most memory this process has held at once, in bytes."""
    try:
        with open("/proc/self/status") as status:
            held = next(line for line in status if line.startswith("VmHWM:"))
        return int(held.split()[1]) * 1024
    except OSError:
        # Not Linux. Elsewhere `ru_maxrss` serves; macOS counts it in bytes.
        import resource

        held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return held if sys.platform == "darwin" else held * 1024
