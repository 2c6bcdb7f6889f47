"""The one error that people see."""

import sys


class VaultFailed(Exception):
    """Something could not be done. `notes` say what is true but not visible, such as what was left untouched."""

    def __init__(self, message: str, *notes: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.notes = notes
        self.exit_code = exit_code

    def report(self) -> int:
        """Prints the error and gives the exit code: 1 could not do it, 2 asked wrongly."""
        print(f"error: {self}", file=sys.stderr)
        for note in self.notes:
            print(f"note: {note}", file=sys.stderr)
        return self.exit_code


def asked_wrongly(message: str, *notes: str) -> VaultFailed:
    return VaultFailed(message, *notes, exit_code=2)
