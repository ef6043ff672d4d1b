"""The five ways things fail, named by who must act.

A public function raises only these. Whatever a stranger sends ends in silence on the wire; these errors are for the
people and programs on this side of it. Errors of our own arithmetic are `AssertionError`: a crash, not an excuse.
"""


class TallyError(Exception):
    """The root of the five. `message` says what happened, `hint` what to try; both are one line each."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message


class Malformed(TallyError):
    """The peer's bytes are not what the specification says: the peer must act."""

    exit_code = 5


class Unproven(TallyError):
    """The peer's proof does not hold: a signature, a tag, a Merkle proof, a key that does not stand."""

    exit_code = 3


class Refused(TallyError):
    """Our policy says no: the owner of the house must act."""

    exit_code = 1


class Misuse(TallyError):
    """Our caller used us wrongly: the caller must act."""

    exit_code = 2


class Unavailable(TallyError):
    """A window is shut: disk, network, TPM, model. Try again when it is open."""

    exit_code = 4
