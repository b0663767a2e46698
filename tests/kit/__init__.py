"""What tests of several folders share: toys, small worlds, audits."""

from pathlib import Path

ROOT = Path(__file__).parents[2]  # of the checkout
TOYS = Path(__file__).parent / "toys"  # components that are files of their own

# The command for a process of its own, which measures the speed of the machine for less than a second.
COMMAND = """
import sys
import bench.running.calibration
from bench.cli.main import main
bench.running.calibration.LIMIT = 0.01
raise SystemExit(main(sys.argv[1:]))
"""
