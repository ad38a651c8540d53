"""Health check of a container of Airflow's: `health.py COMPONENT`, exit status 0 when the API calls it healthy.

The API answers 200 with an unhealthy scheduler in the body, so it is the body that is read. Components are those of
`/api/v2/monitor/health`: metadatabase, scheduler, triggerer, dag_processor.
"""

from __future__ import annotations

import json
import sys
import urllib.request

API = "http://api-server:8080/api/v2/monitor/health"


def main() -> int:
    component = sys.argv[1]
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy would not find the API
    with opener.open(API, timeout=8) as answer:
        status = json.load(answer)[component]["status"]
    print(f"{component}: {status}")
    return 0 if status == "healthy" else 1


sys.exit(main())
