"""Load tests for a running Patchbay: `python -m loadtests --help`.

Only `users`, `shape`, `client`, `session`, `conductor` and `locustfile` import Locust or gevent, which replace the
standard library's sockets and threads.
"""
