"""The native stack: private servers and Airflow on this machine, without containers."""
