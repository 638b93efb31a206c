"""A script of ten thousand statements is parsed and checked within a second."""

import random
import time
from collections.abc import Callable

from dsl_support import context

from interactive3d.dsl import loads
from interactive3d.dsl.tables import tables

STATEMENTS = 10_000
LIMIT_SECONDS = 1.0
# Other work on the machine stretches a single run; the best of a few is the language's own time.
TRIES = 4


def script() -> str:
    draw = random.Random(7)

    def v() -> str:
        return "({:.3f}, {:.3f}, {:.3f})".format(*(draw.uniform(-0.5, 0.5) for _ in range(3)))

    forms: list[Callable[[int], str]] = [
        lambda s: f"at step {s} drag from back + {v()} to back + {v()} radius 0.1 deformable over 5 steps",
        lambda s: f"at step {s} rotate head by {draw.randint(1, 90)} deg about y",
        lambda s: f"at step {s} stretch tail by ({draw.uniform(1, 2):.2f}, 1, {draw.uniform(1, 2):.2f})",
        lambda s: f"at step {s} move head by {v()}",
        lambda s: f"at step {s} paint head #{draw.randint(0, 0xFFFFFF):06x}",
        lambda s: f'at step {s} edit head with "a green dragon" for 10 steps noise 0.02 .. 0.5',
        lambda s: f"at step {s} set lr.position {draw.random():.4f}",
        lambda s: f"at step {s} add sphere at {v()} radius 0.1 count {draw.randint(10, 300)} color red as ball_{s}",
        lambda s: f"let _v{s} = lift * {draw.random():.3f} + length({v()})",
        lambda s: f'at step {s} snapshot "s{s}.png" from orbit azimuth {draw.randint(0, 360)} elevation 10',
        lambda s: f"at step {s} {{\n  paint tail red\n  move tail by {v()}\n}}",
    ]
    head = [
        'prompt "a green dragon"',
        "steps 200000",
        "param lift = 0.35 in 0 .. 0.8",
        "let back = (0, 0.18, -0.05)",
        "part head = sphere at (0, 0.3, 0.3) radius 0.15",
        "part tail = box (-0.1, -0.2, -0.6) .. (0.1, 0.2, -0.25)",
    ]
    return "\n".join([*head, *(draw.choice(forms)(10 * i + 10) for i in range(STATEMENTS))]) + "\n"


def test_ten_thousand_statements_in_a_second() -> None:
    text = script()
    tables()
    best = float("inf")
    for _ in range(TRIES):
        begin = time.process_time()
        loaded = loads(text, context())
        best = min(best, time.process_time() - begin)
        assert loaded.program is not None, loaded.diagnostics[:3]
        assert len(loaded.program.operations) >= STATEMENTS * 0.8
        if best < LIMIT_SECONDS:
            break
    assert best < LIMIT_SECONDS
