"""What waiting threads cost: `python benchmarks/threads.py` runs one script with OpenMP's waiting policies, alone and beside other work.

torch's threads meet after every small piece of work. Where another process has one of the cores, the thread that waits spins through its
share of the time instead of giving the core to the one that it waits for.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SCRIPT = 'prompt "a red dragon"\nseed 1\nsteps 60\nsplats 3000 from text\n'
BUSY = "while True: pass"


def seconds(folder: Path, policy: str | None) -> tuple[float, float]:
    """Wall and processor seconds of one run."""
    environment = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"}
    # An empty value is no policy to OpenMP, and keeps the command line from setting its own.
    environment["OMP_WAIT_POLICY"] = policy or ""
    command = [sys.executable, "-m", "interactive3d.runtime.cli", "run", "run.sculpt", "--headless", "--out", "out"]
    before, started = os.times(), time.perf_counter()
    subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
    after = os.times()
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    return time.perf_counter() - started, spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=2)
    asked = parser.parse_args()
    print(f"{os.cpu_count()} cores, load average before {os.getloadavg()[0]:.1f}; wall / processor seconds")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "run.sculpt").write_text(SCRIPT)
        for others in (0, os.cpu_count() or 1):
            busy = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(others)]
            try:
                for policy in (None, "PASSIVE") * asked.rounds:
                    wall, spent = seconds(folder, policy)
                    print(
                        f"{others} other processes, {policy or 'as OpenMP waits by itself'}: {wall:.1f} / {spent:.1f}"
                    )
            finally:
                for process in busy:
                    process.kill()


if __name__ == "__main__":
    main()
