"""The exception that becomes an error answer."""


class Refusal(Exception):
    """A refused request.

    `status` is the HTTP status, `code` an identifier for programs, `message` a sentence for people.
    """

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
