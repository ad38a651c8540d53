"""What the DAG files share: defaults, windows, settings and manners. Only this folder and `dags/` know Airflow."""
