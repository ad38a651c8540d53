-- How many rows a month that leaves has, and what their receipts add up to: any load that writes changes it.
SELECT COUNT(*), COALESCE(SUM(receipt_id), 0)
FROM {rows}
