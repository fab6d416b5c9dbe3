# syntax=docker/dockerfile:1
FROM python:3.13-slim AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/relay
WORKDIR /src
COPY requirements/build.txt requirements/postgres.txt requirements/
RUN /opt/relay/bin/pip install --require-hashes -r requirements/postgres.txt \
 && python -m venv /opt/build && /opt/build/bin/pip install --require-hashes -r requirements/build.txt
COPY pyproject.toml README.md LICENSE ./
COPY relay relay
# A wheel made with the pinned build tool, so that neither it nor pip is in the image.
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
 && /opt/relay/bin/pip install --no-deps /wheels/*.whl \
 && /opt/relay/bin/python -m compileall -q -j 0 /opt/relay/lib \
 && /opt/relay/bin/pip uninstall -y -q pip setuptools 2>/dev/null || /opt/relay/bin/pip uninstall -y -q pip

FROM python:3.13-slim
LABEL org.opencontainers.image.title="exec-relay" \
      org.opencontainers.image.description="Turns Exec's Scenario Studio jobs into signed notifications" \
      org.opencontainers.image.licenses="MIT"
RUN groupadd --gid 10001 relay && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /data relay \
 && mkdir /data && chown relay:relay /data && chmod 700 /data
COPY --from=build /opt/relay /opt/relay
ENV PATH=/opt/relay/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    RELAY_STORAGE__URL=sqlite:////data/relay.db \
    RELAY_SERVER__HOST=0.0.0.0
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=20s --retries=3 \
  CMD ["python", "-c", "import os,sys,urllib.request as u; sys.exit(u.urlopen('http://127.0.0.1:' + os.environ.get('RELAY_SERVER__PORT', '8080') + '/readyz', timeout=4).status != 200)"]
ENTRYPOINT ["relay"]
CMD ["serve"]
