"""Two halves of a tar archive of test images: one to choose by, one that no choice sees."""

import tarfile
from pathlib import Path

HALVES = ("val", "test")


def halve(archive: Path, folder: Path) -> dict[str, Path]:
    """``val.tar`` and ``test.tar`` in a folder: of every class every second image, by name.

    Args:
        archive: a tar of class folders.
        folder: is made; archives that it has already are kept.
    """
    halves = {half: folder / f"{half}.tar" for half in HALVES}
    if all(path.exists() for path in halves.values()):
        return halves
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive) as every:
        members = sorted((m for m in every if m.isfile()), key=lambda m: m.name)
        seen: dict[str, int] = {}
        parts: dict[str, list[tarfile.TarInfo]] = {half: [] for half in HALVES}
        for member in members:
            number = seen.setdefault(str(Path(member.name).parent), 0)
            seen[str(Path(member.name).parent)] += 1
            parts[HALVES[number % 2]].append(member)
        for half, path in halves.items():
            unfinished = path.with_suffix(".part")
            with tarfile.open(unfinished, "w") as out:
                for member in parts[half]:
                    out.addfile(member, every.extractfile(member))
            unfinished.replace(path)
    return halves
