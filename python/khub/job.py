"""A job as its folder at a site tells it."""

import json
import os
import time
import tomllib
from pathlib import Path

from khub import _khub

# How often a folder is looked at that isn't there yet, in seconds.
LOOK = 0.2


class Job:
    """What is to be trained. A process that the site started finds it by itself; others say where it is.

    `settings` are the job's, and of khub's own language models all of them. `config` is what `transformers`
    makes such a model from.
    """

    def __init__(self, run=None, site=None, wait=600.0):
        """The job `run`, such as "job-7", at the site whose folder is `site`; waits so many seconds for it."""
        started = os.environ.get("KHUB_JOB_FOLDER")
        self.started_by_site = site is None and started is not None
        if self.started_by_site:
            self.folder = Path(started)
        elif run and site:
            self.folder = Path(site).absolute() / "jobs" / run
        else:
            raise _khub.Error(
                "which job? A process that a site starts knows (KHUB_JOB_FOLDER); "
                'else say run="job-7" and site="the folder of khub site"'
            )
        self._until_there(wait)
        self.words = tomllib.loads((self.folder / "job.toml").read_text())
        if run is not None and run != self.words["job"]:
            raise _khub.Error(f"{self.folder} has {self.words['job']}, not {run}")
        self.settings = self.words.get("settings", {})
        self.rounds = self.words["rounds"]
        self.twin = None
        if self.words["program"] == "language":
            self.twin = _khub.Twin(str(self.folder))
            self.settings = json.loads(self.twin.settings)

    def _until_there(self, wait):
        until = time.monotonic() + wait
        # The socket comes after everything else.
        while not (self.folder / "program.sock").exists():
            if time.monotonic() > until:
                raise _khub.Error(
                    f"no site waited in {self.folder} for {wait:g} s: is the job placed there, and does `khub site` "
                    "run with --attach or --program for it?"
                )
            time.sleep(LOOK)

    @property
    def config(self):
        """The fields of `config.json`, for a job of khub's own language models."""
        if self.twin is None:
            raise _khub.Error(f"khub knows the models of its program language; this is {self.words['program']}")
        return json.loads(self.twin.config)

    def input(self, name):
        """Where an input lies."""
        return self.folder / "inputs" / name
