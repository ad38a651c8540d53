"""One-shot step of docker-compose.yaml: the bucket of the lake, made if it is missing."""

from __future__ import annotations

from urllib.parse import urlsplit

import boto3

from gapless.config import load_settings


def main() -> None:
    settings = load_settings()
    key, secret = settings.aws_access_key_id, settings.aws_secret_access_key
    client = boto3.client(
        "s3",
        endpoint_url=settings.s3_endpoint_url,
        region_name=settings.aws_region,
        aws_access_key_id=key.get_secret_value() if key else None,
        aws_secret_access_key=secret.get_secret_value() if secret else None,
    )
    bucket = urlsplit(settings.lake).netloc
    if bucket not in {known["Name"] for known in client.list_buckets()["Buckets"]}:
        client.create_bucket(Bucket=bucket)


main()
