"""The exit statuses of the command; 2, a wrong command line, is click's own."""

EXIT_FAILED = 1  #: something is not as it should be
EXIT_NOT_RUNNING = 3  #: the command needs a running Hearth
