"""Load for a running Patchbay, and a verdict on how it bore it: `python -m loadtests --help`.

Everything but `users`, `shape`, `client`, `session` and `locustfile` is free of Locust and gevent, which replace the
standard library's sockets and threads where they are imported.
"""
