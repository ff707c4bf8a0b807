"""The child program that runs llama.cpp's own HTTP server out of the `xllamacpp` wheel."""

import signal
import sys

import xllamacpp

from llama_expert.engines.engine import (
    PARALLEL,
    PROMPT_CACHE_MB,
    REPEAT_WINDOW,
    ChildOptions,
    announce,
    read_options,
)

LOG_WARNINGS = 2  #: llama.cpp's verbosity: 1 errors, 2 warnings, 3 everything about loading


def parameters(options: ChildOptions) -> "xllamacpp.CommonParams":
    """The server's parameters."""
    params = xllamacpp.CommonParams()
    params.model.path = options.model
    params.model_alias = {options.alias}
    params.n_ctx = options.context
    params.cpuparams.n_threads = options.threads
    params.cpuparams_batch.n_threads = options.threads
    params.sampling.penalty_repeat = options.repeat_penalty
    params.sampling.penalty_last_n = REPEAT_WINDOW
    params.n_parallel = PARALLEL
    params.kv_unified = True
    params.cache_ram_mib = PROMPT_CACHE_MB
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.api_keys = [options.key]
    # The server is for llama_expert alone: no pages, no calls from a browser, nothing that tells about
    # other people's prompts, and no model hub.
    params.cors_origins = ""
    params.cors_credentials = False
    params.ui = False
    params.endpoint_slots = False
    params.endpoint_metrics = True
    params.offline = True
    # The memory was reckoned before; fitting would load the model twice to find out.
    params.fit_params = False
    params.verbosity = LOG_WARNINGS
    return params


def main() -> None:
    """Load the model, say where it is served, and serve until told to end."""
    # A thread of the server may take the signal while this one sleeps: let the default action end us.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        server = xllamacpp.Server(parameters(read_options(sys.argv[1:])))
    except RuntimeError:
        sys.exit("llama.cpp refused the model")  # and has logged why
    announce(server.listening_address)
    signal.pause()


if __name__ == "__main__":
    main()
