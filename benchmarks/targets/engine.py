# SPDX-License-Identifier: MIT
"""A PyTorch engine in a spawned child, queues between it and the process in front, which does not use the GPU.

The process in front sends prompts and compares the answers with those of the first time; each fiftieth asks for a digest of
the engine's weights as well. --simulated: the same without PyTorch, on the simulated driver.
"""
import argparse
import multiprocessing
import time
import zlib

from report import Report

WIDTH, LAYERS, VOCABULARY, LENGTH = 4096, 4, 32000, 64
PROMPTS, CHECK_EVERY = 7, 50


def answer_with_torch():
    """Functions: the answer to a prompt, the digest of the weights."""
    import torch

    from digests import digest_of
    from model import Model

    torch.manual_seed(1)
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda"):
        model = Model(LAYERS, WIDTH, VOCABULARY).eval()

    def answer(prompt):
        with torch.inference_mode():
            tokens = (torch.arange(LENGTH, device="cuda") * (prompt + 3) % VOCABULARY).unsqueeze(0)
            logits = model(tokens)
            return logits[0].argmax(-1).tolist(), digest_of([logits])

    return answer, lambda: digest_of(model.parameters())


def answer_simulated():
    from device import Contents, Device

    contents = Contents(Device(), [(6 << 20) + 512] * 5)

    def answer(prompt):
        time.sleep(0.001)
        return [zlib.crc32(bytes(prompt)), contents.is_right(prompt % len(contents.pieces))]

    return answer, contents.digest


def engine(requests, answers, simulated):
    answer, digest = answer_simulated() if simulated else answer_with_torch()
    for number, prompt in iter(requests.get, None):
        answers.put((number, digest() if prompt is None else answer(prompt)))


def front(report, requests, answers):
    known, number = {}, 0
    while True:
        number += 1
        prompt = None if number % CHECK_EVERY == 0 else number % PROMPTS
        wanted = report.wanted()
        requests.put((number, prompt))
        answered, value = answers.get()
        if answered != number:
            report.fail(f"request {number} got the answer of {answered}")
        if prompt is None:
            report.check(value, wanted)
        elif known.setdefault(prompt, value) != value:
            report.fail(f"prompt {prompt} has another answer than the first time: {str(value)[:200]}")
        report.step()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--state", required=True)
    parser.add_argument("--simulated", action="store_true")
    arguments = parser.parse_args()
    report = Report(arguments.state, create=True)
    context = multiprocessing.get_context("spawn")
    requests, answers = context.Queue(), context.Queue()
    child = context.Process(target=engine, args=(requests, answers, arguments.simulated), daemon=True)
    child.start()
    # Starting takes longer than any answer later.
    requests.put((0, 0))
    while answers.empty():
        if not child.is_alive():
            report.fail("the engine did not start")
        time.sleep(0.01)
    answers.get()
    front(report, requests, answers)


if __name__ == "__main__":
    main()
