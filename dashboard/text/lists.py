"""What the comparison of two lists says: pure sentences, Markdown."""

HALF_A_HUNDREDTH = 0.005  # less is printed as nothing


def list_verdict(gain: float | None, saving: float | None) -> list[str]:
    """How my list does against another one; what would be printed as no difference is none.

    Args:
        gain: of my list, in points at equal cost, on average.
        saving: how many times less it costs at equal accuracy, on average.
    """
    sentences = []
    if gain is not None:
        sentences.append(
            "At equal cost both lists reach the **same** accuracy."
            if abs(gain) < HALF_A_HUNDREDTH
            else f"At equal cost my list is on average **{gain:+.2f} points** relative to it."
        )
    if saving is not None:
        sentences.append(
            "At equal accuracy both lists cost the **same**."
            if abs(saving - 1) < HALF_A_HUNDREDTH
            else f"At equal accuracy it costs on average **{saving:.2f} ×** what mine costs."
        )
    return sentences
