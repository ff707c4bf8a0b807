# Hearth in one image: `hearth up` runs everything (see compose.yaml), or one program each as a Nomad job.
#
#   docker build --tag hearth .
#
# Any Debian 12 will do as BASE, also an imported tree where no registry is to be had.
ARG BASE=debian:bookworm-slim

FROM ${BASE} AS build
# Where packages come from and whom to trust, for this build alone: nothing of it is in the final image.
ARG PIP_INDEX_URL=https://pypi.org/simple
ARG CA_CERTIFICATE=""
ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt PIP_CERT=/etc/ssl/certs/ca-certificates.crt
RUN apt-get update --quiet=2 \
 && apt-get install --yes --quiet=2 --no-install-recommends ca-certificates python3 python3-venv \
 && if [ -n "$CA_CERTIFICATE" ]; then \
      printf '%s\n' "$CA_CERTIFICATE" > /usr/local/share/ca-certificates/build.crt && update-ca-certificates; \
    fi
WORKDIR /build
COPY locks/tools.txt locks/runtime.txt locks/
RUN python3 -m venv /build/tools \
 && /build/tools/bin/pip install --quiet --no-cache-dir --require-hashes --requirement locks/tools.txt \
 && /build/tools/bin/uv venv --quiet --python /usr/bin/python3 /opt/hearth \
 && UV_DEFAULT_INDEX="$PIP_INDEX_URL" VIRTUAL_ENV=/opt/hearth /build/tools/bin/uv pip sync --quiet --no-cache \
      --link-mode copy --compile-bytecode --require-hashes locks/runtime.txt
# The sources come last: changing them leaves the layers above as they are.
COPY pyproject.toml README.md LICENSE ./
COPY group_vars/all/models.yaml group_vars/all/models.yaml
COPY workflows workflows
COPY clusterkit clusterkit
COPY llama_expert llama_expert
COPY moe_gateway moe_gateway
COPY pipecatapp pipecatapp
COPY hearth hearth
RUN VIRTUAL_ENV=/opt/hearth /build/tools/bin/uv pip install --quiet --no-cache --no-deps --no-build-isolation \
      --offline --compile-bytecode .

FROM ${BASE}
RUN apt-get update --quiet=2 \
 && apt-get install --yes --quiet=2 --no-install-recommends ca-certificates libgomp1 python3 \
 && rm -rf /var/lib/apt/lists/* \
 && groupadd --gid 8750 hearth \
 && useradd --uid 8753 --gid hearth --no-create-home --home-dir /data --shell /usr/sbin/nologin hearth-agent \
 && install --directory --owner=hearth-agent --group=hearth --mode=0700 /data
COPY --from=build /opt/hearth /opt/hearth
ENV PATH=/opt/hearth/bin:/usr/bin:/bin HEARTH_HOME=/data
WORKDIR /data
USER 8753:8750
VOLUME ["/data"]
# Loading a model takes a while.
HEALTHCHECK --interval=30s --timeout=20s --start-period=120s --retries=3 CMD ["hearth", "status", "--json"]
STOPSIGNAL SIGTERM
CMD ["hearth", "up"]
