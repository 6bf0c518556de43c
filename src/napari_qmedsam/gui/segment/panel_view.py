"""What the panel shows of the session, and which of its controls make sense."""

from typing import TYPE_CHECKING

from qtpy.QtCore import QObject

from napari_qmedsam.checkpoints.catalogue import CATALOGUE
from napari_qmedsam.checkpoints.download import weights_path
from napari_qmedsam.gui.segment.preview import View
from napari_qmedsam.gui.segment.window_form import presets_of
from napari_qmedsam.gui.segment.workspace import Workspace
from napari_qmedsam.gui.shared.colours import colour_of
from napari_qmedsam.gui.shared.icons import theme_ink
from napari_qmedsam.gui.shared.panel_choices import preference
from napari_qmedsam.models.configuration import CONFIGS, ModelConfig
from napari_qmedsam.volumes.reslicing import view_name

if TYPE_CHECKING:
    from napari_qmedsam.gui.segment.segment_panel import SegmentPanel


class PanelView(QObject):
    """From session, viewer and runner to the controls, never back."""

    def __init__(self, panel: "SegmentPanel") -> None:
        super().__init__(panel)
        self.panel, self.viewer = panel, panel.viewer
        self.controls, self.runner = panel.controls, panel.runner
        self._shown: Workspace | None = None
        has_preview = preference("preview", True)
        self.controls.preview.setVisible(has_preview)
        self._has_preview = has_preview

    def connect(self) -> None:
        """Listen to everything that is shown."""
        runner, controls = self.runner, self.controls
        work = runner.work
        work.said.connect(controls.status.setText)
        work.progressed.connect(controls.show_progress)
        work.changed.connect(self.enable)
        work.changed.connect(self.show_model)
        work.changed.connect(self.panel.housekeeper.stir)
        controls.models.changed.connect(self.show_model)
        controls.window_form.refused.connect(controls.status.setText)
        self.panel.images.changed.connect(self.show_objects)
        self.panel.housekeeper.counted.connect(self._counted)
        dims = self.viewer.dims.events
        for event in (dims.current_step, dims.order, dims.ndisplay):
            event.connect(self.show_slice)
        self.viewer.events.theme.connect(self.show_theme)

    def disconnect_viewer(self) -> None:
        """Stop listening to the viewer, which may outlive the panel."""
        dims = self.viewer.dims.events
        for event in (dims.current_step, dims.order, dims.ndisplay):
            event.disconnect(self.show_slice)
        self.viewer.events.theme.disconnect(self.show_theme)
        self._show(None)

    def show_objects(self) -> None:
        """Show the table of the workspace, and everything that hangs on it."""
        workspace, table = self.panel.workspace, self.controls.table
        if workspace is not self._shown:
            self._show(workspace)
        if workspace is None:
            table.show_objects([], [], [])
        else:
            objects = list(workspace.session.objects.values())
            colours = [colour_of(o.object_id, workspace.labels) for o in objects]
            depths = [workspace.session.volume.shape[o.axis] for o in objects]
            table.show_objects(objects, colours, depths)
            table.show_measures(workspace.tally.measure)
        self.enable()
        self.panel.housekeeper.stir()

    def show_window(self) -> None:
        """Show the window of the image, in numbers and as the model sees it."""
        workspace = self.panel.workspace
        if workspace is not None:
            self.controls.window_form.show_window(workspace.window())
            self.show_slice()

    def show_slice(self) -> None:
        """Show which view is looked at, and what the model sees of its slice."""
        workspace = self.panel.workspace
        config = self._config()
        if workspace is None or config is None or not self._has_preview:
            self.controls.preview.ask(None)
            return
        self.controls.view.setCurrentIndex(workspace.axis)
        self.controls.preview.ask(
            View(
                workspace.session.volume,
                workspace.axis,
                workspace.slice_index,
                workspace.window(),
                config,
            )
        )

    def show_model(self) -> None:
        """Say what really runs, or that the chosen model is still to be loaded."""
        choice = self.controls.models.choice()
        text = self.runner.describe()
        if not self.runner.has_loaded(choice):
            entry = CATALOGUE.get(choice.loaded_name)
            state = "not loaded yet"
            if entry is not None and self.controls.models.needs_download():
                state = "to be downloaded"
                if entry.size_bytes:
                    state += f" ({entry.size_bytes / 1e6:.0f} MB)"
            elif entry is not None:
                size = weights_path(entry).stat().st_size
                state += f" · {size / 1e6:.1f} MB on disk"
            text = f"{choice.loaded_name} on {choice.backend}: {state}"
        self.controls.runs.setText(text)
        self.show_slice()

    def show_theme(self) -> None:
        """Draw the icons so that they can be seen in napari's theme."""
        self.controls.set_ink(theme_ink(self.viewer.theme))

    def enable(self) -> None:
        """Let only those controls be used that make sense now."""
        controls, workspace = self.controls, self.panel.workspace
        is_free, is_chosen = not self.runner.is_busy, workspace is not None
        is_ready = is_free and is_chosen
        session = workspace.session if is_chosen else None
        has_objects = is_chosen and bool(session.objects)
        for control, makes_sense in (
            (controls.image, is_free),
            (controls.models, is_free),
            (controls.view, is_chosen and workspace.image.ndim == 3),
            (controls.window_form, is_chosen and not workspace.image.rgb),
            (controls.draw, is_chosen),
            (controls.key_box, has_objects),
            (controls.positive, has_objects),
            (controls.negative, has_objects),
            (controls.from_here, has_objects),
            (controls.to_here, has_objects),
            (controls.remove, is_free and has_objects),
            (controls.on_slice, is_free and has_objects),
            (controls.on_range, is_free and has_objects),
            (controls.up, is_free and has_objects),
            (controls.down, is_free and has_objects),
            (controls.cancel, not is_free),
            (controls.undo, is_ready and session.history.can_undo),
            (controls.redo, is_ready and session.history.can_redo),
            (controls.save, is_ready and workspace.labels is not None),
        ):
            control.setEnabled(bool(makes_sense))

    def _show(self, workspace: Workspace | None) -> None:
        """Turn from one workspace to another."""
        if self._shown is not None:
            events = self._shown.image.events
            events.contrast_limits.disconnect(self.show_window)
        self._shown = workspace
        self.controls.view.clear()
        if workspace is None:
            self.controls.preview.ask(None)
            self.controls.window_form.forget()
            return
        volume = workspace.session.volume
        decimals = 0 if volume.array.dtype.kind in "iu" else 3
        self.controls.window_form.offer(presets_of(volume), decimals)
        for axis in range(3 if workspace.image.ndim == 3 else 1):
            name = view_name(volume, axis) if workspace.image.ndim == 3 else "2D"
            self.controls.view.addItem(name)
        workspace.image.events.contrast_limits.connect(self.show_window)
        self.show_window()

    def _counted(self, workspace: Workspace) -> None:
        if workspace is self.panel.workspace:
            self.controls.table.show_measures(workspace.tally.measure)

    def _config(self) -> ModelConfig | None:
        """Return the configuration of the chosen model, as far as it is known."""
        choice = self.controls.models.choice()
        if self.runner.has_loaded(choice):
            return self.runner.segmenter.backend.config
        entry = CATALOGUE.get(choice.model)
        return CONFIGS[entry.architecture] if entry is not None else None
