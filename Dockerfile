# Two images of one project; the model, the runs and every secret come from outside.
#   docker build -t creditrisk .                                   the scoring API: no Jupyter, no pandas, no scikit-learn, no notebooks, no data
#   docker build -t creditrisk-dashboard --target dashboard .      the monitoring page
#   compose.yaml starts both, with PostgreSQL for the decision log
# Neither writes to its file system: run them with --read-only --tmpfs /tmp.

FROM python:3.11.14-slim-bookworm AS base
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN useradd --system --uid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin creditrisk

# what both need to build: pinned by constraints.txt, compiled to byte code here because nothing can be written later
FROM base AS source
WORKDIR /build
RUN python -m venv /opt/venv
COPY settings.ini setup.py constraints.txt README.md ./
COPY creditrisk creditrisk

FROM source AS build-dashboard
RUN pip install --compile -c constraints.txt '.[dashboard]' && pip uninstall -y pip

FROM source AS build-api
RUN pip install --compile -c constraints.txt '.[serve]' && pip uninstall -y pip setuptools

FROM base AS dashboard
COPY --from=build-dashboard /opt/venv /opt/venv
COPY nbs /app/nbs
WORKDIR /app
ENV CREDITRISK_HOME=/app HOME=/tmp IPYTHONDIR=/tmp/ipython JUPYTER_RUNTIME_DIR=/tmp/jupyter JUPYTER_CONFIG_DIR=/tmp/jupyter-config
USER 10001
EXPOSE 8866
HEALTHCHECK --interval=30s --timeout=3s --start-period=20s \
  CMD ["python", "-c", "import socket; socket.create_connection(('127.0.0.1', 8866), 2)"]
CMD ["creditrisk", "dashboard", "--run", "/output/latest", "--host", "0.0.0.0", "--port", "8866"]

# the last one is what a plain `docker build` makes
FROM base AS api
COPY --from=build-api /opt/venv /opt/venv
WORKDIR /app
ENV CREDITRISK_HOME=/ CREDITRISK_HOST=0.0.0.0 CREDITRISK_PORT=8000
USER 10001
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=3s --start-period=10s \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/ready', timeout=2)"]
CMD ["creditrisk", "serve"]
