"""What a test of a page reads off it."""

import re

from dashboard.session.state import KEY


def session(tester):
    """What the session holds."""
    return tester.session_state[KEY]


def widgets(tester):
    """The widgets of choices by the choices' names, whichever keys they have by now."""
    keys = [(element, getattr(element, "key", None) or "") for element in tester.main]
    named = [(re.fullmatch(r"bound:(\w+):[0-9]+", key), element) for element, key in keys]
    return {actual[1]: element for actual, element in named if actual}


def widget(tester, name):
    """The widget of one choice."""
    return widgets(tester)[name]


def button(tester, label):
    """The first button of a label."""
    return next(b for b in tester.button if b.label == label)


def press(tester, label):
    """Press the first button of a label."""
    button(tester, label).click().run()
    assert not tester.exception


def labels(tester):
    return [b.label for b in tester.button]


def captions(tester):
    return " ".join(c.value for c in tester.caption)


def command(tester, begins):
    """The command line that begins so."""
    return next(code.value for code in tester.code if code.value.startswith(begins))


def said(tester):
    """Every text and caption of the page."""
    return " ".join([*(m.value for m in tester.markdown), captions(tester)])


def table(tester, column):
    """The first table with such a column."""
    return next(d.value for d in tester.dataframe if column in d.value.columns)


def budget_table(tester):
    """The budget's answer and its neighbours, by what they are."""
    return table(tester, "points").set_index("")


def panel(tester):
    """The title of the open stitch, and its table of scores."""
    titles = [s.value for s in tester.subheader if s.value.startswith("Stitch ")]
    scores = [d.value for d in tester.dataframe if "rank in its bucket" in d.value.columns]
    return titles, scores


def look(app, root, page, **query):
    """Open a link to a page, as a new session."""
    return follow(app(root, page), **query)


def follow(tester, **query):
    """Another address in the same session, as the browser's Back gives it."""
    tester.query_params.clear()
    tester.query_params.update(query)
    tester.run()
    assert not tester.exception
    return tester


def heard_late(tester):
    """What a browser sends that heard the last run alone: every widget as that run told it.

    A run that another one breaks off, or follows at once, may never reach the browser.
    """
    states = tester._tree.get_widget_states()  # AppTest has no public way to them
    told = {e.proto.id: e.proto for e in tester.main if hasattr(getattr(e, "proto", None), "id")}
    for state in states.widgets:
        proto = told[state.id]
        kind = state.WhichOneof("value")
        if not hasattr(proto, "default") or getattr(proto, "set_value", False):
            continue
        if kind == "string_value":
            options = getattr(proto, "options", None)
            state.string_value = proto.default if options is None else options[proto.default]
        elif kind == "string_array_value":
            words = [getattr(option, "content", option) for option in proto.options]
            state.string_array_value.data[:] = [words[k] for k in proto.default]
        elif kind == "double_array_value":
            state.double_array_value.data[:] = proto.default
        else:
            setattr(state, kind, proto.default)
    return states
