"""Builds a set of 20 samples from an endpoint with scripted replies, killed and resumed on the way.

    python bench/spiral_build.py --work DIR [--count 20] [--voice NAME ...] [--processes 2]

The endpoint is a real HTTP server here; its replies are the samples of SIR-mini, some of them spoiled first (no
JSON, a key sentence that is not said, an error 500), so that repair and retries are seen. `auricle spiral build` is
killed (SIGKILL) when it has written a third of the dialogues, and again when it has voiced a third of the samples,
and then runs to its end. Prints what was asked, what was redone and the verdicts.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

SIR = Path(__file__).parent.parent / "data/sir"
VOICES = ("flite/slt", "flite/slt@220", "flite/rms", "flite/awb", "piper/joe", "espeak/en-us+f3")


class Replies:
    """Samples of SIR-mini by type; every third request is spoiled, each in another way."""

    def __init__(self) -> None:
        self.left: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for name in ("authored", "validation"):
            for line in (SIR / f"{name}.jsonl").read_text().splitlines():
                sample = json.loads(line)
                self.left[sample["transcript_type"]].append(sample)
        self.given: dict[str, dict[str, Any]] = {}
        self.asked = 0
        self.lock = threading.Lock()

    def reply(self, prompt: str) -> tuple[int, str]:
        """Status and text for the first message of a chat."""
        with self.lock:
            self.asked += 1
            number = self.asked
            if prompt not in self.given:
                kind = next(each for each in ("lecture", "meeting", "conversation") if f"of a {each}" in prompt)
                self.given[prompt] = self.left[kind].pop()
            sample = self.given[prompt]
        test = sample["test_question"]
        reply: dict[str, Any] = {
            "transcript": sample["transcript"],
            "original_key_sentence": sample["key_sentence"],
            "test_question": {
                "question": test["question"],
                "choices": list(test["choices"].values()),
                "correct_answer": test["choices"][test["correct_answer"]],
            },
        }
        if number % 9 == 3:
            return 200, "I am afraid that I cannot write this."
        if number % 9 == 6:
            reply["original_key_sentence"] = "Nobody says this."
        if number % 9 == 0:
            return 500, "overloaded"
        return 200, f"Here it is:\n```json\n{json.dumps(reply)}\n```"


def serve(replies: Replies) -> tuple[ThreadingHTTPServer, str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            status, text = replies.reply(body["messages"][0]["content"])
            message = {"role": "assistant", "content": text}
            done = {"id": "1", "object": "chat.completion", "created": 0, "model": body["model"]}
            done["choices"] = [{"index": 0, "message": message, "finish_reason": "stop"}]
            content = json.dumps(done if status == 200 else {"error": {"message": text}}).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, f"http://127.0.0.1:{server.server_address[1]}/v1"


def run(command: list[str], folder: Path, until: int) -> int:
    """Runs to the end, or until `folder` holds that many files; then it is killed."""
    process = subprocess.Popen(command, start_new_session=True)
    while process.poll() is None:
        if until and len(list(folder.glob("[!.]*.json"))) >= until:
            os.killpg(process.pid, signal.SIGKILL)
        time.sleep(0.05)
    return process.returncode


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--voice", nargs="*", default=VOICES)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    server, url = serve(replies := Replies())
    command = [
        sys.executable,
        "-c",
        "import sys; from auricle.cli import main; sys.exit(main())",
        "spiral",
        "build",
    ]
    command += [
        "--output",
        str(options.work),
        "--count",
        str(options.count),
        "--llm",
        "scripted",
        "--endpoint",
        url,
    ]
    command += ["--processes", str(options.processes), *(f"--voice={name}" for name in options.voice)]
    third = options.count // 3
    print(
        "killed while writing:", run(command, options.work / "dialogues", third), f"after {replies.asked} requests"
    )
    print("killed while voicing:", run(command, options.work / "speech", third), f"after {replies.asked} requests")
    code = run(command, options.work, 0)
    print(f"finished with code {code}; {replies.asked} requests, {len(replies.given)} different samples")
    server.shutdown()
    sys.exit(code)


if __name__ == "__main__":
    main()
