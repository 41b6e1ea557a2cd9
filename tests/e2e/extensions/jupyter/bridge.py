"""Executes code in a kernel by its connection file: lines of JSON in, lines of JSON out.

An output is what the Jupyter extension makes of a message: a list of [MIME type, text].
"""

import json
import sys

from jupyter_client import BlockingKernelClient


def items(message):
    """The items of one message of the kernel; None where it is no output."""
    kind, content = message["header"]["msg_type"], message["content"]
    if kind in ("display_data", "execute_result"):
        return [
            [mime, data if isinstance(data, str) else json.dumps(data)]
            for mime, data in content["data"].items()
        ]
    if kind == "stream":
        return [["application/x.notebook.stream." + content["name"], content["text"]]]
    if kind == "error":
        said = {"name": content["ename"], "message": content["evalue"], "stack": ""}
        return [["application/vnd.code.notebook.error", json.dumps(said)]]
    return None


def say(**message):
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


client = BlockingKernelClient(connection_file=sys.argv[1])
client.load_connection_file()
client.start_channels()
client.wait_for_ready()
for line in sys.stdin:
    asked = json.loads(line)

    def tell(message, number=asked["id"]):
        found = items(message)
        if found is not None:
            say(id=number, outputs=[found], done=False)

    client.execute_interactive(asked["code"], store_history=False, output_hook=tell)
    say(id=asked["id"], outputs=[], done=True)
