# The gateway and Python, nothing else; it runs as no user of the machine, on a read-only root, without capabilities.
# `make image` builds it. PYTHON_IMAGE may be any image with Python 3.11 or newer: a digest, or a mirror's.
ARG PYTHON_IMAGE=python:3.13-slim
# Seconds since 1970 of what is in the image; `make image` gives the commit's. Two builds on one base then have the same files.
ARG SOURCE_DATE_EPOCH=0

FROM ${PYTHON_IMAGE} AS build
ARG SOURCE_DATE_EPOCH
WORKDIR /src
# Compiled below, by the source's hash rather than the time of its file, and always in one order.
ENV PIP_NO_COMPILE=1 PYTHONDONTWRITEBYTECODE=1 PYTHONHASHSEED=0
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_QUIET=1
COPY requirements-traces.txt deploy/requirements-build.txt ./
RUN python3 -m venv /opt/build \
    && /opt/build/bin/pip install --require-hashes -r requirements-build.txt \
    && python3 -m venv --without-pip /opt/gateway \
    && /opt/build/bin/pip --python /opt/gateway/bin/python install --require-hashes -r requirements-traces.txt
COPY pyproject.toml README.md LICENSE ./
COPY app app
RUN /opt/build/bin/pip wheel --no-index --no-deps --no-build-isolation --wheel-dir /wheels . \
    && /opt/build/bin/pip --python /opt/gateway/bin/python install --no-index --no-deps /wheels/*.whl \
    && /opt/gateway/bin/python -m compileall -q -j 1 --invalidation-mode unchecked-hash /opt/gateway/lib \
    && find /opt/gateway -exec touch --no-dereference --date="@${SOURCE_DATE_EPOCH}" {} +

FROM ${PYTHON_IMAGE}
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="rerank-gateway" \
      org.opencontainers.image.description="A /v1/rerank gateway in front of vLLM workers" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /opt/gateway /opt/gateway
ENV PATH=/opt/gateway/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    RERANK_HOST=::
# A number, for Kubernetes can't tell by a name that it isn't root.
USER 10001:10001
EXPOSE 8080
# Liveness only: a gateway whose workers are gone answers by itself, and restarting it would not bring them back.
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s \
    CMD ["python", "-m", "app.tools.healthcheck"]
ENTRYPOINT ["rerank-gateway"]
CMD ["serve"]
