# Patchbay's images, by target; docs/containers.md says how to build and run them.
#   cpu      gateway, encoder and engine on a CPU (what is built when no target is named)
#   cuda     the same on an NVIDIA GPU
#   gateway  neither torch nor vLLM: checks requests and images, and hands them to an engine elsewhere
# Each holds the embedded model and serves it by default; only the gateway needs to be told where its engine is.

FROM python:3.11.14-slim-bookworm@sha256:65a93d69fa75478d554f4ad27c85c1e69fa184956261b4301ebaf6dbb0a3543d AS base
LABEL org.opencontainers.image.title="Patchbay" \
      org.opencontainers.image.description="Serves vision-language models: images become soft tokens once, vLLM does the rest." \
      org.opencontainers.image.licenses="Apache-2.0"
# HOME and the caches of vLLM, Triton and the hub lie in the one folder that may be written to, beside /tmp and /dev/shm.
# A platform may run it as any user in the group 0, as OpenShift does: that group may write there too, and USER is the name
# of a user who is not in /etc/passwd, for which torch asks.
ENV PATH=/opt/venv/bin:$PATH \
    LANG=C.UTF-8 \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PIP_CONSTRAINT=/opt/patchbay/deploy/constraints/cpu.txt \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    HOME=/var/cache/patchbay \
    USER=patchbay \
    XDG_CACHE_HOME=/var/cache/patchbay \
    TORCHINDUCTOR_CACHE_DIR=/var/cache/patchbay/torchinductor \
    TMPDIR=/tmp \
    PATCHBAY_HOST=0.0.0.0
RUN groupadd --gid 10001 patchbay \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/cache/patchbay --shell /usr/sbin/nologin patchbay \
    && install --directory --owner=10001 --group=0 --mode=0775 /var/cache/patchbay
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

# Triton compiles the launchers of its kernels with a C compiler, FlashInfer its kernels with a C++ compiler and nvcc;
# encoder_body=compiled asks for a C++ compiler
FROM base AS cuda-system
RUN apt-get update \
    && apt-get install --yes --no-install-recommends \
        g++=4:12.2.0-3 gcc=4:12.2.0-3 libc6-dev=2.36-9+deb12u* \
    && rm -rf /var/lib/apt/lists/*

# layers of a few gigabytes: those of CUDA and PyTorch stay when only their pins do
FROM cuda-system AS cuda-environment
ENV PIP_CONSTRAINT=/opt/patchbay/deploy/constraints/cuda.txt \
    CUDA_HOME=/opt/cuda \
    PATH=/opt/venv/bin:/opt/cuda/bin:$PATH
COPY deploy/pinned.sh deploy/cuda_home.py deploy/
COPY deploy/constraints/cuda.txt deploy/constraints/
RUN python -m venv /opt/venv \
    && deploy/pinned.sh /opt/venv/bin/python deploy/constraints/cuda.txt 'nvidia-.*|cuda-.*' \
    && python deploy/cuda_home.py /opt/cuda
RUN deploy/pinned.sh /opt/venv/bin/python deploy/constraints/cuda.txt 'torch|torchvision|triton'
COPY --from=recipe / ./
RUN deploy/install.sh /opt/venv/bin/python cuda

FROM cuda-environment AS cuda
COPY --from=code /opt/patchbay ./
# for NVIDIA's container toolkit: `utility` brings NVML, which says what the GPU has. Which GPUs is for whoever starts it
ENV NVIDIA_DRIVER_CAPABILITIES=compute,utility
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
