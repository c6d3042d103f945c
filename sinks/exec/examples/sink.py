#!/usr/bin/env python3
"""A hookrelay sink in Python: appends what it is handed to the file named by OUT. Started by `kind = "exec"`."""
import json
import os
import sys

if "OUT" not in os.environ:
    sys.exit('OUT is not set: the table of the sink needs env.OUT = "mine.jsonl"')

with open(os.environ["OUT"], "a", encoding="utf-8") as out:
    for line in sys.stdin:  # ends when hookrelay closes our input; then we end, too
        event = json.loads(line)
        verdict = {"id": event["id"], "outcome": "delivered"}
        try:
            if "data" in event:
                row = {name: event.get(name) for name in ("id", "type", "subject", "time", "data")}
                out.write(json.dumps(row) + "\n")
                out.flush()
                os.fsync(out.fileno())  # "delivered" must be true after a power cut as well
            else:
                verdict |= {"outcome": "reject", "code": "bad_payload", "detail": "the body is not JSON"}
        except OSError as error:
            verdict |= {"outcome": "retry", "after": 5, "code": "io", "detail": error.strerror}
        print(json.dumps(verdict), flush=True)  # a verdict that stays in a buffer is none
