"""The one error type for anything a user can put right: bad names, fields out of range, files that do not fit."""


class HeddleError(Exception):
    """A mistake in the input. The message is one line that names the thing and the remedy; the CLI exits with 2."""


class NoRoomError(HeddleError):
    """Something does not fit the memories of a configuration: in another way it may."""
