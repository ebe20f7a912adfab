"""``klas study``."""


def test_study_show_reads_back_and_save_writes_it(klas, tmp_path):
    shown = klas("study", "show")
    (tmp_path / "shown.toml").write_text(shown.stdout)
    assert klas("study", "save", "shown.toml", "--out", "saved.toml").returncode == 0
    assert (tmp_path / "saved.toml").read_text() == shown.stdout
