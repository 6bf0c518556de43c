"""A repair of vispy: a canvas finishes its work in its own OpenGL context.

After layers were removed, napari (0.6 to 0.9) has vispy delete their programs,
buffers and textures at once (``context.finish()``), between two frames, when Qt may
have another context current. There the names are freed while the canvas's own
context still draws with them. After ``viewer.layers.clear()`` with text in view, as
the names beside our boxes are, the next image and shapes layer end in a segmentation
fault of Mesa 22.3; plain napari with a single named rectangle does the same.
"""

from functools import cache


@cache
def finish_in_own_context() -> None:
    """Repair vispy, once for the process.

    Where vispy is built in another way, nothing is changed.
    """
    from vispy.gloo.context import GLContext

    finish = getattr(GLContext, "finish", None)
    if finish is None:
        return

    def finish_there(context: GLContext) -> None:
        try:
            make_current = context.shared.ref._vispy_set_current
        except (AttributeError, RuntimeError):  # no canvas has been shown with it yet
            pass
        else:
            make_current()
        finish(context)

    GLContext.finish = finish_there
