"""What a test of a page reads off it."""

import re


def widgets(tester):
    """The widgets of choices by the choices' names, whichever keys they have by now."""
    keys = [(element, getattr(element, "key", None) or "") for element in tester.main]
    named = [(re.fullmatch(r"bound:(\w+):[0-9]+", key), element) for element, key in keys]
    return {found[1]: element for found, element in named if found}


def widget(tester, name):
    """The widget of one choice."""
    return widgets(tester)[name]


def press(tester, label):
    """Press a button, which may not fail."""
    next(b for b in tester.button if b.label == label).click().run()
    assert not tester.exception
    assert not tester.error
