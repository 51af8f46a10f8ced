"""The hub, for scripts and notebooks."""

import hashlib
import json
import os

from khub import _khub


class Client:
    """Asks a hub as the holder of a token.

    >>> hub = khub.Client("https://hub.example.kr", token)
    >>> job = hub.submit({"name": "small", "project": "korean-reviews", ...})
    >>> hub.explain(job)
    """

    def __init__(self, hub=None, token=None):
        """`hub` and `token` are those of KHUB_HUB and KHUB_TOKEN if nothing is said."""
        hub = hub or os.environ.get("KHUB_HUB")
        token = token or os.environ.get("KHUB_TOKEN")
        if not hub or not token:
            raise _khub.Error("a client takes the hub's address and a token, or KHUB_HUB and KHUB_TOKEN")
        self._client = _khub.Client(hub, token.strip())

    def me(self):
        """Whom the token speaks for."""
        return json.loads(self._client.me())

    def jobs(self):
        """The jobs that you may know about, newest first."""
        return json.loads(self._client.jobs())

    def job(self, job, after=None, wait=30):
        """One job; with `after`, once the log has a record after that number (`seq` of an earlier answer), or
        as it is after `wait` seconds."""
        if after is None:
            return json.loads(self._client.job(job))
        return json.loads(self._client.job_after(job, after, wait))

    def explain(self, job):
        """Why a job is where it is."""
        return json.loads(self._client.explain(job))

    def cancel(self, job):
        """Ends a job."""
        self._client.cancel(job)

    def submit(self, spec, key=None):
        """Asks for a job and returns its number; under the same key, which is the content's if nothing is said,
        at most once."""
        text = json.dumps(spec, sort_keys=True)
        return self._client.submit(text, key or hashlib.sha256(text.encode()).hexdigest())

    def artifacts(self, project):
        """The artifacts of a project that you may read."""
        return json.loads(self._client.artifacts(project))

    def fetch(self, project, digest, path):
        """Puts an artifact's bytes at `path`, whole and checked, or not at all; returns their number."""
        return self._client.fetch(project, digest, os.fspath(path))
