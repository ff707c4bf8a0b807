"""The `hearth` command."""

import sys


def main() -> None:
    """Run the command line."""
    if sys.argv[1:] == ["--version"]:
        # Loading the command line takes longer than all that is left to do.
        from hearth.version import print_version

        print_version()
        return

    from clusterkit.errors import HearthError
    from hearth.commands.app import app

    try:
        app(prog_name="hearth")
    except HearthError as error:
        from hearth.console import print_error

        sys.exit(print_error(error))


if __name__ == "__main__":
    main()
