# The wheel and the lock file of every other installation, without root. Needs only a volume for its data:
#   docker build -t deskbell . && docker run -p 8080:8080 -v deskbell:/var/lib/deskbell deskbell
# PostgreSQL is embedded unless DESKBELL_DATABASE_URL names one. Secrets come at run time (DESKBELL_SECRET_KEY_FILE).

FROM python:3.13-slim AS build
WORKDIR /src
RUN python -m venv /opt/deskbell
ENV PATH=/opt/deskbell/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
COPY requirements/runtime.txt requirements/
RUN pip install --require-hashes -r requirements/runtime.txt
COPY pyproject.toml README.md CHANGELOG.md LICENSE ./
COPY server server
COPY sdk_protocol sdk_protocol
COPY push push
COPY admin_api admin_api
RUN pip wheel --no-deps --no-build-isolation -w /dist . && pip install --no-deps /dist/deskbell-*.whl

FROM python:3.13-slim
COPY --from=build /opt/deskbell /opt/deskbell
RUN useradd --system --uid 10001 --home-dir /var/lib/deskbell --create-home --shell /usr/sbin/nologin deskbell
ENV PATH=/opt/deskbell/bin:$PATH PYTHONUNBUFFERED=1 DESKBELL_DATA_DIR=/var/lib/deskbell
USER 10001
VOLUME /var/lib/deskbell
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/livez', timeout=3)"]
CMD ["deskbell", "serve", "--host", "0.0.0.0"]
