"""`hearth doctor`."""

import asyncio
import sys

import click

from hearth.commands import arguments
from hearth.exit_status import EXIT_FAILED
from hearth.findings import Verdict, findings_report
from hearth.places import choose_place


@click.command
@arguments.as_json
def doctor(as_json: bool) -> None:
    """Check every part and say how to mend it.

    Exit status 1 when something is broken.
    """
    from hearth.console import print_report

    findings = asyncio.run(choose_place().examine())
    print_report(findings_report(findings), as_json=as_json)
    if any(finding.verdict is Verdict.BROKEN for finding in findings):
        sys.exit(EXIT_FAILED)
