"""The exception that becomes an error answer."""


class Refusal(Exception):
    """A refused request.

    `status` is the HTTP status, `code` an identifier for programs, `message` a sentence for people, `field` the
    part of the request that is wrong.
    """

    def __init__(self, status: int, code: str, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.field = field
