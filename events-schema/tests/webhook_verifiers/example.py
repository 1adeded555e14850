# Runs the example of docs/webhooks.md as a customer would paste it. It reads {example, headers, body,
# secret} as JSON, and writes {event} or {refusal}.

import json
import sys

given = json.load(sys.stdin)
names = {name: given[name] for name in ("secret", "body", "headers")}
try:
    exec(given["example"], names)
    print(json.dumps({"event": names["event"]}))
except Exception as refusal:
    print(json.dumps({"refusal": type(refusal).__name__}))
