"""Where the trial's answers are gathered: by check, right ones and wrong ones."""

RIGHT: dict[str, list] = {}
WRONG: dict[str, list] = {}


def right(name):
    """An answer that must be accepted."""
    return lambda answer: RIGHT.setdefault(name, []).append(answer) or answer


def wrong(name):
    """An answer that must be refused, with a hint."""
    return lambda answer: WRONG.setdefault(name, []).append(answer) or answer


def several(where, **answers):
    for name, found in answers.items():
        where.setdefault(name, []).extend(found)
