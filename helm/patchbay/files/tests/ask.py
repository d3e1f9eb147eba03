"""Asks the Patchbay at a URL for the colour of the star in the picture that comes with it.

Exit status 0 when the answer says that it is red. Runs in Patchbay's images, which
hold the picture but not the package `demo`.
"""

import base64
import json
import os
import pathlib
import sys
import urllib.error
import urllib.request

from service.settings import EMBEDDED_MODEL

QUESTION = "What colour is the star?"
EXPECTED = "red"


def main(url: str, keys: str) -> int:
    picture = pathlib.Path(EMBEDDED_MODEL).parent / "scenes" / "shapes.jpg"
    data = "data:image/jpeg;base64," + base64.b64encode(picture.read_bytes()).decode()
    content = [{"type": "image_url", "image_url": {"url": data}}, {"type": "text", "text": QUESTION}]
    body = {"messages": [{"role": "user", "content": content}], "temperature": 0, "max_tokens": 64}
    headers = {"content-type": "application/json"}
    if keys:
        headers["authorization"] = f"Bearer {keys.split(',')[0].strip()}"
    request = urllib.request.Request(f"{url}/v1/chat/completions", json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=120) as response:
            answer = json.load(response)["choices"][0]["message"]["content"]
    except urllib.error.HTTPError as error:
        print(f"{url} answered {error.code}: {error.read().decode(errors='replace')}")
        return 1
    except OSError as error:
        print(f"{url} does not answer: {error}")
        return 1
    print(f"{QUESTION} {answer}")
    if EXPECTED in answer.lower():
        return 0
    print(f"The star is {EXPECTED}.")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], os.environ.get("API_KEYS", "")))
