"""Asks the Patchbay in this container how it is: `python deploy/healthcheck.py [/livez]`.

Exit status 0 when it answers 200, else 1. Standard library only, and no proxy. Reads where Patchbay listens from the
variables that it reads itself.
"""

import http.client
import os
import sys

SECONDS = 4
WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}


def main() -> int:
    path = sys.argv[1] if len(sys.argv) > 1 else "/livez"
    host = os.environ.get("PATCHBAY_HOST", "127.0.0.1")
    port = int(os.environ.get("PATCHBAY_PORT", "8000"))
    connection = http.client.HTTPConnection(WILDCARDS.get(host, host), port, timeout=SECONDS)
    try:
        connection.request("GET", path)
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        print(f"{path}: {type(error).__name__}: {error}")
        return 1
    print(f"{path}: {status}")
    return 0 if status == 200 else 1


if __name__ == "__main__":
    sys.exit(main())
