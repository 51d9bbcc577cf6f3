# The scoring API alone: no Jupyter, no pandas, no scikit-learn. The model comes from outside:
#   docker build -t creditrisk .
#   docker run -p 8000:8000 -v "$PWD/output:/output:ro" creditrisk
FROM python:3.11-slim

WORKDIR /app
COPY settings.ini setup.py constraints.txt README.md ./
COPY creditrisk creditrisk
RUN pip install --no-cache-dir --disable-pip-version-check -c constraints.txt '.[serve]' && useradd --system --uid 10001 creditrisk

USER creditrisk
ENV CREDITRISK_RUN_DIR=/output/latest PYTHONUNBUFFERED=1
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=3s --start-period=10s \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/ready', timeout=2)"]
CMD ["uvicorn", "creditrisk.deploy:app", "--host", "0.0.0.0", "--port", "8000"]
