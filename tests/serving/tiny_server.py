"""A server in a process of its own, to be killed: the store's folder is its argument, the port its first line."""

import socket
import sys
from pathlib import Path

import uvicorn

from auricle.serving.app import create_app
from auricle.serving.local import LocalEngine
from auricle.serving.options import Options
from tiny_llama import TinyLlama

if __name__ == "__main__":
    bound = socket.create_server(("127.0.0.1", 0))
    app = create_app(LocalEngine(TinyLlama()), Options(store=Path(sys.argv[1])))
    print(bound.getsockname()[1], flush=True)  # noqa: T201
    uvicorn.Server(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1)).run(sockets=[bound])
