"""The one exception with which a request to the sandbox is turned down."""


class Refusal(Exception):
    """The sandbox turned the request down.

    `status` is the HTTP status, `code` the word a program looks at, `message` the sentence a person reads.
    """

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
