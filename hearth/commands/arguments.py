"""What several commands take alike."""

import click

as_json = click.option("--json", "as_json", is_flag=True, help="Print data for programs.")
expert = click.option("--expert", default="main", show_default=True, help="Which expert it is for.")
