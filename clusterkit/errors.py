"""The root of Hearth's exception family.

A failure is raised, never returned as text. Its message names the value, the place and the valid
choices, so that a person can mend it; its `code` is stable and meant for machines.
"""


class HearthError(Exception):
    """Something went wrong that a person can act on; the message is fit to be shown."""

    code = "hearth_error"


class SettingsError(HearthError):
    """One or more settings are missing or wrong; the message lists all of them."""

    code = "invalid_settings"


class ConfigFileError(HearthError):
    """A configuration file is malformed: names the file, line, column and what was expected."""

    code = "invalid_config_file"

    def __init__(self, file: str, line: int, column: int, problem: str, path: str = "") -> None:
        """`line` and `column` count from 1; `path` is the dotted way to the value, if there is one."""
        self.file, self.line, self.column, self.problem, self.path = file, line, column, problem, path
        where = f"{file}:{line}:{column}"
        super().__init__(f"{where}: {path} - {problem}" if path else f"{where}: {problem}")


class StorageError(HearthError):
    """The database could not be read or written."""

    code = "storage_error"


class StorageFullError(StorageError):
    """The disk under the database is full. Nothing was half-written; free some space and try again."""

    code = "storage_full"
