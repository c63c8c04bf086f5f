"""What the command and the public API use of the layers below, beside the public names.

The layers are folders of their own that an installation puts into this package. Tools that only look at files do not
find them here, so they are imported by name, in this one place.
"""

from importlib import import_module

_errors, _files, _ranges = (import_module(f"heddle.arch.{name}") for name in ("errors", "files", "ranges"))
_picture = import_module("heddle.sim.picture")

processes = import_module("heddle.arch.processes")
HeddleError, ToolError = _errors.HeddleError, _errors.ToolError
nearest, require_type, shown, unknown = _errors.nearest, _errors.require_type, _errors.shown, _errors.unknown
require_writable, write_whole = _files.require_writable, _files.write_whole
require_range = _ranges.require_range
SUFFIXES, write_picture = _picture.SUFFIXES, _picture.write_picture

MOST_TOKENS = 1 << 24  # that can be asked for, of anything
