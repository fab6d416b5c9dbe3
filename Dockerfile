# The base by its tag, so that this builds anywhere; docker-bake.hcl, which releases are built by, and compose.yaml name its
# digest.
FROM python:3.13-slim AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
# What runs is in one virtual environment, what only installs into it is in the other and stays behind.
RUN python -m venv /opt/build && python -m venv --without-pip /opt/relay
WORKDIR /src
COPY requirements/build.txt requirements/image.txt requirements/
# Wheels only: nothing is compiled, and no package's own code runs while the image is made.
# guard: image-hashes
RUN /opt/build/bin/pip install --only-binary :all: --require-hashes -r requirements/build.txt \
 && /opt/build/bin/pip --python /opt/relay/bin/python install --no-compile --only-binary :all: --require-hashes \
      -r requirements/image.txt
COPY pyproject.toml README.md LICENSE ./
COPY relay relay
# Compiled here, since the root file system may be read-only later; by hash, since copying may change the files' times.
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
 && /opt/build/bin/pip --python /opt/relay/bin/python install --no-compile --no-deps /wheels/*.whl \
 && /opt/relay/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/relay/lib

FROM python:3.13-slim
LABEL org.opencontainers.image.title="exec-relay" \
      org.opencontainers.image.description="Turns Exec's Scenario Studio jobs into signed notifications" \
      org.opencontainers.image.licenses="MIT"
# The working directory is the root, so that the defaults ./data/relay.db and ./config.yaml are /data/relay.db and, by
# the link, /etc/relay/config.yaml. As a variable the store's address would win over what a configuration file says.
# /data is the group root's too: OpenShift runs the image as a user of its own choice, in that group.
RUN groupadd --gid 10001 relay \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /data --shell /usr/sbin/nologin relay \
 && install -d -m 770 -o relay -g root /data \
 && mkdir /etc/relay && ln -s /etc/relay/config.yaml /config.yaml
COPY --from=build /opt/relay /opt/relay
# Where a container listens is its own affair: said here, so that port and health check hold whatever the file says.
ENV PATH=/opt/relay/bin:$PATH \
    HOME=/data \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    RELAY_SERVER__HOST=0.0.0.0 \
    RELAY_SERVER__PORT=8080
USER 10001:10001
WORKDIR /
VOLUME /data
EXPOSE 8080
STOPSIGNAL SIGTERM
# Without urllib, which would ask through a proxy of the environment. Prints why, for `docker inspect`. A key that Exec
# refuses makes no container ill: whoever restarts ill ones would not mend it.
HEALTHCHECK --interval=15s --timeout=5s --start-period=20s --retries=3 \
  CMD ["python", "-c", "import http.client, os, sys; c = http.client.HTTPConnection('127.0.0.1', int(os.environ['RELAY_SERVER__PORT']), timeout=4); c.request('GET', '/readyz?exclude=exec'); r = c.getresponse(); print(r.read(2000).decode()); sys.exit(r.status != 200)"]
ENTRYPOINT ["relay"]
CMD ["serve"]
