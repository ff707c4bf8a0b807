"""Small disks of their own for folders of a host, so that a full disk is met by running programs."""

from pathlib import Path

from tests.lab.engine import run


def make_disk(folder: Path, name: str, megabytes: int) -> Path:
    """Make and mount an ext4 disk of this size; gives the place on the machine to hand to a host."""
    image, place = folder / f"{name}.img", folder / name
    place.mkdir(parents=True)
    with image.open("wb") as file:
        file.truncate(megabytes * 1024 * 1024)
    run(["mkfs.ext4", "-q", "-m", "0", "-F", str(image)])
    run(["mount", "-o", "loop", str(image), str(place)])
    (place / "lost+found").rmdir()
    return place


def remove_disks(folder: Path, start: str = "") -> None:
    """Unmount the disks under a folder whose names start so; the loop devices go with them."""
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for place in mounts:
        if place.startswith(f"{folder}/{start}"):
            run(["umount", "--lazy", place], check=False)
            Path(f"{place}.img").unlink(missing_ok=True)
