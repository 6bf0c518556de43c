"""A repair of vispy: a shader program in use is let go of before it is deleted.

vispy deletes programs between two frames, also the one that is in use, and
OpenGL then keeps a program that nobody owns. After ``viewer.layers.clear()``
with text in view, as the names beside our boxes are, the next image and the
next shapes layer end in a segmentation fault of Mesa 22.3: so does plain napari
0.9.2 with vispy 0.17 and a single named rectangle.
"""

from functools import cache


@cache
def delete_programs_safely() -> None:
    """Repair vispy, once for the process.

    Where vispy is built in another way, nothing is changed.
    """
    from vispy.gloo.glir import GlirProgram

    delete = getattr(GlirProgram, "delete", None)
    if delete is None or not hasattr(GlirProgram, "deactivate"):
        return

    def let_go_and_delete(program: GlirProgram) -> None:
        # A no-op where no program is in use.
        program.deactivate()
        delete(program)

    GlirProgram.delete = let_go_and_delete
