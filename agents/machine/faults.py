"""What the agent answers when it cannot do what was asked."""


class AgentError(Exception):
    """Raised with a code that the broker can act on, and a text for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
