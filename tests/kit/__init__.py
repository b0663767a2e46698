"""What tests of several folders share: toys, small worlds, audits."""

from pathlib import Path

ROOT = Path(__file__).parents[2]  # of the checkout
TOYS = Path(__file__).parent / "toys"  # components that are files of their own
