"""Gives parameters that share a line of a docstring each its own type and default.

NumPy's style lets several names stand before one description. Griffe then takes type
and default of all of them from the first.
"""

import re

import griffe

SHARED = re.compile(r"^(\w+(?:, \w+)+)( : .*)?$", re.MULTILINE)
"""Several names, and perhaps a type that is said of all."""


class SharedParameters(griffe.Extension):
    """Takes them from the signature, as for parameters that stand alone."""

    def on_function(self, *, func: griffe.Function, **_: object) -> None:
        """Correct a function's docstring where it is read."""
        _correct(func, func.parameters)

    def on_class(self, *, cls: griffe.Class, **_: object) -> None:
        """Correct a class whose docstring has the parameters of its constructor."""
        _correct(cls, cls.parameters)


def _correct(item: griffe.Object, signature: griffe.Parameters) -> None:
    if item.docstring is None:
        return
    typed = {
        name: bool(kind)
        for names, kind in SHARED.findall(item.docstring.value)
        for name in names.split(", ")
        if name in signature
    }
    for section in item.docstring.parsed:
        if isinstance(section, griffe.DocstringSectionParameters):
            for parameter in section.value:
                if parameter.name in typed:
                    known = signature[parameter.name]
                    parameter.value = known.default
                    if not typed[parameter.name]:
                        parameter.annotation = known.annotation
