"""Lambda's runtime for one process: events come as lines, answers go as lines, and standard output is the log.

It is run as a file, with nothing on its path but Python's own library, the unpacked archive and what Lambda brings.

    python -I -S runtime.py TASK BROUGHT EVENTS ANSWERS     (the last two are file descriptors)
"""

import importlib
import json
import os
import sys
import traceback
from types import SimpleNamespace


def main() -> None:
    task, brought, events, answers = sys.argv[1:]
    sys.path[1:] = [path for path in sys.path[1:] if "site-packages" not in path] + [brought]
    sys.path[0] = task
    os.chdir(task)
    module, name = os.environ["_HANDLER"].rsplit(".", 1)
    handler = getattr(importlib.import_module(module), name)
    with os.fdopen(int(events)) as come, os.fdopen(int(answers), "w") as go:
        for line in come:
            told = json.loads(line)
            try:
                answer = {"answer": handler(told["event"], SimpleNamespace(aws_request_id=told["request_id"]))}
            except Exception as error:
                traceback.print_exc(file=sys.stdout)
                answer = {"error": type(error).__name__}
            sys.stdout.flush()
            print(json.dumps(answer), file=go, flush=True)


if __name__ == "__main__":
    main()
