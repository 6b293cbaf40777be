# VALM's page in a container, without root rights: docs/hosting.md has the commands.
ARG PYTHON=3.12
FROM python:${PYTHON}-slim

# Where torch comes from. The default has no CUDA and is small; https://pypi.org/simple gives the build with CUDA.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu

RUN useradd --create-home --uid 1000 valm
WORKDIR /home/valm/app

# Packages first: they stay in the build cache when only code changes.
COPY requirements.txt ./
RUN pip install --no-cache-dir --index-url ${TORCH_INDEX} torch torchvision \
    && pip install --no-cache-dir -r requirements.txt
COPY app.py LICENSE README.md ./
COPY valm_core ./valm_core
COPY demo ./demo
COPY assets ./assets

USER valm
ENV GRADIO_SERVER_NAME=0.0.0.0 GRADIO_SERVER_PORT=7860 PYTHONUNBUFFERED=1
EXPOSE 7860
HEALTHCHECK --interval=30s --timeout=10s --start-period=120s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:7860/', timeout=8)"]
CMD ["python", "app.py"]
