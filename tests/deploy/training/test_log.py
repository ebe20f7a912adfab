"""The log of a training that was killed goes on as if it had not been."""

from klas.deploy.training.log import LOG, Log, read_log

LAST = {"a": 0.5, "b": 0.25}


def write(path, done, steps, accuracy):
    log = Log(path, done)
    for step in range(done + 1, steps + 1):
        log.step(step, "a", 1.0, 0.1)
    log.accuracies(steps, accuracy)
    log.close()


def rows(path):
    return [(row["step"], row["member"], row["accuracy"]) for row in read_log(path)]


def test_what_was_noted_before_a_kill_is_not_noted_twice(tmp_path):
    straight, again = tmp_path / LOG, tmp_path / "again"
    write(straight, 0, 3, LAST)
    write(again, 0, 3, {"a": 0.5})  # killed while it noted the last figures
    again.write_text(again.read_text() + "3,b,")
    write(again, 3, 3, LAST)
    assert rows(again) == rows(straight)
    write(again, 1, 3, LAST)  # the checkpoint is older than the log
    assert rows(again) == rows(straight)
