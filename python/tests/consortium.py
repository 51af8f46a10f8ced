"""A hub and sites as real processes, for the tests."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import khub

ROOT = Path(__file__).resolve().parents[2]
BINARY = os.environ.get("KHUB_BINARY", str(ROOT / "target/debug/khub"))
TRAIN = ROOT / "python/examples/train.py"
SITES = ("hangang-1", "namsan-1")
# A model of a moment.
SETTINGS = {
    "width": 32, "layers": 2, "heads": 2, "kv_heads": 1, "seq": 32, "batch": 8, "tied": True, "warmup": 4,
    "learning_rate": 0.01, "outer": {"learning_rate": 0.7, "momentum": 0.5},
}  # fmt: skip


class Consortium:
    """The example's consortium in a folder, with a hub that serves it."""

    def __init__(self, folder):
        self.folder = folder
        self.children = []
        example = ROOT / "crates/khub/example.toml"
        run("found", str(example), "--folder", str(folder))
        hub = self.start("serve", "--folder", str(folder), "--listen", "127.0.0.1:0", "--lose-after", "1")
        line = hub.stdout.readline()
        self.url = next(word for word in line.split() if word.startswith("http://"))
        threading.Thread(target=hub.stdout.read, daemon=True).start()
        self.client = khub.Client(self.url, (folder / "credentials/minji").read_text())

    def job(
        self, rounds, settings=None, program="language", quorum=2, inputs=True, sites=2, label="restricted", **more
    ):  # fmt: skip
        """Asks for a job of both domestic sites, if nothing else is said."""
        return self.client.submit(
            {
                "name": "tiny", "project": "korean-reviews", "program": program, "label": label, "sites": sites,
                "wall_minutes": 10, "inputs": self.inputs() if inputs is True else inputs,
                "rounds": {"count": rounds, "samples": 64, "quorum": quorum, "grace_seconds": 60, **more},
                "settings": settings or SETTINGS,
            }
        )  # fmt: skip

    def inputs(self):
        data = self.folder / "data"
        text = ROOT / "programs/language/data/primer.txt"
        run("data", "prepare", str(text), "-o", str(data), "--vocab", "512")
        return {name: self.put(data / name) for name in ("tokenizer.json", "train.tokens", "valid.tokens")}

    def put(self, file):
        """An open artifact of the file's bytes; its number."""
        at = ("--hub", self.url, "--folder", str(self.folder))
        said = run("put", str(file), "--project", "korean-reviews", "--label", "open", *at)
        return said.strip().split("/")[-1]

    def site(self, name, *more):
        """Starts a site, with further arguments; its log is its own."""
        credential = self.folder / "credentials" / name
        return self.start(
            "site", "--with-parent", "--threads", "1", "--hub", self.url, "--credential", str(credential),
            "--folder", str(self.home(name)), *more, log=self.folder / f"{name}.log",
        )  # fmt: skip

    def home(self, name):
        return self.folder / "sites" / name

    def events(self, name):
        """Those of that name in the hub's log."""
        records = (json.loads(line) for line in run("audit", "export", "--folder", str(self.folder)).splitlines())
        events = (event for record in records for event in record.get("events", ()))
        return [event[name] for event in events if name in event]

    def log(self, name):
        return (self.folder / f"{name}.log").read_text()

    def until(self, job, wanted, seconds=120):
        """The job, once it is as wanted."""
        until = time.monotonic() + seconds
        view = self.client.job(job)
        while not wanted(view):
            assert time.monotonic() < until, f"{self.log(SITES[0])}\n{self.log(SITES[1])}\n{view}"
            assert view["job"]["phase"]["phase"] not in ("failed", "cancelled"), self.log(SITES[1])
            view = self.client.job(job, after=view["seq"], wait=5)
        return view

    def start(self, *arguments, log=None):
        command = [BINARY, *arguments]
        errors = open(log, "a") if log else None
        child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        self.children.append(child)
        return child

    def end(self):
        for child in reversed(self.children):
            child.kill()
            child.wait()


def run(*arguments):
    done = subprocess.run([BINARY, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def python(*arguments):
    """A command of this Python, for a site."""
    return " ".join([sys.executable, *map(str, arguments)])


def check(view, loss_falls=True, sites=SITES):
    """What must hold of a finished job, whatever happened on the way."""
    rounds = view["job"]["rounds"]
    for one in rounds:
        assert set(one["outer"]) == set(sites), one
        assert len(set(one["outer"].values())) == 1, one
    taken = sorted(
        (one["members"][site]["first"], one["members"][site]["end"]) for one in rounds for site in one["updates"]
    )
    assert all(a[1] <= b[0] for a, b in zip(taken, taken[1:])), taken
    for site in sites:
        losses = [one["updates"][site]["loss_micronats"] / 1e6 for one in rounds if site in one["updates"]]
        assert not loss_falls or losses[-1] < losses[0] - 0.3, (site, losses)
    return [json.loads(json.dumps(one["updates"])) for one in rounds]
