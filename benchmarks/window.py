"""What an open window costs and how quickly it answers, on this machine: ``python benchmarks/window.py`` writes benchmarks/window.md;
with a graphics card ``python benchmarks/window.py --gpu --blobs 1000000`` writes benchmarks/window_gpu.md.

Every scenario is a process of its own on a display of its own (Xvfb), 1280 x 720, with Mesa's software renderer unless ``--gpu`` is given.
The run under the window is a real one: the embedded prior with its defaults, and 20,000 blobs.
"""

import argparse
import itertools
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

SIZE = (1280, 720)
BLOBS = int(os.environ.get("WINDOW_BLOBS", "20000"))
WARM_SECONDS = 4.0
PHASE_SECONDS = 5.0
"""The window is awake and asleep in turn, this long each: other work of the machine meets both alike."""

SCENARIOS = ("watched", "held", "slow step", "picture")
SLOW_SECONDS = 2.0
SCRIPT = 'prompt "a red dragon"\nseed 1\nsteps 20000\nsplats 100 in sphere at (0, 0, 0) radius 0.5\n'


def ball(count: int):
    """Blobs of a trained object's size all over a lumpy ball."""
    import torch

    from interactive3d.runtime.scene.gaussians import GaussianModel

    generator = torch.Generator().manual_seed(0)
    way = torch.nn.functional.normalize(torch.randn(count, 3, generator=generator), dim=-1)
    bump = 0.6 + 0.1 * torch.sin(6 * way[:, :1]) * torch.cos(5 * way[:, 1:2])
    return GaussianModel.create(
        mean=way * bump,
        log_scale=torch.log(0.008 + 0.012 * torch.rand(count, 3, generator=generator)),
        rotation=torch.randn(count, 4, generator=generator),
        color=(0.5 + 0.5 * way).clamp(0, 1),
        logit_opacity=torch.full((count,), 2.0),
    )


def session_of(folder: Path, slow: bool):
    """A real run, or one whose guidance takes two seconds and leaves the object alone."""
    import dataclasses

    import torch

    from interactive3d.runtime.engine.script import load_script
    from interactive3d.runtime.engine.session import Session
    from interactive3d.runtime.engine.start import begin, make_guidance

    script = folder / "run.sculpt"
    script.write_text(SCRIPT)
    program = load_script(script).program
    assert program is not None
    guidance = make_guidance(program.guidance, folder, "cpu")
    if slow:
        score = guidance.score

        def slowly(request):
            # Real work on every core, as a large prior's: not a sleep, which would leave them to the window.
            end = time.perf_counter() + SLOW_SECONDS
            table = torch.randn(600, 600)
            while time.perf_counter() < end:
                table = torch.nn.functional.normalize(table @ table)
            return score(request)

        guidance.score = slowly
    trainer, start = begin(program, guidance, seed=1, device="cpu")
    # Neither grown nor pruned, so that every step has as many blobs.
    settings = start.settings.set("densify.start", 1_000_000).set("densify.prune_every", 1_000_000)
    return Session(
        trainer, program.operations, dataclasses.replace(start, model=ball(BLOBS), settings=settings)
    ), program


@dataclass
class Seen:
    """What a scenario measures."""

    frames: list[float] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)
    delays: list[int] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    shares: list[float] = field(default_factory=list)


def rates(times: list[float], phases: list[tuple[float, float, bool]]) -> tuple[float, float]:
    """Steps a second while the window was awake, and while it slept: every step counts for each by the time it lay in it."""
    steps, seconds = [0.0, 0.0], [0.0, 0.0]
    for low, high, awake in phases:
        for start, end in itertools.pairwise(times):
            shared = max(0.0, min(end, high) - max(start, low))
            steps[awake] += shared / (end - start)
            seconds[awake] += shared
    return steps[True] / max(seconds[True], 1e-9), steps[False] / max(seconds[False], 1e-9)


class Hand:
    """A pointer that presses on the object and never stops turning it, through ImGui's own queue of events, as a person's does."""

    def __init__(self, window) -> None:
        self.window = window
        self.place: tuple[float, float] | None = None
        self.camera = window.studio.camera

    def move(self) -> bool:
        """The next movement, for the frame to come; whether the last one has turned the camera."""
        from imgui_bundle import imgui

        view = self.window.view
        if view is None:
            return False
        io = imgui.get_io()
        if self.place is None:
            self.place = (view.origin[0] + 0.25 * view.size[0], view.origin[1] + 0.4 * view.size[1])
            io.add_mouse_pos_event(*self.place)
            io.add_mouse_button_event(0, True)
        else:
            self.place = (self.place[0] + 4.0, self.place[1] + 0.4)
            io.add_mouse_pos_event(*self.place)
        turned, self.camera = self.camera != self.window.studio.camera, self.window.studio.camera
        return turned


def windowed(folder: Path, seconds: float, held: bool, slow: bool) -> dict:
    """The window over a run: only watched, or with a hand that never stops turning the object."""
    from interactive3d.runtime.view.app import Window
    from interactive3d.runtime.view.project import Project
    from interactive3d.runtime.view.studio import Studio
    from interactive3d.runtime.view.worker import Worker

    session, program = session_of(folder, slow)
    studio = Studio(Worker(session, running=True), Project(title="benchmark", folder=folder, program=program))
    window = Window(studio, config=folder / "config", size=SIZE)
    seen, begun = Seen(), time.perf_counter()
    asked: list[tuple[object, int, float]] = []
    state = {"frame": 0, "last": begun, "before": begun, "since": 0.0}
    hand = Hand(window) if held else None

    phases: list[tuple[float, float, bool]] = []

    def each_frame() -> None:
        now = time.perf_counter()
        state["frame"] += 1
        if not state["since"]:
            if now - begun > WARM_SECONDS and studio.worker.latest().step >= 2:
                state["since"] = state["last"] = now
                studio.frame_seconds.clear()
            return
        if now - state["since"] > PHASE_SECONDS and not slow:
            phases.append((state["since"], now, True))
            time.sleep(PHASE_SECONDS)
            asked.clear()
            phases.append((now, time.perf_counter(), False))
            now = state["since"] = time.perf_counter()
        else:
            seen.gaps.append(now - state["last"])
            seen.shares.append(studio.window_share)
        state["last"] = now
        if hand is not None and hand.move():
            # The frame before this one met the movement and turned the camera.
            asked.append((studio.camera.camera(), state["frame"] - 1, state["before"]))
        state["before"] = now
        shown = window.viewport.shown_camera if window.viewport is not None else None
        for camera, frame, moment in list(asked):
            if camera == shown:
                # What is found here at the beginning of a frame was shown by the one before.
                seen.delays.append(state["frame"] - 1 - frame)
                seen.waits.append(now - moment)
                asked[:] = [row for row in asked if row[1] > frame]
                break
        if now - begun > seconds + WARM_SECONDS:
            window.params.app_shall_exit = True

    studio.frame_seconds = type(studio.frame_seconds)(maxlen=100_000)
    window.each_frame = each_frame
    window.run()
    frames = 1000.0 * np.array(studio.frame_seconds)
    frames = frames[frames < 1000.0 * PHASE_SECONDS]
    times = list(studio.worker.step_times)
    studio.close()
    awake, asleep = rates(times, phases)
    taken = [b - a for a, b in itertools.pairwise(times)]
    spent = float(np.mean(seen.shares)) * (os.cpu_count() or 1) * float(np.mean(seen.gaps))
    return {
        "renderer": window.viewport.renderer,
        "engine": window.viewport.engine.value,
        "frames": len(frames),
        "median": float(np.median(frames)),
        "p99": float(np.percentile(frames, 99)),
        "worst": float(frames.max()),
        "gap_median": 1000 * float(np.median(seen.gaps)),
        "gap_p99": 1000 * float(np.percentile(seen.gaps, 99)),
        "step": float(np.median(taken)) if taken else float("nan"),
        "steps": len(taken),
        "slower": asleep / awake - 1.0 if phases else float("nan"),
        "spent": 1000 * spent,
        "load": os.getloadavg()[0],
        "share": float(np.mean(seen.shares)),
        "delay_median": float(np.median(seen.delays)) if seen.delays else None,
        "delay_p99": float(np.percentile(seen.delays, 99)) if seen.delays else None,
        "wait_median": 1000 * float(np.median(seen.waits)) if seen.waits else None,
        "wait_p99": 1000 * float(np.percentile(seen.waits, 99)) if seen.waits else None,
    }


def picture(folder: Path) -> dict:
    """The window's picture at rest against the optimizer's rasterizer, for both engines."""
    import moderngl

    from interactive3d.runtime.scene.camera import Camera
    from interactive3d.runtime.scene.render import render
    from interactive3d.runtime.view.viewport import Backdrop, Engine, Frame, Viewport

    context = moderngl.create_standalone_context()
    model, camera = ball(BLOBS), Camera.orbit(30.0, 20.0)
    expected = render(model, [camera], *SIZE).color[0].clamp(0, 1).numpy()
    told = {}
    for engine in Engine:
        viewport = Viewport(context, engine)
        frame = Frame(model=model, camera=camera, width=SIZE[0], height=SIZE[1], backdrop=Backdrop.WHITE)
        started = time.perf_counter()
        viewport.show(frame)
        while not viewport.settled and time.perf_counter() - started < 60:
            time.sleep(0.002)
            viewport.show(frame)
        viewport.show(frame)
        found = viewport.read().astype(np.float64) / 255.0
        context.finish()
        told[engine.value] = {
            "psnr": float(-10 * np.log10(((found - expected) ** 2).mean())),
            "ms": 1000 * (time.perf_counter() - started),
        }
        viewport.close()
    return told


def child(name: str, seconds: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        match name:
            case "watched":
                told = windowed(place, seconds, held=False, slow=False)
            case "held":
                told = windowed(place, seconds, held=True, slow=False)
            case "slow step":
                told = windowed(place, seconds, held=True, slow=True)
            case _:
                told = picture(place)
    print("TOLD " + json.dumps(told))


def measure(seconds: float, gpu: bool, only: list[str]) -> dict:
    told = {}
    for name in only or SCENARIOS:
        # As the command line sets it before torch is loaded.
        environment = {"OMP_WAIT_POLICY": "PASSIVE", **os.environ}
        if not gpu:
            environment["LIBGL_ALWAYS_SOFTWARE"] = "1"
        command = [sys.executable, __file__, "--child", name, "--seconds", str(seconds)]
        if not gpu:
            command = ["xvfb-run", "-a", "-s", "-screen 0 1600x1000x24 -nolisten tcp", *command]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        line = next((row for row in done.stdout.splitlines() if row.startswith("TOLD ")), None)
        if line is None:
            raise SystemExit(f"{name}: ended with {done.returncode}\n{done.stderr[-4000:]}")
        told[name] = json.loads(line[5:])
        print(name, told[name], file=sys.stderr)
    return told


def report(told: dict, seconds: float, blobs: int) -> str:
    watched, held, slow, pictures = (told[name] for name in ("watched", "held", "slow step", "picture"))

    import torch

    load = max(row["load"] for row in (watched, held, slow))
    cores = os.cpu_count() or 1
    busy = [
        "",
        f"**The machine was not quiet: its load average was {load:.1f} on {cores} cores, so that the window had a small part of it. Times of"
        " the clock below are what such a machine gives; processor times and shares hold on a quiet one too; slowdowns carry the noise of what else ran.**",
    ]
    lines = [
        "# The window, measured",
        "",
        f"`python benchmarks/window.py --seconds {seconds:g}` on {platform.processor() or platform.machine()}, {cores} cores,"
        f" {watched['renderer']}, torch {torch.__version__.split('+')[0]}.",
        f"The window has {SIZE[0]} x {SIZE[1]} pixels and all its panels; the run under it is a real one: embedded prior, default settings,"
        f" {blobs:,} blobs." + (f" All of it ran at nice {os.nice(0)}." if os.nice(0) else ""),
        *(busy if load > cores + 2.5 else []),
        "",
        "| what | bar | only watched | a hand that never rests |",
        "| --- | --- | --- | --- |",
        f"| frame, median | 50 ms | {watched['median']:.0f} ms | {held['median']:.0f} ms |",
        f"| frame, 99th percentile | 100 ms | {watched['p99']:.0f} ms | {held['p99']:.0f} ms |",
        f"| from frame to frame, median | 16.7 ms on a graphics card | {watched['gap_median']:.0f} ms | {held['gap_median']:.0f} ms |",
        f"| processor time a frame, all the window's threads | | {watched['spent']:.0f} ms | {held['spent']:.0f} ms |",
        f"| from input to its picture, median | 2 frames | | {held['delay_median']:.1f} frames, {held['wait_median']:.0f} ms |",
        f"| from input to its picture, 99th percentile | | | {held['delay_p99']:.1f} frames, {held['wait_p99']:.0f} ms |",
        f"| the optimizer's steps take longer by | 25 % | {100 * watched['slower']:.0f} % | {100 * held['slower']:.0f} % |",
        f"| share of the machine, as the window says it | | {100 * watched['share']:.0f} % | {100 * held['share']:.0f} % |",
        "",
        f"With a step of {slow['step']:.1f} s that keeps every core busy, and a hand that never rests: frames take {slow['median']:.0f} ms"
        f" (99th percentile {slow['p99']:.0f} ms, worst {slow['worst']:.0f} ms): the window never waits for the step.",
        "",
        "The picture at rest against the optimizer's rasterizer (bar: 40 dB):",
        "",
        "| drawn by | PSNR | whole picture after |",
        "| --- | --- | --- |",
        *(f"| {name} | {row['psnr']:.1f} dB | {row['ms']:.0f} ms |" for name, row in pictures.items()),
        "",
        "A frame is everything the window's thread does for it, from ImGui's events to the swap. Watching, the window draws when there is"
        " news, at most three times a second (eight on a graphics card). For the slowdown the window is awake and asleep in turn, five seconds each, over the same run."
        " The hand presses on the object and turns it, through ImGui's queue of events.",
        "",
        "The bar for the optimizer is that of an open window, which is watched most of the time. Under a hand that never rests both want the same cores; it ends with the gesture.",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--child")
    parser.add_argument("--gpu", action="store_true", help="use the display and the graphics card that are there")
    parser.add_argument("--blobs", type=int, default=BLOBS, help="1000000 for the bar of a graphics card")
    parser.add_argument("--only", action="append", default=[], choices=SCENARIOS)
    asked = parser.parse_args()
    if asked.child:
        child(asked.child, asked.seconds)
        return
    os.environ["WINDOW_BLOBS"] = str(asked.blobs)
    told = measure(asked.seconds, asked.gpu, asked.only)
    if not asked.only:
        text = report(told, asked.seconds, asked.blobs)
        name = "window_gpu.md" if asked.gpu else "window.md"
        Path(__file__).with_name(name).write_text(text)
        print(text)


if __name__ == "__main__":
    main()
