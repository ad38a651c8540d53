#!/bin/sh
# One-shot of docker-compose.yaml: the lake's bucket, our schema, Airflow's, the pools. Safe to repeat.
set -eu
python deploy/compose/make_bucket.py
gapless db upgrade
airflow db migrate
airflow pools import deploy/airflow/pools.json
