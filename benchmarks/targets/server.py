# SPDX-License-Identifier: MIT
"""torch.compile(mode="reduce-overhead") behind an HTTP server: GET /answer?length=N has the same answer each time.

The answer to a length is the text that the model finds for a prompt of so many words, and a digest of what it computed; with
&weights=1 that of its weights too. A length that was not asked for before is compiled first, for which the compiler's processes fork workers.
--simulated: the same without PyTorch, on the simulated driver; what stands for the compiler forks a process that stays.
"""
import argparse
import json
import multiprocessing
import sys
import time
import urllib.parse
import zlib
from http.server import BaseHTTPRequestHandler, HTTPServer

from report import Report

WIDTH, LAYERS, WORDS, VOCABULARY = 4096, 6, 8, 32000
# What is tried in turn: the second needs no compiler for the GPU's programs, which PyTorch's own wants a C compiler for.
COMPILERS = {"reduce-overhead": {"mode": "reduce-overhead"}, "cudagraphs": {"backend": "cudagraphs"}}


class Engine:
    """PyTorch's."""

    def __init__(self):
        import torch

        from digests import digest_of
        from model import Model

        self.torch, self.digest_of = torch, digest_of
        torch.manual_seed(1)
        torch.set_default_dtype(torch.bfloat16)
        with torch.device("cuda"):
            self.model = Model(LAYERS, WIDTH, VOCABULARY).eval()
        self.compiler = None

    def compile(self, name):
        self.torch.compiler.reset()
        self.compiled = self.torch.compile(self.model, dynamic=False, **COMPILERS[name])
        self.compiler = name

    def answer(self, length):
        if self.compiler:
            return self.generate(length)
        for name in COMPILERS:
            try:
                self.compile(name)
                return self.generate(length)
            except Exception as error:  # pylint: disable=broad-except
                print(f"{name}: {error}", file=sys.stderr, flush=True)
                reason = error
        raise RuntimeError("none of the compilers works") from reason

    def generate(self, length):
        torch = self.torch
        with torch.inference_mode():
            tokens = (torch.arange(length, device="cuda") * 17 % VOCABULARY).unsqueeze(0)
            words, bits = [], 0
            for _ in range(WORDS):
                torch.compiler.cudagraph_mark_step_begin()
                logits = self.compiled(tokens)
                word = logits[:, -1].argmax(-1, keepdim=True)
                bits = self.digest_of([logits], bits)
                tokens = torch.cat([tokens[:, 1:], word], 1)
                words.append(str(int(word)))
            return " ".join(words), bits

    def weights(self):
        with self.torch.inference_mode():
            return self.digest_of(self.model.parameters())


def stay():
    while True:
        time.sleep(3600)


class SimulatedEngine:
    compiler = "simulated"

    def __init__(self):
        from device import Contents, Device

        self.contents = Contents(Device(), [(9 << 20) + 512] * 4)
        self.context = multiprocessing.get_context("fork")
        self.lengths = set()

    def answer(self, length):
        if length not in self.lengths:
            self.lengths.add(length)
            self.context.Process(target=stay, daemon=True).start()
        return f"word {zlib.crc32(bytes(length))}", self.contents.is_right(length % len(self.contents.pieces))

    def weights(self):
        return self.contents.digest()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        query = urllib.parse.parse_qs(urllib.parse.urlparse(self.path).query)
        engine = self.server.engine
        text, digest = engine.answer(int(query["length"][0]))
        answer = dict(text=text, digest=f"{digest:016x}", compiler=engine.compiler)
        if "weights" in query:
            answer["weights"] = f"{engine.weights():016x}"
        self.server.report.step()
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format, *arguments):
        pass


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--state", required=True)
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--simulated", action="store_true")
    arguments = parser.parse_args()
    report = Report(arguments.state, create=True)
    engine = SimulatedEngine() if arguments.simulated else Engine()
    engine.answer(32)
    server = HTTPServer(("127.0.0.1", arguments.port), Handler)
    server.engine, server.report = engine, report
    report.say(f"compiler {engine.compiler}")
    report.step()
    server.serve_forever()


if __name__ == "__main__":
    main()
