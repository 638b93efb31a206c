"""The window itself: GLFW and Dear ImGui around the panels, its own loop, its layout, its keys.

The loop is ours and not the library's, because the library waits with Python's lock held and the optimizer's thread would wait with it.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path

import moderngl
import numpy as np
from imgui_bundle import glfw_utils, hello_imgui, imgui, immapp
from imgui_bundle.glfw_utils import glfw  # the library that the window itself uses, not another copy of it

from interactive3d.runtime.output.pictures import save_picture
from interactive3d.runtime.view.actions import Actions
from interactive3d.runtime.view.costs import Costs
from interactive3d.runtime.view.keymap import KeymapProblem, read_keymap
from interactive3d.runtime.view.layout import Layout
from interactive3d.runtime.view.panels.camera_panel import CameraPanel
from interactive3d.runtime.view.panels.palette import Palette
from interactive3d.runtime.view.panels.parts_panel import PartsPanel
from interactive3d.runtime.view.panels.recording_panel import RecordingPanel
from interactive3d.runtime.view.panels.report_panels import AboutPanel, LogPanel, PlotsPanel, draw_failures, draw_keys
from interactive3d.runtime.view.panels.run_panel import RunPanel
from interactive3d.runtime.view.panels.script_panel import ScriptPanel
from interactive3d.runtime.view.panels.settings_panel import SettingsPanel
from interactive3d.runtime.view.panels.viewport_panel import ViewportPanel
from interactive3d.runtime.view.pressing import KEYS, close_popups, pressed_actions
from interactive3d.runtime.view.studio import Studio
from interactive3d.runtime.view.theme import ACCENT, GROUND, MUTED, apply_theme, clear_ground, load_fonts
from interactive3d.runtime.view.viewport import Backdrop, Engine, Viewport

FRAMES_A_SECOND = 60.0
SOFTWARE_FRAMES_A_SECOND = 30.0
"""Where the processor draws, every frame is taken from the optimizer."""

REST_SHARE, LONGEST_REST = 0.6, 0.06
"""After a frame on a software renderer, while the optimizer runs: the rest, as a share of the frame's time, and at most in seconds."""

SWITCH_SECONDS = 0.001
"""How long another thread may keep Python's lock while the window wants it; Python's own five would be felt."""

NEWS_A_SECOND = 8.0
SOFTWARE_NEWS_A_SECOND = 3.0
"""Frames a second with new states when nobody touches anything: each costs the optimizer some of the machine."""

IDLE_SECONDS = 0.5
"""Without news and without events a frame is drawn this often."""

FADE_SECONDS = 0.7
"""How long a notice fades."""

AWAKE_SECONDS = 0.6
"""How long after the last event the window keeps its full speed."""


class Window:
    """One window on one studio. ``run`` returns when it is closed."""

    def __init__(
        self,
        studio: Studio,
        *,
        config: Path,
        size: tuple[int, int] = (1440, 860),
        engine: Engine | None = None,
        tests: Callable[["Window"], None] | None = None,
        closing: Callable[[], bool] = lambda: False,
    ) -> None:
        self.studio = studio
        self._closing = closing
        self.config = config
        self.tests = tests
        self._engine = engine
        self._keys_shown = False
        self._last_event = time.monotonic()
        self._started = time.perf_counter()
        self.capture_to: Path | None = None
        self.each_frame: Callable[[], None] = lambda: None
        self.failed_panels: dict[str, str] = {}
        try:
            studio.keymap = read_keymap(config / "keys.json")
        except KeymapProblem as problem:
            studio.fail(str(problem), "the default keys are in use")
        self.actions = Actions(self)
        self.run_panel = RunPanel(studio)
        self.settings = SettingsPanel(studio)
        self.script = ScriptPanel(studio)
        self.parts = PartsPanel(studio, self.script)
        self.plots = PlotsPanel(studio)
        self.log = LogPanel(studio)
        self.recording = RecordingPanel(studio)
        self.cameras = CameraPanel(studio)
        self.palette = Palette(studio, self.actions)
        self.viewport: Viewport | None = None
        self.view: ViewportPanel | None = None
        self.about: AboutPanel | None = None
        self.params = self._params(size)
        self.layout = Layout(self.params.docking_params, Path(self.params.ini_filename))

    # -- the loop -------------------------------------------------------------------------------------------------------
    def run(self) -> None:
        """Show the window until it is closed."""
        render, costs = immapp.manual_render, Costs()
        addons = immapp.AddOnsParams(with_implot=True)
        render.setup_from_runner_params(self.params, addons)
        switch = sys.getswitchinterval()
        sys.setswitchinterval(min(switch, SWITCH_SECONDS))
        try:
            while not (self.params.app_shall_exit or self._closing()):
                started = time.perf_counter()
                render.render()
                self.studio.frame_seconds.append(time.perf_counter() - started)
                costs.update([*self.studio.thread_ids, *(self.viewport.thread_ids if self.viewport else ())])
                self.studio.window_share = costs.share
                self._rest(started)
        finally:
            sys.setswitchinterval(switch)
            self.recording.close()
            if self.viewport is not None:
                self.viewport.close()
            render.tear_down()

    def _rest(self, started: float) -> None:
        """Wait for the next frame, for an event or for news, with Python's lock free."""
        if self.tests is not None or self.wakeful:
            software = self.viewport is not None and self.viewport.software
            rate = SOFTWARE_FRAMES_A_SECOND if software else FRAMES_A_SECOND
            taken = time.perf_counter() - started
            # A frame holds Python's lock from its beginning to its end: without a rest the optimizer would hardly get it.
            least = min(REST_SHARE * taken, LONGEST_REST) if software and self.studio.worker.running else 0.001
            time.sleep(max(1.0 / rate - taken, least))
            return
        while (left := IDLE_SECONDS - (time.perf_counter() - started)) > 0:
            asked = time.perf_counter()
            software = self.viewport is not None and self.viewport.software
            nap = min(left, 1.0 / (SOFTWARE_NEWS_A_SECOND if software else NEWS_A_SECOND))
            glfw.wait_events_timeout(nap)
            event = time.perf_counter() - asked < 0.9 * nap
            if event or self.studio.has_news or (self.viewport is not None and self.viewport.has_news):
                return

    @property
    def wakeful(self) -> bool:
        """Whether something is going on that wants every frame."""
        if time.monotonic() - self._last_event < AWAKE_SECONDS or self.cameras.playing:
            return True
        if self.studio.worker.running and self.studio.past is None:
            # Nobody touches anything: frames come with the news, a few a second.
            return False
        settling = self.viewport is not None and not self.viewport.settled
        return settling or not self.studio.current

    def wake(self) -> None:
        """Keep the window's full speed for a while, as after an event."""
        self._last_event = time.monotonic()

    def _note_events(self) -> None:
        io = imgui.get_io()
        moved = io.mouse_delta.x or io.mouse_delta.y or io.mouse_wheel
        held = imgui.is_any_mouse_down() or any(imgui.is_key_down(key) for key in KEYS.values())
        fading = any(notice.until - time.monotonic() < FADE_SECONDS for notice in self.studio.notices)
        if moved or held or imgui.is_any_item_active() or fading:
            self._last_event = time.monotonic()

    # -- setting up -----------------------------------------------------------------------------------------------------
    def _params(self, size: tuple[int, int]) -> hello_imgui.RunnerParams:
        params = hello_imgui.RunnerParams()
        params.app_window_params.window_title = f"{self.studio.project.title} – interactive3d"
        params.app_window_params.window_geometry.size = size
        params.app_window_params.restore_previous_geometry = self.tests is None
        self.config.mkdir(parents=True, exist_ok=True)
        params.ini_folder_type = hello_imgui.IniFolderType.absolute_path
        params.ini_filename = str(self.config / "window.ini")
        params.use_imgui_test_engine = self.tests is not None
        params.fps_idling.enable_idling = False
        # ImGui softens its own edges; eightfold sampling would cost a software renderer most of its time.
        params.renderer_backend_options.open_gl_options = hello_imgui.OpenGlOptions(anti_aliasing_samples=0)
        window = params.imgui_window_params
        window.default_imgui_window_type = hello_imgui.DefaultImGuiWindowType.provide_full_screen_dock_space
        window.background_color = GROUND
        window.show_menu_bar = True
        window.show_menu_app = window.show_menu_view = False
        window.show_status_bar = True
        window.show_status_fps = False
        window.remember_status_bar_settings = False
        params.callbacks.default_icon_font = hello_imgui.DefaultIconFont.font_awesome6
        params.callbacks.load_additional_fonts = load_fonts
        params.callbacks.setup_imgui_style = apply_theme
        params.callbacks.post_init = self._post_init
        params.callbacks.show_menus = self._menus
        params.callbacks.show_status = self._status
        params.callbacks.show_gui = self._gui
        params.callbacks.custom_background = self._background
        params.callbacks.before_swap = self._capture
        if self.tests is not None:
            params.callbacks.register_tests = lambda: self.tests and self.tests(self)
        params.docking_params = self._docking()
        return params

    def _docking(self) -> hello_imgui.DockingParams:
        right, down = imgui.Dir.right, imgui.Dir.down
        docking = hello_imgui.DockingParams()
        docking.layout_name = "studio"
        docking.docking_splits = [
            hello_imgui.DockingSplit("MainDockSpace", "below", down, 0.24),
            hello_imgui.DockingSplit("MainDockSpace", "side", right, 0.28),
            hello_imgui.DockingSplit("side", "side below", down, 0.50),
        ]
        docking.docking_splits[0].node_flags = 0
        windows = [
            ("Object", "MainDockSpace", lambda: self.view.draw() if self.view else None),
            ("Timeline", "below", self.run_panel.draw),
            ("Plots", "below", self.plots.draw),
            ("Log", "below", self.log.draw),
            ("Parts", "side", self.parts.draw),
            ("Record", "side", self.recording.draw),
            ("Cameras", "side", self.cameras.draw),
            ("About", "side", lambda: self.about.draw() if self.about else None),
            ("Settings", "side below", self.settings.draw),
            ("Script", "side below", self.script.draw),
        ]
        docking.dockable_windows = [
            hello_imgui.DockableWindow(label, place, self._guarded(label, draw)) for label, place, draw in windows
        ]
        view = docking.dockable_windows[0]
        view.can_be_closed = False
        view.imgui_window_flags = imgui.WindowFlags_.no_scrollbar | imgui.WindowFlags_.no_scroll_with_mouse
        return docking

    def _guarded(self, label: str, draw: Callable[[], None]) -> Callable[[], None]:
        """A panel that raises says so, once, and the window lives on."""

        def guarded() -> None:
            try:
                clear_ground()
                draw()
            except Exception as error:  # shown in the window; ImGui closes what was left open
                import traceback

                details = traceback.format_exc()
                if self.failed_panels.get(label) != str(error):
                    self.failed_panels[label] = str(error)
                    self.studio.fail(f"{label}: {error}", details)
                imgui.text_wrapped(f"{label}: {error}")

        return guarded

    def _post_init(self) -> None:
        context = moderngl.create_context()
        self.viewport = Viewport(context, self._engine)
        self.view = ViewportPanel(self.studio, self.viewport, self.parts)
        self.about = AboutPanel(self.studio, self.viewport)
        io = imgui.get_io()
        # Keys belong to the keymap; ImGui's own walking from widget to widget would take space and the arrows.
        io.config_flags &= ~imgui.ConfigFlags_.nav_enable_keyboard
        io.config_windows_move_from_title_bar_only = True
        io.config_error_recovery_enable_assert = False
        glfw.set_drop_callback(glfw_utils.glfw_window_hello_imgui(), self._dropped)  # type: ignore[arg-type]

    def _dropped(self, window: object, paths: list[str]) -> None:
        for path in paths:
            self.actions.add_file(Path(path))

    def _background(self) -> None:
        """What lies behind ImGui's panels."""
        if self.viewport is None or self.view is None:
            return
        self.viewport.context.screen.clear(GROUND.x, GROUND.y, GROUND.z, 1.0)
        self.view.draw_behind()

    def _capture(self) -> None:
        """A picture of the whole window, where one was asked for."""
        if self.capture_to is None or self.viewport is None:
            return
        path, self.capture_to = self.capture_to, None
        context = self.viewport.context
        width, height = glfw.get_framebuffer_size(glfw_utils.glfw_window_hello_imgui())
        # The screen has no attachment that could be read by number: it is copied to something that has.
        target = context.simple_framebuffer((width, height), 4)
        context.screen.viewport = (0, 0, width, height)
        context.copy_framebuffer(target, context.screen)
        data = target.read(components=3, alignment=1)
        target.release()
        save_picture(path, np.frombuffer(data, np.uint8).reshape(height, width, 3)[::-1].copy())

    # -- every frame ----------------------------------------------------------------------------------------------------
    def _gui(self) -> None:
        self.each_frame()
        self.studio.refresh()
        self.layout.settle()
        self.script.watch()
        self.recording.settle()
        self.cameras.advance()
        self._note_events()
        self._shortcuts()
        self._keys_shown = draw_keys(self.studio, self._keys_shown)
        self.palette.draw()
        draw_failures(self.studio)

    def _shortcuts(self) -> None:
        for name in pressed_actions(self.studio.keymap):
            self.actions.do(name)

    def _menus(self) -> None:
        actions, studio = self.actions, self.studio
        if imgui.begin_menu("File"):
            if imgui.menu_item_simple("Save script", "ctrl+s"):
                actions.do("save")
            if imgui.menu_item_simple("Save session as script"):
                actions.do("save_session")
            if imgui.menu_item_simple("Export splats"):
                actions.do("export_splats")
            if imgui.menu_item_simple("Save a picture", "f2"):
                actions.do("screenshot")
            imgui.separator()
            if imgui.menu_item_simple("Quit"):
                self.params.app_shall_exit = True
            imgui.end_menu()
        if imgui.begin_menu("Edit"):
            for name in ("undo", "redo", "select_all", "invert", "grow", "shrink", "hide", "show_all", "remove"):
                action = actions.known[name]
                if imgui.menu_item_simple(action.help.capitalize(), ", ".join(studio.keymap[name])):
                    actions.do(name)
            imgui.end_menu()
        if imgui.begin_menu("View"):
            for backdrop in Backdrop:
                name = f"{backdrop.name.capitalize()} background"
                if imgui.menu_item(name, "", studio.backdrop is backdrop)[0]:
                    studio.backdrop = backdrop
            imgui.separator()
            _, studio.grid = imgui.menu_item("Floor", "g", studio.grid)
            _, studio.dots = imgui.menu_item("Blobs as dots", "", studio.dots)
            _, studio.show_parts = imgui.menu_item("Outlines of parts", "", studio.show_parts)
            _, studio.show_regions = imgui.menu_item("Refined regions", "", studio.show_regions)
            _, studio.show_drags = imgui.menu_item("Drags under way", "", studio.show_drags)
            _, studio.show_cameras = imgui.menu_item("Cameras", "", studio.show_cameras)
            _, studio.show_step_cameras = imgui.menu_item("Cameras of the newest step", "o", studio.show_step_cameras)
            if studio.field is not None and imgui.menu_item("Mesh of the field", "n", studio.previewing)[0]:
                actions.do("mesh_preview")
            if studio.mesh is not None and not studio.previewing:
                _, studio.show_mesh = imgui.menu_item("The mesh itself", "", studio.show_mesh)
            imgui.separator()
            for window in self.layout.panels:
                _, window.is_visible = imgui.menu_item(window.label, "", window.is_visible)
            if imgui.menu_item_simple("Layout as it was at first"):
                self.params.docking_params.layout_reset = True
            imgui.end_menu()
        if imgui.begin_menu("Help"):
            if imgui.menu_item_simple("Keys", "f1"):
                self._keys_shown = True
            if imgui.menu_item_simple("Command palette", "ctrl+p"):
                actions.do("palette")
            imgui.end_menu()

    def _status(self) -> None:
        studio = self.studio
        state = studio.worker.latest()
        if studio.worker.running:
            imgui.text_colored(ACCENT, f"optimizing  {studio.worker.steps_per_second:.2f} steps/s")
        else:
            done = studio.project.optimizes and studio.worker.session.finished
            imgui.text_colored(MUTED, "finished" if done else "paused" if studio.project.optimizes else "viewing")
        imgui.same_line(0, 24)
        imgui.text(f"{len(state.model)} blobs")
        if state.metrics.loss == state.metrics.loss:
            imgui.same_line(0, 24)
            imgui.text(f"loss {state.metrics.loss:.4g}")
        imgui.same_line(0, 24)
        imgui.text_colored(MUTED, f"window {100 * studio.window_share:.0f} % of the machine")
        frames = list(studio.frame_seconds)[-30:]
        if frames:
            imgui.same_line(0, 24)
            imgui.text_colored(MUTED, f"frame {1000 * sum(frames) / len(frames):.0f} ms")

    # -- asked by actions -----------------------------------------------------------------------------------------------
    def toggle_panels(self) -> None:
        """Hide everything but the object, or bring it back."""
        self.layout.toggle()

    def show_keys(self) -> None:
        """The window with all keys."""
        self._keys_shown = not self._keys_shown

    def close_overlay(self) -> bool:
        """Close what lies over everything else, the topmost first; False where nothing does."""
        if close_popups():
            return True
        if self.studio.failures:
            self.studio.failures.pop(0)
            return True
        shown, self._keys_shown = self._keys_shown, False
        return shown

    def show_panel(self, label: str) -> None:
        """Bring a panel to the front."""
        window = self.params.docking_params.dockable_window_of_name(label)
        if window is not None:
            window.is_visible = True
            window.focus_window_at_next_frame = True
