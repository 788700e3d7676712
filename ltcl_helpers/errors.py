"""What can go wrong in ways that a caller may want to tell apart; each message is one line."""


class ConfigError(ValueError):
    """A wrong call or bad input: says what, the value, what is allowed and what to do next."""


class DamagedFile(ConfigError):
    """A file is missing, or is not what was written."""


class NoTestPart(ConfigError):
    """Data that nothing can be tested on: they train, and a probe needs --test."""


class TimeUp(Exception):
    """The minutes of a run are over: it stopped after an epoch, its checkpoint is written."""
