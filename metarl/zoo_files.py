"""Pretrained policies: runs without what only training needs, which come with the package and are found by name."""

from pathlib import Path

FOLDER = Path(__file__).parent / "zoo"
"""Folder with a run for each policy."""
CARD = "README.md"
"""File in a policy's folder that tells what it reaches and how it was trained."""
OUTPUT = Path("runs", "zoo")
"""Folder for what is made of a policy, in a folder of its name, since the package may not be written to."""


def policy_names() -> list[str]:
    """Returns the names of all pretrained policies, in alphabetical order."""
    return sorted(path.parent.name for path in FOLDER.glob(f"*/{CARD}"))


def find_policy(given: Path) -> Path | None:
    """Returns the folder of the policy that a user means; None if it must be something else.

    An existing folder wins over a policy of the same name.

    Args:
        given: A path, or the name of a policy.
    """
    is_name = len(given.parts) == 1 and given.name in policy_names()
    return FOLDER / given.name if is_name and not given.is_dir() else None


def policy_card(name: str) -> str:
    """Returns the card of a policy, in Markdown.

    Args:
        name: One of `policy_names`.
    """
    return (FOLDER / name / CARD).read_text(encoding="utf-8")


def policy_summary(name: str) -> str:
    """Returns what the card of a policy says first: its first paragraph, in one line.

    Args:
        name: One of `policy_names`.
    """
    return " ".join(policy_card(name).split("\n\n")[1].split())
