# Patchbay's images, by target; docs/containers.md says how to build and run them.
#   cpu      gateway, encoder and engine on a CPU (what is built when no target is named)
#   cuda     the same on an NVIDIA GPU
#   gateway  neither torch nor vLLM: checks requests and images, and hands them to an engine elsewhere
# Each holds the embedded model and serves it by default; only the gateway needs to be told where its engine is.

FROM python:3.11.14-slim-bookworm@sha256:65a93d69fa75478d554f4ad27c85c1e69fa184956261b4301ebaf6dbb0a3543d AS base
LABEL org.opencontainers.image.title="Patchbay" \
      org.opencontainers.image.description="Serves vision-language models: images become soft tokens once, vLLM does the rest." \
      org.opencontainers.image.licenses="Apache-2.0"
# HOME and the caches of vLLM, Triton and the hub lie in the one folder that may be written to, beside /tmp and /dev/shm
ENV PATH=/opt/venv/bin:$PATH \
    LANG=C.UTF-8 \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PIP_CONSTRAINT=/opt/patchbay/deploy/constraints/cpu.txt \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    HOME=/var/cache/patchbay \
    XDG_CACHE_HOME=/var/cache/patchbay \
    TORCHINDUCTOR_CACHE_DIR=/var/cache/patchbay/torchinductor \
    TMPDIR=/tmp \
    PATCHBAY_HOST=0.0.0.0
RUN groupadd --gid 10001 patchbay \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/cache/patchbay --shell /usr/sbin/nologin patchbay \
    && install --directory --owner=10001 --group=10001 /var/cache/patchbay
WORKDIR /opt/patchbay
VOLUME ["/var/cache/patchbay", "/tmp"]
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "/opt/patchbay/deploy/healthcheck.py"]
ENTRYPOINT ["patchbay"]
CMD ["serve"]

# what installing needs of the code, so that a change elsewhere installs nothing anew
FROM scratch AS recipe
COPY pyproject.toml README.md LICENSE /
COPY service/__init__.py /service/
COPY kernels/__init__.py /kernels/
COPY deploy/constraints/ /deploy/constraints/
COPY deploy/install.sh deploy/cpu_torch.sh deploy/torchvision_shim.py deploy/patchbay_torchvision_schemas.py /deploy/

# the code as everybody may read it and nobody may write it
FROM base AS code
COPY . .
RUN chmod -R u=rwX,go=rX .

FROM base AS gateway-environment
COPY --from=recipe / ./
RUN python -m venv /opt/venv \
    && deploy/install.sh /opt/venv/bin/python gateway otel

FROM base AS gateway
COPY --from=gateway-environment /opt/venv /opt/venv
COPY --from=code /opt/patchbay ./
# without an encoder of its own
ENV PATCHBAY_IMAGES=passthrough
USER 10001:10001

# Triton compiles the launchers of its kernels with the system's C compiler
FROM base AS cuda-system
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc=4:12.2.0-3 libc6-dev=2.36-9+deb12u* \
    && rm -rf /var/lib/apt/lists/*

FROM cuda-system AS cuda-environment
ENV PIP_CONSTRAINT=/opt/patchbay/deploy/constraints/cuda.txt
COPY --from=recipe / ./
RUN python -m venv /opt/venv \
    && deploy/install.sh /opt/venv/bin/python cuda

FROM cuda-system AS cuda
COPY --from=cuda-environment /opt/venv /opt/venv
COPY --from=code /opt/patchbay ./
# for NVIDIA's container toolkit; `utility` brings nvidia-smi, by which Patchbay finds the GPU
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    PIP_CONSTRAINT=/opt/patchbay/deploy/constraints/cuda.txt
USER 10001:10001

# vLLM's CPU kernels are linked against libnuma, and bring OpenMP with them
FROM base AS cpu-system
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libnuma1=2.0.16-1 \
    && rm -rf /var/lib/apt/lists/*

FROM cpu-system AS cpu-environment
ARG TORCH_INDEX=""
COPY --from=recipe / ./
RUN python -m venv /opt/venv \
    && TORCH_INDEX="$TORCH_INDEX" deploy/install.sh /opt/venv/bin/python cpu

FROM cpu-system AS cpu
COPY --from=cpu-environment /opt/venv /opt/venv
COPY --from=code /opt/patchbay ./
USER 10001:10001
