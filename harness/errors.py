"""The one exception for mistakes a user can mend: a line naming value, place and remedy."""


class UserError(ValueError):
    """Bad input. The command line prints the message alone and exits with code 2."""
