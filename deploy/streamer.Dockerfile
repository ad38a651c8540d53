# The live sidecar alone: no Airflow, no pandas, nothing that it does not import.
# Build from the checkout's root:  docker build -f deploy/streamer.Dockerfile .

FROM python:3.11-slim-bookworm AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev pkg-config libmariadb-dev \
    && rm -rf /var/lib/apt/lists/*
RUN python -m venv /opt/gapless/.venv
ENV PATH=/opt/gapless/.venv/bin:$PATH PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /opt/gapless
# The same versions as everywhere else: a part of requirements.txt, locked with it.
COPY deploy/requirements-streamer.txt .
RUN --mount=type=cache,target=/root/.cache/pip pip install --require-hashes -r requirements-streamer.txt
COPY pyproject.toml README.md LICENSE ./
COPY gapless gapless
COPY streamer streamer
COPY replica replica
COPY include include
COPY deploy/compose/answers.py deploy/compose/answers.py
# Editable, as in a checkout: gapless.config finds include/ and var/ beside the package.
RUN pip install --no-deps -e . && python -m compileall -q gapless streamer

FROM python:3.11-slim-bookworm
RUN apt-get update \
    && apt-get install -y --no-install-recommends libmariadb3 tini \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 1000 --create-home --home-dir /home/gapless gapless \
    && install -d -o gapless -g gapless /opt/gapless /opt/gapless/var
COPY --from=build /opt/gapless /opt/gapless
WORKDIR /opt/gapless
ENV PATH=/opt/gapless/.venv/bin:$PATH PYTHONUNBUFFERED=1
USER gapless
HEALTHCHECK --interval=10s --timeout=10s --start-period=30s --retries=6 \
    CMD ["python", "deploy/compose/answers.py", "http://127.0.0.1:9465/healthz"]
# tini hands signals on: SIGTERM lets it write what is under way, then end.
ENTRYPOINT ["tini", "--"]
CMD ["python", "-m", "streamer", "--host", "0.0.0.0", "--port", "9465"]
